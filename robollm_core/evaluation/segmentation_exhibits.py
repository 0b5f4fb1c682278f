# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The cases of segmentation worth seeing: missed, false, merged and split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from robollm_core.config import SegmentationConfig
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.tote import CLASS_NAME
from robollm_core.errors import DatasetError
from robollm_core.evaluation.outcome import Exhibit
from robollm_core.evaluation.precision import Found
from robollm_core.evaluation.segmentation_matching import Overlaps, box_xywh
from robollm_core.evaluation.segmentation_sets import Listed
from robollm_core.images import encode_jpeg
from robollm_core.types import UInt8Array

MISSED, FALSE, MERGED, SPLIT = "missed", "false alarm", "merged", "split"
GROUPS = (MISSED, FALSE, MERGED, SPLIT)
PER_GROUP = 12
LONGEST_PX = 480

FOUND_IOU = 0.5
FALSE_IOU = 0.1
COVERED = 0.7
"""Share of a thing that lies in another from which it counts as covered by it."""
_NOTABLE = 0.1
"""Share of an answer from which a covered thing makes it a merge."""

TRUTH_RGB = (86, 180, 233)
FOUND_RGB = (230, 159, 0)
_CAPTION = "truth blue, found orange, the case in thick lines"
_MARGIN = 0.4
_LEAST_PX = 48
_ENLARGED = 4.0

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One case.

    Attributes:
        group: one of `GROUPS`.
        rank: the higher the worse.
        subset: where it comes from.
        image: with its truths.
        found: what the stage would report.
        truths: indices of the annotations it is about.
        answers: indices of the detections it is about.
        note: what is wrong.
    """

    group: str
    rank: float
    subset: str
    image: Listed
    found: tuple[Found, ...]
    truths: tuple[int, ...]
    answers: tuple[int, ...]
    note: str


class Cases:
    """Keeps the worst cases while images go by; masks of these alone stay in memory."""

    def __init__(self, config: SegmentationConfig, kept: int = PER_GROUP) -> None:
        """Begin with none.

        Args:
            config: what the stage would report.
            kept: cases of a group.
        """
        self._config = config
        self._kept = kept
        self._cases: dict[str, list[Case]] = {group: [] for group in GROUPS}

    def look(self, subset: str, image: Listed, overlaps: Overlaps) -> None:
        """Take the worst case of each group out of an image, if it is bad enough."""
        best = overlaps.found[: self._config.max_instances]
        shown = tuple(one for one in best if one.score >= self._config.score_threshold)
        view = _View(subset, image, overlaps, shown)
        for group, cases in zip(GROUPS, (_missed, _false, _merged, _split), strict=True):
            worst = max(cases(view), key=lambda case: case.rank, default=None)
            if worst is not None:
                held = self._cases[group]
                held.append(worst)
                held.sort(key=lambda case: -case.rank)
                del held[self._kept :]

    def exhibits(self, broken: BrokenFiles) -> tuple[Exhibit, ...]:
        """Draw the cases, group by group, the worst first.

        Args:
            broken: takes images that cannot be read; their cases are left out.
        """
        shown = []
        for group in GROUPS:
            for case in self._cases[group]:
                try:
                    pixels = case.image.tote.read()
                except DatasetError as error:
                    broken.add(case.image.tote.path, error)
                    continue
                title = f"{case.subset}/{case.image.name}"
                pictures = ((_CAPTION, encode_jpeg(draw(pixels, case), 85)),)
                shown.append(Exhibit(group, title, pictures, case.note))
        return tuple(shown)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One image as the stage would report it; the shown detections come first in `overlaps`."""

    subset: str
    image: Listed
    overlaps: Overlaps
    shown: tuple[Found, ...]

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """(D, G) of what is shown."""
        return self.overlaps.iou[: len(self.shown)]

    @property
    def counted(self) -> list[int]:
        """Places among the G truths of those that are single instances."""
        places = self.overlaps.truths
        return [g for g, at in enumerate(places) if not self.image.annotations[at].truth.crowd]

    @property
    def pixels(self) -> int:
        """Of the image."""
        return self.image.tote.height * self.image.tote.width

    def covers(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(D, G) share of each truth inside each answer, and of each answer inside each truth."""
        answers = [one.rle for one in self.shown]
        truths = [self.image.annotations[at].truth.rle for at in self.overlaps.truths]
        shape = (len(answers), len(truths))
        if 0 in shape:
            return np.zeros(shape), np.zeros(shape)
        # a crowd's IoU is the share of the first that lies in the second
        in_answers = np.asarray(coco_mask.iou(truths, answers, [1] * len(answers))).T
        in_truths = np.asarray(coco_mask.iou(answers, truths, [1] * len(truths)))
        return in_answers, in_truths

    def case(
        self, group: str, rank: float, truths: Sequence[int], answers: Sequence[int], note: str
    ) -> Case:
        """A case about places among the G truths and the shown answers."""
        of = tuple(self.overlaps.truths[g] for g in truths)
        return Case(group, rank, self.subset, self.image, self.shown, of, tuple(answers), note)


def _missed(view: _View) -> Iterator[Case]:
    """Large and little-hidden instances that no answer covers."""
    for g in view.counted:
        best = float(view.iou[:, g].max()) if len(view.shown) else 0.0
        if best < FOUND_IOU:
            one = view.image.annotations[view.overlaps.truths[g]]
            # where the file does not say what is hidden: a hidden thing fills less of its box
            box = max(one.box_xywh[2] * one.box_xywh[3], 1.0)
            open_share = one.area / box if one.visible is None else one.visible
            note = f"{one.area / view.pixels:.1%} of the image, best IoU {best:.2f}"
            if one.visible is not None:
                note += f", {one.visible:.0%} visible"
            yield view.case(MISSED, one.area / view.pixels * open_share, [g], [], note)


def _false(view: _View) -> Iterator[Case]:
    """Sure answers where nothing is."""
    for d, one in enumerate(view.shown):
        best = float(view.iou[d].max()) if view.iou.shape[1] else 0.0
        if best < FALSE_IOU:
            yield view.case(FALSE, one.score, [], [d], f"score {one.score:.2f}, IoU {best:.2f}")


def _merged(view: _View) -> Iterator[Case]:
    """Answers that cover several instances."""
    in_answers, in_truths = view.covers()
    for d, one in enumerate(view.shown):
        inside = [
            g for g in view.counted if in_answers[d, g] >= COVERED and in_truths[d, g] >= _NOTABLE
        ]
        if len(inside) >= 2:
            note = f"one answer, score {one.score:.2f}, covers {len(inside)} instances"
            yield view.case(MERGED, one.score, inside, [d], note)


def _split(view: _View) -> Iterator[Case]:
    """Instances found only as several parts."""
    _, in_truths = view.covers()
    for g in view.counted:
        parts = [d for d in range(len(view.shown)) if in_truths[d, g] >= COVERED]
        if len(parts) >= 2 and view.iou[:, g].max() < FOUND_IOU:
            area = view.image.annotations[view.overlaps.truths[g]].area / view.pixels
            note = f"one instance, {area:.1%} of the image, covered by {len(parts)} answers"
            yield view.case(SPLIT, area, [g], parts, note)


def draw(image_rgb: UInt8Array, case: Case) -> UInt8Array:
    """Cut the surroundings of a case out of its image and draw all outlines there.

    Args:
        image_rgb: (H, W, 3) uint8, the image of the case.
        case: its truths and answers are drawn in thick lines.

    Returns:
        (h, w, 3) uint8, no side longer than `LONGEST_PX`.
    """
    annotations = case.image.annotations
    boxes = [annotations[at].box_xywh for at in case.truths]
    boxes += [box_xywh(case.found[at]) for at in case.answers]
    x0, y0, x1, y1 = _window(boxes, image_rgb.shape[:2])
    scale = min(LONGEST_PX / max(x1 - x0, y1 - y0), _ENLARGED)
    size = (max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(image_rgb[y0:y1, x0:x1], size, interpolation=way)
    marks = [
        (one.truth.rle, TRUTH_RGB, at in case.truths)
        for at, one in enumerate(annotations)
        if one.truth.category == CLASS_NAME
    ] + [(one.rle, FOUND_RGB, at in case.answers) for at, one in enumerate(case.found)]
    for rle, colour, thick in sorted(marks, key=lambda mark: mark[2]):
        left, top, wide, high = coco_mask.toBbox(rle)
        if left >= x1 or top >= y1 or left + wide <= x0 or top + high <= y0:
            continue
        mask = coco_mask.decode(rle)[y0:y1, x0:x1]
        mask = cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, lines, -1, colour, 3 if thick else 1, cv2.LINE_AA)
    return np.asarray(canvas, np.uint8)


def _window(boxes: Sequence[Box], image_hw: Sequence[int]) -> tuple[int, int, int, int]:
    """The boxes with some surroundings, inside the image."""
    edges = np.asarray([(x, y, x + w, y + h) for x, y, w, h in boxes])
    low, high = edges[:, :2].min(0), edges[:, 2:].max(0)
    room = max(float((high - low).max()) * _MARGIN, _LEAST_PX / 2)
    most = np.asarray(image_hw)[::-1]
    x0, y0 = np.clip(np.floor(low - room), 0, most - 1).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high + room), 1, most).astype(int).tolist()
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
