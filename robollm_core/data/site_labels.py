# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the frames of a recorded cell really show: who says so, and in which form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from robollm_core.data.recorded import Answer, read_answers
from robollm_core.data.rle import encode_instance
from robollm_core.data.samples import Region, parse_region
from robollm_core.errors import DatasetError
from robollm_core.types import DEFECT_LABELS, ItemReport

SCHEMA = "robollm.site_labels/1"
CORRECTED, TRUTH, PICKED, ANSWERS = "corrected", "ground truth", "pick event", "answers"
SOURCES = (CORRECTED, TRUTH, PICKED, ANSWERS)
"""Who may say what a frame shows; the first that does is believed."""

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """Names a frame: its header's frame_id and stamp."""

    camera: str
    stamp_ns: int


@dataclass(frozen=True, slots=True)
class LabelledInstance:
    """One thing a frame shows.

    Attributes:
        item_id: which product, "" when nobody knows.
        region: where it is.
        defect: one of `DEFECT_LABELS`, "" when nobody has looked.
        visible: share of it that can be seen; 1 when not said.
    """

    item_id: str
    region: Region
    defect: str = ""
    visible: float = 1.0


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """What a frame shows.

    Attributes:
        source: one of `SOURCES`.
        instances: in the order they were given.
        complete: everything that can be seen is listed, with its outline.
        manifest: container id and version that the source names, None where
            the manifest in force holds.
    """

    source: str
    instances: tuple[LabelledInstance, ...]
    complete: bool = False
    manifest: tuple[str, int] | None = None


def read_labels(path: Path) -> dict[Moment, FrameLabels]:
    """Read a file of corrected labels (site_labels.schema.json).

    Raises:
        DatasetError: If it cannot be read, does not follow the schema, or
            names a frame twice.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read the labels {path}: {error}") from error
    for fault in jsonschema.Draft202012Validator(_schema()).iter_errors(tree):
        raise DatasetError(
            f"{path}: {fault.json_path}: {fault.message[:200]}. The form is {SCHEMA}, "
            "see docs/site.md."
        )
    labels: dict[Moment, FrameLabels] = {}
    for number, frame in enumerate(tree["frames"]):
        moment = Moment(frame["camera"], stamp_of(frame["stamp"]))
        if moment in labels:
            raise DatasetError(f"{path}: $.frames[{number}]: {moment} is there twice.")
        where = f"{path}: $.frames[{number}]"
        instances = tuple(_instance(each, where) for each in frame["instances"])
        labels[moment] = FrameLabels(CORRECTED, instances, frame.get("complete", False))
    return labels


def truth_labels(tree: Mapping[str, Any]) -> tuple[Moment, FrameLabels]:
    """Read a message of the ground truth topic.

    Returns:
        Its frame and labels; they are complete unless the message says otherwise.

    Raises:
        DatasetError: If it is not as `robollm synth bag` writes it.
    """
    try:
        moment = Moment(str(tree["camera"]), int(tree["stamp_ns"]))
        instances = tuple(_instance(each, "ground truth") for each in tree["instances"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            "a ground truth needs stamp_ns, camera and instances of item_id and rle, polygons or "
            f"bbox; got {str(tree)[:120]} ({error!r})."
        ) from error
    return moment, FrameLabels(TRUTH, instances, complete=tree.get("complete", True) is True)


def pick_labels(text: str) -> tuple[Moment, FrameLabels] | None:
    """Read a pick event that says which item was picked and where.

    Args:
        text: JSON, form robollm.pick_event/1.

    Returns:
        Its label, of the frame it names exactly; None when it is of another
        phase, or does not say item, place or frame.

    Raises:
        DatasetError: If it is no JSON object or a field is of another form.
    """
    try:
        tree = json.loads(text)
        if tree.get("phase") != "pre_pick" or not tree.get("item_id"):
            return None
        views = [v for v in tree["views"] if v.get("match") == "exact" and "stamp" in v]
        roi = tree.get("roi", {})
        region = parse_region({"bbox": [roi.get(side, 0) for side in "xywh"]}, "a pick event")
        if not views or region is None:
            return None
        moment = Moment(str(views[0]["camera"]), stamp_of(views[0]["stamp"]))
        manifest = None
        if "container_id" in tree:
            manifest = (str(tree["container_id"]), int(tree.get("manifest_version", 0)))
        label = LabelledInstance(str(tree["item_id"]), region)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"not a pick event: {str(text)[:120]} ({error!r}).") from error
    return moment, FrameLabels(PICKED, (label,), manifest=manifest)


def answer_labels(path: Path, min_score: float) -> dict[Moment, FrameLabels]:
    """Take the network's own answers for labels: items accepted with a score.

    Args:
        path: a bag of answers, of `robollm replay` or `recorder`.
        min_score: cosine from which an item is believed.

    Raises:
        BagError: If the bag cannot be read.
    """
    labels = {}
    for answer in read_answers(path):
        size = answer.result.image_size_px
        instances = tuple(
            LabelledInstance(
                item_id, parse_region({"segmentation": encode_instance(r.instance, size)}, "answer")
                or Region(),
            )
            for r in _seen(answer)
            for item_id, score in r.identification.candidates[:1]
            if r.identification.item_id == item_id and score >= min_score
        )  # fmt: skip
        labels[_moment(answer)] = FrameLabels(ANSWERS, instances)
    return labels


def draft_labels(path: Path) -> dict[str, Any]:
    """Answers as a file of labels, for a person to correct.

    Args:
        path: a bag of answers, of `robollm replay` or `recorder`.

    Returns:
        JSON of the form `SCHEMA`; no frame is complete and no defect is said.

    Raises:
        BagError: If the bag cannot be read.
        DatasetError: If it holds no answer.
    """
    frames = [_draft_frame(answer) for answer in read_answers(path)]
    if not frames:
        raise DatasetError(f"{path} holds no answer; make one with `robollm replay BAG --out`.")
    return {"schema": SCHEMA, "frames": frames}


def stamp_of(tree: Mapping[str, Any]) -> int:
    """A ROS stamp of JSON as nanoseconds."""
    return int(tree["sec"]) * _SECOND + int(tree["nanosec"])


def _draft_frame(answer: Answer) -> dict[str, Any]:
    moment = _moment(answer)
    sec, nanosec = divmod(moment.stamp_ns, _SECOND)
    size = answer.result.image_size_px
    return {
        "camera": moment.camera,
        "stamp": {"sec": sec, "nanosec": nanosec},
        "complete": False,
        "instances": [_draft_instance(report, size) for report in _seen(answer)],
    }


def _draft_instance(report: ItemReport, size: tuple[int, int]) -> dict[str, Any]:
    candidates = report.identification.candidates
    x0, y0, x1, y1 = report.instance.box_xyxy_px
    return {
        "item_id": report.identification.item_id or "",
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": encode_instance(report.instance, size),
        "score": round(float(candidates[0][1]), 4) if candidates else 0.0,
    }


def _seen(answer: Answer) -> list[ItemReport]:
    """What is left to see: an instance may be covered by better ones altogether."""
    return [report for report in answer.result.items if report.instance.mask_in_box.any()]


def _moment(answer: Answer) -> Moment:
    return Moment(answer.result.camera, answer.result.stamp_ns)


def _instance(tree: Mapping[str, Any], source: str) -> LabelledInstance:
    outline = {"segmentation": tree["rle"], **tree} if "rle" in tree else tree
    region = parse_region(outline, source)
    if region is None:
        raise DatasetError(f"{source}: an instance of {tree['item_id']!r} covers nothing.")
    defect = str(tree.get("defect", ""))
    if defect and defect not in DEFECT_LABELS:
        raise DatasetError(f"{source}: {defect!r} is none of {', '.join(DEFECT_LABELS)}.")
    return LabelledInstance(
        str(tree["item_id"]), region, defect, float(tree.get("visible_fraction", 1.0))
    )


@cache
def _schema() -> Any:
    return json.loads(Path(__file__).with_name("site_labels.schema.json").read_text("utf-8"))
