# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The one road: a frame and a manifest in, a result out."""

import time
from dataclasses import dataclass

from robollm_core.types import (
    Frame,
    IdentifyStage,
    InspectStage,
    ItemReport,
    Manifest,
    PerceptionResult,
    SegmentStage,
)


@dataclass(frozen=True, slots=True)
class Stages:
    """The three stages of a cell."""

    segmentation: SegmentStage
    identification: IdentifyStage
    defects: InspectStage


def perceive(frame: Frame, manifest: Manifest | None, stages: Stages) -> PerceptionResult:
    """Say where every instance is, which item it is and whether it is sound.

    Args:
        frame: the camera image.
        manifest: what the container holds; None when nobody has said.
        stages: the three stages.

    Returns:
        One report an instance, highest score first; empty when nothing is found.

    Raises:
        ValueError: If a stage answers for more or fewer instances than it was given.
    """
    # here, so that the nouns and this function can be had without OpenCV
    from robollm_core.crops import FrameCrops

    start = time.perf_counter()
    instances = stages.segmentation.segment(frame)
    segmented = time.perf_counter()
    crops = FrameCrops(frame, instances)
    identifications = stages.identification.identify(frame, instances, manifest, crops)
    identified = time.perf_counter()
    defects = stages.defects.inspect(frame, instances, crops)
    inspected = time.perf_counter()
    # strict: a stage that loses an instance must not shift its neighbours' answers
    items = tuple(
        ItemReport(*parts) for parts in zip(instances, identifications, defects, strict=True)
    )
    height, width = frame.image_rgb.shape[:2]
    return PerceptionResult(
        stamp_ns=frame.stamp_ns,
        camera=frame.camera,
        image_size_px=(height, width),
        items=items,
        manifest=(manifest.container_id, manifest.version) if manifest else ("", 0),
        stage_secs={
            "segment": segmented - start,
            "identify": identified - segmented,
            "inspect": inspected - identified,
            "total": inspected - start,
        },
    )
