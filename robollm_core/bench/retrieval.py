# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Retrieval at the size of a warehouse, with random embeddings: time and memory.

The references lie in a file that is mapped into memory. Every size of gallery
is ranked by a new process, so that its peak of memory is its own.
"""

import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from robollm_core.data.arrays import new_array
from robollm_core.errors import ConfigError, OutputError, RobollmError
from robollm_core.evaluation.ranking import rank_all
from robollm_core.types import Float32Array

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Parts of the gallery that are ranked, to see how time grows."""
SCALE = 20.0
"""Inverse temperature; networks learn about as much."""
LIMIT_BYTES = 4 * 10**9
_NOISE = 2.0
"""Length of what is added to a reference to make a query of it: a cosine of 0.45."""
_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Sizes:
    """What to rank.

    Attributes:
        queries, references, items: counts; items share the references as evenly as
            chance does, at least one each.
        dim: width of an embedding.
        seed: of all numbers.
        half: keep references as float16.
    """

    queries: int
    references: int
    items: int
    dim: int = 256
    seed: int = 0
    half: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be ranked.

        Raises:
            ConfigError: If a count is too small.
        """
        least = round(1 / SHARES[0])
        if min(self.queries, self.dim) < 1 or not least <= self.items <= self.references:
            raise ConfigError(
                f"a retrieval needs queries and dim from 1, items from {least}, and at least as "
                f"many references as items, got {self}."
            )


def measure(sizes: Sizes, folder: Path | None = None) -> dict[str, Any]:
    """Rank galleries of several sizes.

    Args:
        sizes: of the largest.
        folder: for the file of references, removed at the end; None for the
            system's own folder of temporary files.

    Returns:
        "settings", "sizes" (one entry a share of the gallery, see `rank_share`),
        "growth" (exponents of both times against references) and "memory" (the limit,
        the peak at full size, whether it was kept, and what the peak counts).

    Raises:
        ConfigError: If the sizes are none.
        OutputError: If the disk has no room for the references.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="robollm-bench-") as place:
        path = Path(place) / "references.npy"
        write_references(path, sizes)
        found = [_in_a_new_process(path, sizes, share) for share in SHARES]
    peak = found[-1]["peak_rss_bytes"]
    return {
        "settings": {**asdict(sizes), "scale": SCALE},
        "sizes": found,
        "growth": {f"{key}_exponent": _exponent(found, key) for key in ("secs", "cpu_secs")},
        "memory": {
            "limit_bytes": LIMIT_BYTES,
            "peak_rss_bytes": peak,
            "kept": peak < LIMIT_BYTES,
            "counts": "all of the process: Python, queries, blocks, and the pages of the file of "
            "references that are mapped",
        },
    }


def _exponent(found: Sequence[Mapping[str, Any]], key: str) -> float:
    """Slope of a time against the references, both as logarithms."""
    times = [max(entry[key], 1e-3) for entry in found]
    rows = [entry["references"] for entry in found]
    return round(float(np.polyfit(np.log(rows), np.log(times), 1)[0]), 3)


def write_references(path: Path, sizes: Sizes) -> None:
    """Write random unit vectors, (references, dim), block by block.

    Raises:
        OutputError: If they cannot be written.
    """
    dtype = _dtype(sizes)
    try:
        rows = new_array(path, (sizes.references, sizes.dim * dtype.itemsize)).view(dtype)
        for start in tqdm(range(0, len(rows), _ROWS), desc="draw references", mininterval=1.0):
            count = min(_ROWS, len(rows) - start)
            rng = np.random.default_rng([sizes.seed, start])
            rows[start : start + count] = _unit(rng.standard_normal((count, sizes.dim), np.float32))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder with room.") from error


def rank_share(path: Path, sizes: Sizes, share: float) -> dict[str, Any]:
    """Rank a part of the gallery in this process.

    Args:
        path: what `write_references` wrote.
        sizes: of the whole.
        share: of the items, the first ones.

    Returns:
        "references", "items", "secs" (wall), "cpu_secs", "queries_per_s", "gflops"
        (billions of multiplications and additions of the dot products a second),
        "recall_at_1", "peak_rss_bytes", "idle_rss_bytes" (peak before the ranking)
        and "mapped_bytes" (of the references).
    """
    starts = _starts(sizes)
    items = max(1, round(share * sizes.items))
    count = int(np.append(starts, sizes.references)[items])
    references = np.load(path, mmap_mode="r").view(_dtype(sizes))[:count]
    queries, truths = _ask(references, starts[:items], sizes)
    idle = peak_rss()
    wall, cpu = time.perf_counter(), time.process_time()
    found = rank_all(queries, truths, references, starts[:items], SCALE)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "references": count,
        "items": items,
        "secs": round(wall, 3),
        "cpu_secs": round(cpu, 3),
        "queries_per_s": round(sizes.queries / wall, 3),
        "gflops": round(2e-9 * sizes.queries * count * sizes.dim / wall, 3),
        "recall_at_1": round(float(np.mean(found.ranks == 1)), 6),
        "peak_rss_bytes": peak_rss(),
        "idle_rss_bytes": idle,
        "mapped_bytes": references.nbytes,
    }


def peak_rss() -> int:
    """Most memory this process ever had, bytes, mapped files included.

    Linux hands the peak of the parent on to a child in getrusage; its own stands
    in /proc.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    # kibibytes, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _in_a_new_process(path: Path, sizes: Sizes, share: float) -> dict[str, Any]:
    task = json.dumps([str(path), asdict(sizes), share])
    done = subprocess.run(
        [sys.executable, "-m", __name__, task], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise RobollmError(
            f"ranking {share:.0%} of the gallery ended with code {done.returncode}; "
            "-9 means that the machine ran out of memory. Ask for a smaller gallery."
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _dtype(sizes: Sizes) -> np.dtype[Any]:
    return np.dtype(np.float16 if sizes.half else np.float32)


def _starts(sizes: Sizes) -> npt.NDArray[np.int64]:
    """Row of the first reference of each item: every item one, the rest by chance."""
    rng = np.random.default_rng([sizes.seed, 1])
    cuts = rng.choice(sizes.references - 1, sizes.items - 1, replace=False) + 1
    return np.concatenate([[0], np.sort(cuts)]).astype(np.int64)


def _ask(
    references: npt.NDArray[Any], starts: npt.NDArray[np.int64], sizes: Sizes
) -> tuple[Float32Array, npt.NDArray[np.int64]]:
    """Queries, each near the first reference of its item, and the items."""
    rng = np.random.default_rng([sizes.seed, 2])
    truths = rng.integers(0, len(starts), sizes.queries)
    queries = np.empty((sizes.queries, sizes.dim), np.float32)
    for begin in range(0, sizes.queries, _ROWS):
        own = truths[begin : begin + _ROWS]
        noise = _unit(rng.standard_normal((len(own), sizes.dim), np.float32))
        queries[begin : begin + _ROWS] = _unit(references[starts[own]] + _NOISE * noise)
    return queries, truths


def _unit(rows: Float32Array) -> Float32Array:
    unit: Float32Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def table(found: Sequence[dict[str, Any]]) -> str:
    """The sizes as lines of text."""
    lines = ["references   items     secs  CPU secs  queries/s  GFLOP/s  peak RSS"]
    for entry in found:
        lines.append(
            f"{entry['references']:10}  {entry['items']:6}  {entry['secs']:7.1f}  "
            f"{entry['cpu_secs']:8.1f}  {entry['queries_per_s']:9.1f}  {entry['gflops']:7.1f}  "
            f"{entry['peak_rss_bytes'] / 1e9:5.2f} GB"
        )
    return "\n".join(lines)


def draw(figures: Mapping[str, Any]) -> bytes:
    """Time and peak memory against the size of the gallery, as PNG."""
    from matplotlib.figure import Figure

    found = figures["sizes"]
    rows = [entry["references"] / 1000 for entry in found]
    figure = Figure(figsize=(8.0, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, key in (("wall", "secs"), ("CPU", "cpu_secs")):
        left.plot(rows, [entry[key] for entry in found], "o-", label=name)
    slope = [found[0]["cpu_secs"] * row / rows[0] for row in rows]
    left.plot(rows, slope, ":", color="grey", label="proportional")
    left.set(xlabel="references, thousands", ylabel="seconds", ylim=(0, None), xlim=(0, None))
    left.set_title(f"{figures['settings']['queries']} queries")
    left.legend(frameon=False)
    for name, key in (("peak RSS", "peak_rss_bytes"), ("of it mapped file", "mapped_bytes")):
        right.plot(rows, [entry[key] / 1e9 for entry in found], "o-", label=name)
    limit = figures["memory"]["limit_bytes"] / 1e9
    right.axhline(limit, color="firebrick", linestyle="--", label="limit")
    right.set(xlabel="references, thousands", ylabel="GB", ylim=(0, 1.1 * limit), xlim=(0, None))
    right.legend(frameon=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()


if __name__ == "__main__":
    path_, sizes_, share_ = json.loads(sys.argv[1])
    print(json.dumps(rank_share(Path(path_), Sizes(**sizes_), share_)))
