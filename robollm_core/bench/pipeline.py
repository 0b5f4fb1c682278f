# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Where a frame spends its time: in the engines, and in everything around them.

The engines run as in a cell. For a fixed number of instances the answer of the
segmentation engine is then exchanged for set boxes and masks, so that both the
time inside the engines and the time outside are real. The parts are called one
after another as `perceive` calls them, and their answer is checked against its.
"""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from robollm_core.bench.cases import Case, Cell, Watched, set_rows
from robollm_core.bench.timing import Plan, orders
from robollm_core.crops import FrameCrops
from robollm_core.errors import RobollmError
from robollm_core.geometry import Letterbox
from robollm_core.images import decode_image, encode_jpeg, from_ros_image, letterbox
from robollm_core.pipeline import perceive
from robollm_core.types import Frame, ItemReport, PerceptionResult

ENGINES = ("segment", "identify", "inspect")
OUTSIDE = ("decode", "letterbox", "paste", "crop", "score", "judge", "assemble", "messages")
"""Parts of a frame around the engines, in their order."""
SHARE, OUTSIDE_MS, PASTE_MS = 0.15, 12.0, 4.0
"""Limits: of the sample's frames, and of the largest ones with 50 instances."""

Messages = Callable[[PerceptionResult], object]


def messages() -> Messages | None:
    """What makes the two answers of the node from a result; None where ROS is absent."""
    try:
        # by name: the core does without ROS
        made = importlib.import_module("robollm_ros.answer_cdr")
        messages = importlib.import_module("std_msgs.msg")
    except ImportError:
        return None

    def convert(result: PerceptionResult) -> object:
        header = messages.Header(frame_id=result.camera)
        return made.detections_cdr(result, header), made.defects_cdr(result, header)

    return convert


@dataclass(slots=True)
class Laps:
    """Wall and CPU seconds of one part after another."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    _last: tuple[float, float] = field(
        default_factory=lambda: (time.perf_counter(), time.process_time())
    )

    def end(self, name: str, inside: Watched | None = None, engine: str = "") -> None:
        """End a part; what it spent inside an engine is a part of its own."""
        now = (time.perf_counter(), time.process_time())
        wall, cpu = (b - a for a, b in zip(self._last, now, strict=True))
        if inside is not None:
            self.wall[engine], self.cpu[engine] = inside.wall, inside.cpu
            wall, cpu = wall - inside.wall, cpu - inside.cpu
            inside.reset()
        self.wall[name], self.cpu[name] = wall, cpu
        self._last = (time.perf_counter(), time.process_time())


def walk(cell: Cell, case: Case, convert: Messages | None) -> tuple[PerceptionResult, Laps]:
    """Answer a frame part by part, as `perceive` does."""
    height, width = case.image_rgb.shape[:2]
    where, who, what = cell.engines
    for engine in cell.engines:
        engine.reset()
    laps = Laps()
    frame = Frame(from_ros_image(height, width, "bgr8", 3 * width, 0, case.raw), camera="tote")
    laps.end("decode")
    box = Letterbox((height, width), cell.input_hw)
    pixels = letterbox(frame.image_rgb, box)[None]
    laps.end("letterbox")
    found = where.run({"images": pixels})
    instances = cell.segmenter.instances(found, box)
    laps.end("paste", where, "segment")
    crops = FrameCrops(frame, instances)
    for spec in cell.specs:
        crops.cut(spec)
    laps.end("crop")
    names = cell.stages.identification.identify(frame, instances, case.manifest, crops)
    laps.end("score", who, "identify")
    reports = cell.stages.defects.inspect(frame, instances, crops)
    laps.end("judge", what, "inspect")
    items = tuple(ItemReport(*parts) for parts in zip(instances, names, reports, strict=True))
    result = PerceptionResult(0, frame.camera, (height, width), items)
    laps.end("assemble")
    if convert is not None:
        convert(result)
        laps.end("messages")
    return result, laps


def check(cell: Cell, case: Case) -> None:
    """Make sure that the parts are those of `perceive`.

    Raises:
        RobollmError: If they answer otherwise.
    """
    one, _ = walk(cell, case, None)
    two = perceive(Frame(case.image_rgb), case.manifest, cell.stages)
    for a, b in zip(one.items, two.items, strict=True):
        same = a.instance.box_xyxy_px == b.instance.box_xyxy_px and np.array_equal(
            a.instance.mask_in_box, b.instance.mask_in_box
        )
        scores = [[score for _, score in x.identification.candidates] for x in (a, b)]
        near = np.allclose(scores[0], scores[1], atol=1e-3)
        if not (same and near and abs(a.defect.score - b.defect.score) < 1e-3):
            raise RobollmError(
                f"{case.size} with {case.instances} instances: the parts that are timed answer "
                "otherwise than perceive; the times mean nothing. Mend the bench."
            )


def measure(cell: Cell, cases: Sequence[Case], plan: Plan) -> dict[str, Any]:
    """Time all cases in turns.

    Args:
        cell: the engines.
        cases: what to measure.
        plan: how long.

    Returns:
        "rows", one a size and number of instances (see `row`), "runtimes", and "messages", whether
        the messages of ROS are part of the times.

    Raises:
        ConfigError: If a network cannot find as many instances.
        RobollmError: If the parts answer otherwise than `perceive`.
    """
    convert = messages()
    rows = [set_rows(case, cell) for case in cases]
    # the frames of the sample are one row
    laps: dict[tuple[str, int], list[Laps]] = {case.key: [] for case in cases}
    jpegs: dict[tuple[str, int], list[float]] = {case.key: [] for case in cases}
    for index, case in enumerate(cases):
        cell.engines[0].rows = rows[index]
        cell.stages.identification.prepare(case.manifest)
        check(cell, case)
    for index in _turns(len(cases), plan):
        cell.engines[0].rows = rows[index]
        walk(cell, cases[index], convert)  # caches and idle threads of the case before
        laps[cases[index].key].append(walk(cell, cases[index], convert)[1])
        jpegs[cases[index].key].append(_jpeg_secs(cases[index]))
    return {
        "rows": [row(*key, laps[key], jpegs[key]) for key in laps],
        "runtimes": [engine.description for engine in cell.engines],
        "messages": convert is not None,
        "opencv_threads": cv2.getNumThreads(),
    }


def _turns(count: int, plan: Plan) -> Iterator[int]:
    names = [str(index) for index in range(count)]
    with tqdm(total=count * plan.rounds, desc="frames", mininterval=1.0) as bar:
        for order in orders(names, plan):
            for name in order:
                yield int(name)
                bar.update()


def _jpeg_secs(case: Case) -> float:
    data = encode_jpeg(case.image_rgb)
    start = time.perf_counter()
    decode_image(data, "the frame")
    return time.perf_counter() - start


def row(size: str, instances: int, laps: Sequence[Laps], jpegs: Sequence[float]) -> dict[str, Any]:
    """What frames took.

    Args:
        size: of the frames.
        instances: set on each; 0 for as many as were found.
        laps: of every time a frame was answered.
        jpegs: seconds of decoding a frame from JPEG.

    Returns:
        "size", "instances"; "total_ms", "engines_ms", "outside_ms" and a time a part
        ("decode_ms", "letterbox_ms", "segment_ms", ...): medians, with "_p99" and "_min"
        beside them; "outside_share" and "outside_share_min" (of the minima);
        "outside_cpu_ms"; "jpeg_ms", a decoding that is not part of the total.
    """
    times = {name: [lap.wall[name] for lap in laps] for name in laps[0].wall}
    outside = [name for name in OUTSIDE if name in times]
    sums = {
        "engines": [sum(lap.wall[name] for name in ENGINES) for lap in laps],
        "outside": [sum(lap.wall[name] for name in outside) for lap in laps],
        "total": [sum(lap.wall.values()) for lap in laps],
    }
    found: dict[str, Any] = {"size": size, "instances": instances}
    for name, secs in {**sums, **times, "jpeg": jpegs}.items():
        median, most = np.percentile(np.asarray(secs) * 1e3, (50, 99))
        found[f"{name}_ms"] = round(float(median), 4)
        found[f"{name}_ms_p99"] = round(float(most), 4)
        found[f"{name}_ms_min"] = round(min(secs) * 1e3, 4)
    shares = np.array(sums["outside"]) / np.array(sums["total"])
    found["outside_share"] = round(float(np.median(shares)), 4)
    least = found["outside_ms_min"], found["engines_ms_min"]
    found["outside_share_min"] = round(least[0] / sum(least), 4)
    cpu = [sum(lap.cpu[name] for name in outside) for lap in laps]
    found["outside_cpu_ms"] = round(float(np.median(cpu)) * 1e3, 4)
    return found


def targets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The limits that apply to the rows.

    Returns:
        "name", "limit", "value" and "kept" of each limit whose case was measured.
    """
    large = [row for row in rows if (row["size"], row["instances"]) == ("2448x2048", 50)]
    found = [
        _target("share outside the engines, sample frames", SHARE, row["outside_share"])
        for row in rows
        if row["instances"] == 0
    ]
    for row in large:
        found.append(
            _target("ms outside the engines, 2448x2048, 50", OUTSIDE_MS, row["outside_ms"])
        )
        found.append(_target("ms of pasting masks, 2448x2048, 50", PASTE_MS, row["paste_ms"]))
    return found


def _target(name: str, limit: float, value: float) -> dict[str, Any]:
    return {"name": name, "limit": limit, "value": value, "kept": value <= limit}
