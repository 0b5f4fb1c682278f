# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of a cell that never stops: resident set, open files and threads over many frames.

As in a cell the frames differ, they show few or many things, and now and then
another container comes with another manifest.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from robollm_core.bench.cases import Case, Cell, set_rows
from robollm_core.errors import ConfigError
from robollm_core.pipeline import perceive
from robollm_core.types import Frame, Manifest

SIZES = ((480, 640), (960, 1280), (720, 1280))
"""(height, width) of the frames, in turns."""
LIMIT_KIB = 256.0
"""Growth in a thousand frames that is told from noise."""
_STATUS = Path("/proc/self/status")
_HANDLES = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Run:
    """How long, and what changes on the way.

    Attributes:
        frames: answered in all, at least 20.
        every: frames between two looks at the memory.
        container: frames until another container comes.
        seed: of instances and sizes.
    """

    frames: int = 10_000
    every: int = 50
    container: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse runs that are too short for a slope.

        Raises:
            ConfigError: If a count is too small.
        """
        if min(self.every, self.container) < 1 or self.frames < 20 * self.every:
            raise ConfigError(
                f"memory is measured over at least 20 looks ({20 * self.every} frames with one "
                f"every {self.every}), got {self.frames} frames."
            )


def measure(cell: Cell, sample: Sequence[tuple[Frame, Manifest]], run: Run) -> dict[str, Any]:
    """Answer frames and watch.

    Args:
        cell: the engines.
        sample: frames and manifests to begin with.
        run: how long.

    Returns:
        "looks" (see `look`, with "frame"), "settings", "runtimes" and `verdict`.

    Raises:
        ConfigError: If this system does not tell a process its memory.
    """
    if not _STATUS.is_file():
        raise ConfigError("memory is read from /proc, which this system does not have.")
    looks = [{"frame": 0, **look()}]
    numbers = tqdm(range(1, run.frames + 1), desc="frames", mininterval=1.0)
    for number, (frame, manifest) in zip(numbers, frames(cell, sample, run), strict=False):
        perceive(frame, manifest, cell.stages)
        if number % run.every == 0:
            looks.append({"frame": number, **look()})
    return {
        "looks": looks,
        "settings": {"frames": run.frames, "container": run.container, "seed": run.seed},
        "runtimes": [engine.description for engine in cell.engines],
        **verdict(looks),
    }


def frames(
    cell: Cell, sample: Sequence[tuple[Frame, Manifest]], run: Run
) -> Iterator[tuple[Frame, Manifest]]:
    """Frames without end; each sets what the segmentation engine of the cell finds."""
    rng = np.random.default_rng(run.seed)
    container = 0
    manifest = sample[0][1]
    for number in range(run.frames):
        frame, own = sample[number % len(sample)]
        if number % run.container == 0:
            # a name that never came before: whatever is kept by manifest is kept once more
            container += 1
            manifest = replace(own, container_id=f"C-{container}", sha256=f"{container:064x}")
            cell.stages.identification.prepare(manifest)
        height, width = SIZES[int(rng.integers(len(SIZES)))]
        image = cv2.resize(frame.image_rgb, (width, height)).astype(np.uint8, copy=False)
        count = int(rng.integers(1, cell.most + 1)) if number % 2 else 0
        case = Case(image, manifest, count)
        cell.engines[0].rows = set_rows(case, cell, seed=int(rng.integers(2**31)))
        yield Frame(image, number), manifest


def look() -> dict[str, int]:
    """This process now: "rss_kib", "handles" (open files) and "threads"."""
    told = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return {
        "rss_kib": int(told["VmRSS"].split()[0]),
        "handles": sum(1 for _ in _HANDLES.iterdir()),
        "threads": int(told["Threads"]),
    }


def verdict(looks: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Whether a process grows.

    Args:
        looks: over time; the first quarter is warm-up and left out.

    Returns:
        "growth_kib_per_1000" (median of the slopes between all pairs of looks, which a
        few jumps do not move; Source: Theil 1950, Sen 1968), "grown_kib" (median of the
        last tenth less that of the first tenth), "handles_grown", "threads_grown",
        "limit_kib_per_1000" and "kept".
    """
    rest = looks[len(looks) // 4 :]
    frame = np.array([one["frame"] for one in rest], np.float64)
    rss = np.array([one["rss_kib"] for one in rest], np.float64)
    tenth = max(1, len(rest) // 10)
    grown = float(np.median(rss[-tenth:]) - np.median(rss[:tenth]))
    slope = 1000.0 * _median_slope(frame, rss)
    ends = {
        f"{name}_grown": max(one[name] for one in rest[-tenth:])
        - max(one[name] for one in rest[:tenth])
        for name in ("handles", "threads")
    }
    return {
        "growth_kib_per_1000": round(slope, 2),
        "grown_kib": round(grown, 1),
        **ends,
        "limit_kib_per_1000": LIMIT_KIB,
        "kept": slope <= LIMIT_KIB and max(ends.values()) <= 0,
    }


def _median_slope(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    first, second = np.triu_indices(len(x), k=1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


def table(figures: Mapping[str, Any]) -> str:
    """Ten looks and the verdict as lines of text."""
    looks = figures["looks"]
    shown = [looks[round(i * (len(looks) - 1) / 10)] for i in range(11)]
    lines = ["  frame  resident MiB  open files  threads"]
    lines += [
        f"{one['frame']:7}  {one['rss_kib'] / 1024:12.1f}  {one['handles']:10}  {one['threads']:7}"
        for one in shown
    ]
    lines.append(
        f"growth {figures['growth_kib_per_1000']:.1f} KiB in 1000 frames after warm-up, limit "
        f"{figures['limit_kib_per_1000']:g}; open files {figures['handles_grown']:+d}, threads "
        f"{figures['threads_grown']:+d}: {'kept' if figures['kept'] else 'not kept'}"
    )
    return "\n".join(lines)


def draw(figures: Mapping[str, Any]) -> bytes:
    """Resident memory, open files and threads over the frames, as PNG."""
    from matplotlib.figure import Figure

    looks = figures["looks"]
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    axes = figure.subplots()
    numbers = [one["frame"] for one in looks]
    axes.plot(numbers, [one["rss_kib"] / 1024 for one in looks], label="resident")
    axes.axvspan(0, numbers[len(numbers) // 4], color="lightgrey", label="warm-up")
    axes.set(xlabel="frames", ylabel="MiB", ylim=(0, None), xlim=(0, numbers[-1]))
    counts = axes.twinx()
    for name, colour in (("handles", "seagreen"), ("threads", "darkorange")):
        counts.plot(numbers, [one[name] for one in looks], color=colour, label=name)
    counts.set(ylabel="open files, threads", ylim=(0, None))
    figure.legend(loc="outside upper center", frameon=False, ncols=4)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()
