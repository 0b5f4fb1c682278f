# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""From the start of a process to its first answer: cold, and with a filled cache.

Every run is a process of its own. Cold means that nothing was built or measured
for this machine before: the cache folder is new. The pages of files that the
system keeps in memory are as they are in both.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.bench.first_answer import PHASES
from robollm_core.bench.sample import recorded
from robollm_core.config import Config, flatten, update
from robollm_core.errors import ConfigError, RobollmError
from robollm_core.files import write_file
from robollm_core.images import encode_jpeg
from robollm_core.manifests import manifest_json

LIMIT_SECS = 2.0
COLD, WARM = "cold", "warm"
_CHILD = "robollm_core.bench.first_answer"


def measure(config: Config, bag: Path, runs: int) -> dict[str, Any]:
    """Start a cell again and again.

    Args:
        config: the cell; its cache folder is replaced by new ones.
        bag: gives an image and a manifest.
        runs: of either kind, at least 1.

    Returns:
        "rows", a cold and a warm one (see `row`), and "limit_secs".

    Raises:
        ConfigError: If there are no runs.
        RobollmError: If a process fails.
    """
    if runs < 1:
        raise ConfigError(f"a start is measured from 1 run, got {runs}.")
    found: dict[str, list[dict[str, Any]]] = {COLD: [], WARM: []}
    with tempfile.TemporaryDirectory(prefix="robollm-bench-") as place:
        task = write_task(Path(place), bag)
        for number in tqdm(range(runs), desc="starts", mininterval=1.0):
            own = update(config, {"runtime.cache": f"{place}/cache-{number}"})
            for kind in (COLD, WARM):  # the cold one fills the cache of the warm one
                found[kind].append(start(own, task))
    return {"rows": [row(*pair) for pair in found.items()], "limit_secs": LIMIT_SECS}


def write_task(place: Path, bag: Path) -> Path:
    """Write an image and a manifest of a recording where a process finds them.

    Returns:
        The folder of "frame.jpg" and "manifest.json".
    """
    frame, manifest = recorded(bag, 1)[0]
    write_file(place / "frame.jpg", encode_jpeg(frame.image_rgb))
    write_file(place / "manifest.json", manifest_json(manifest).encode())
    return place


def start(config: Config, task: Path) -> dict[str, Any]:
    """Start one process and wait for its answer.

    Returns:
        Seconds by phase, "total" up to the answer, "cpu" (of the process, all its
        threads), "instances" and "modules".

    Raises:
        RobollmError: If it fails.
    """
    words = json.dumps([flatten(config), str(task), time.monotonic()])
    done = subprocess.run(
        [sys.executable, "-m", _CHILD, words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        tail = "\n  ".join(done.stderr.strip().splitlines()[-3:])
        raise RobollmError(f"a cell that should start ended with {done.returncode}:\n  {tail}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def row(kind: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the starts of a kind took.

    Returns:
        "kind", "runs", and seconds: "total_secs" (median), "total_secs_min",
        "total_secs_max", "cpu_secs" (median), "cpu_secs_min", "<phase>_secs" (medians).
    """
    totals = [one["total"] for one in found]
    cpu = [one["cpu"] for one in found]
    facts = {
        "total_secs": float(np.median(totals)),
        "total_secs_min": min(totals),
        "total_secs_max": max(totals),
        "cpu_secs": float(np.median(cpu)),
        "cpu_secs_min": min(cpu),
        **{f"{name}_secs": float(np.median([one[name] for one in found])) for name in PHASES},
    }
    rounded = {name: round(value, 4) for name, value in facts.items()}
    return {"kind": kind, "runs": len(found), "modules": found[0]["modules"], **rounded}


def node_row(secs: Sequence[float]) -> dict[str, Any]:
    """What the starts of the ROS node took, as a row without phases."""
    facts = {"total_secs": float(np.median(secs)), "total_secs_min": min(secs)}
    facts["total_secs_max"] = max(secs)
    return {"kind": "node", "runs": len(secs), **{k: round(v, 4) for k, v in facts.items()}}


def kept(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the warm start is within its limit, by the median."""
    return all(one["total_secs"] <= LIMIT_SECS for one in rows if one["kind"] == WARM)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The starts as lines of text, seconds."""
    names = ("total", *PHASES)
    lines = [f"{'start':>6} " + " ".join(f"{name:>11}" for name in names) + "  least     CPU"]
    for one in rows:
        parts = " ".join(_number(one.get(f"{name}_secs")) for name in names)
        lines.append(
            f"{one['kind']:>6} {parts} {one['total_secs_min']:6.2f} "
            f"{_number(one.get('cpu_secs'), 7)}"
        )
    return "\n".join(lines)


def _number(value: float | None, wide: int = 11) -> str:
    return f"{'-':>{wide}}" if value is None else f"{value:{wide}.2f}"


def draw(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The phases of each kind of start, stacked, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 2.6), layout="constrained")
    axes = figure.subplots()
    kinds = [one["kind"] for one in rows]
    left = [0.0] * len(rows)
    for phase in PHASES:
        wide = [one.get(f"{phase}_secs", 0.0) for one in rows]
        axes.barh(kinds, wide, left=left, label=phase)
        left = [a + b for a, b in zip(left, wide, strict=True)]
    axes.axvline(LIMIT_SECS, color="firebrick", linestyle="--", label="limit, warm")
    axes.invert_yaxis()
    axes.set(xlabel="seconds from the start of the process to its first answer")
    axes.legend(frameon=False, fontsize="small", ncols=4)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()
