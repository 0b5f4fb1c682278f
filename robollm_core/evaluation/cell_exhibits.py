# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the cell got wrong, the worst first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from robollm_core.data.samples import Region
from robollm_core.data.site_labels import FrameLabels
from robollm_core.evaluation.cell_verdicts import NONE, FrameVerdicts, Verdict, false_answers
from robollm_core.evaluation.outcome import Exhibit
from robollm_core.evaluation.worst import Worst, draw_lines, picture
from robollm_core.types import Frame, Instance, ItemReport, PerceptionResult, UInt8Array

NOT_FOUND, WRONG_ITEM, REFUSED = "not found", "wrong item", "not named"
STRANGER, WRONG_DEFECT, FALSE = "named, not on the manifest", "wrong defect", "false instance"
GROUPS = (NOT_FOUND, WRONG_ITEM, STRANGER, REFUSED, WRONG_DEFECT, FALSE)

_TRUTH, _SAID = (40, 220, 60), (255, 0, 200)
_CONTEXT = 0.5
"""Share of the longer side that a close view shows around a thing."""


def show(
    worst: Worst,
    frame: Frame,
    labels: FrameLabels,
    result: PerceptionResult,
    judged: FrameVerdicts,
) -> None:
    """Offer what is wrong in a frame to the pictures of the report.

    Args:
        worst: with the groups `GROUPS`.
        frame: the image.
        labels: what it shows.
        result: the answer.
        judged: their comparison.
    """
    things = zip(judged.verdicts, judged.pairs, labels.instances, strict=True)
    for verdict, pair, thing in things:
        report = None if pair is None else result.items[pair]
        fault = fault_of(verdict, report)
        if fault is not None:
            _Scene(frame, thing.region, report, verdict).offer(worst, *fault)
    for report in false_answers(result, judged):
        _Scene(frame, None, report, None).offer(worst, FALSE, report.instance.score)


def fault_of(verdict: Verdict, report: ItemReport | None) -> tuple[str, float] | None:
    """The group of a verdict that is wrong and how bad it is, None for one that is not.

    The surer a wrong answer, the worse. A thing that was not found is the worse, the
    less any instance overlaps it.
    """
    if report is None:
        return NOT_FOUND, -verdict.iou
    if verdict.item_right is False:
        candidates = report.identification.candidates
        best = candidates[0][1] if candidates else 0.0
        if verdict.named == NONE:
            return REFUSED, best
        return (WRONG_ITEM if verdict.on_manifest else STRANGER), best
    if verdict.defect_truth and verdict.defect != verdict.defect_truth:
        score = report.defect.score
        return WRONG_DEFECT, score if verdict.defect_truth == "nominal" else 1.0 - score
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """A thing, an instance, or both, in a frame."""

    frame: Frame
    region: Region | None
    report: ItemReport | None
    verdict: Verdict | None

    def offer(self, worst: Worst, group: str, badness: float) -> None:
        worst.offer(group, badness, lambda: self._exhibit(group))

    def _exhibit(self, group: str) -> Exhibit:
        whole = f"{self.frame.camera}/{self.frame.stamp_ns}"
        drawn = self.frame.image_rgb.copy()
        places = []
        for lines, colour in ((self._truth_lines(), _TRUTH), (self._said_lines(), _SAID)):
            if len(lines):
                draw_lines(drawn, lines, colour)
                places += [np.reshape(line, (-1, 2)) for line in lines]
        close = _close_view(self.frame.image_rgb, np.concatenate(places))
        return Exhibit(
            group,
            self.verdict.id if self.verdict else whole,
            (("green: truth, pink: answer", picture(drawn)), ("from near", picture(close))),
            self._note(),
        )

    def _truth_lines(self) -> Sequence[Any]:
        if self.region is None:
            return ()
        size = (self.frame.image_rgb.shape[0], self.frame.image_rgb.shape[1])
        mask = self.region.mask(size, "the truth")
        return _box(self.region.box_xyxy_px) if mask is None else _contours(mask, (0, 0))

    def _said_lines(self) -> Sequence[Any]:
        if self.report is None:
            return ()
        instance: Instance = self.report.instance
        x0, y0, _, _ = instance.box_xyxy_px
        if not instance.mask_in_box.any():  # covered by better ones
            return _box(instance.box_xyxy_px)
        return _contours(instance.mask_in_box, (x0, y0))

    def _note(self) -> str:
        return "; ".join(part for part in (_is(self.verdict), _said(self.report)) if part)


def _is(verdict: Verdict | None) -> str:
    if verdict is None:
        return "nothing is there"
    place = {True: "on the manifest", False: "not on the manifest", None: "manifest unknown"}
    defect = f", {verdict.defect_truth}" if verdict.defect_truth else ""
    return f"is {verdict.item or 'an unknown item'} ({place[verdict.on_manifest]}){defect}"


def _said(report: ItemReport | None) -> str:
    if report is None:
        return "no instance covers it"
    likely = ", ".join(
        f"{item} {score:.2f}" for item, score in report.identification.candidates[:3]
    )
    named = report.identification.item_id or "none of these"
    return (
        f"said {named}, {report.defect.label} (score {report.defect.score:.2f}); "
        f"likeliest: {likely or 'none'}"
    )


def _box(edges: Sequence[float]) -> Sequence[Any]:
    x0, y0, x1, y1 = (round(edge) for edge in edges)
    return [np.array([[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]], np.int32)]


def _contours(mask: Any, offset: tuple[int, int]) -> Sequence[Any]:
    kind, how = cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    return list(cv2.findContours(mask.astype(np.uint8), kind, how, offset=offset)[0])


def _close_view(image: UInt8Array, points: Any) -> UInt8Array:
    """The part of an image around some points, (h, w, 3) uint8."""
    low, high = points.min(axis=0), points.max(axis=0) + 1
    grow = round(_CONTEXT * float((high - low).max()))
    x0, y0 = np.maximum(low - grow, 0).tolist()
    x1, y1 = np.minimum(high + grow, (image.shape[1], image.shape[0])).tolist()
    return np.ascontiguousarray(image[y0:y1, x0:x1])
