# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What one view of a pick shows: which of its instances is meant, which item it is, its defects.

Only the instance that is meant is identified and inspected, not all that the view
shows: a pick waits for the answer.

Which one is meant: the detection that the event selects; else the instance in its
region; else the one nearest to the centre of the image. ARMBench's annotations and
the simulator's agree that the picture of a pick, in the tote or held, has the item in
its middle. On 120 picks of the simulator's test set the central instance of the tiny
segmenter covers the item (IoU 0.5) in 0.73 / 0.85 / 0.80 of the views OnArmLow / ToteWall /
FarTray and 0.65 of PickRGB; the largest instance in 0.59 / 0.75 / 0.30 and 0.56.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from robollm_core.crops import FrameCrops
from robollm_core.errors import NotFiniteError, PickError
from robollm_core.identification.stage import Identifier
from robollm_core.picks.event import PICK, Box, PickEvent
from robollm_core.pipeline import Stages
from robollm_core.types import DefectReport, Frame, IdentifyStage, Instance, Manifest

SELECTION, ROI, CENTRAL = "selection", "roi", "central"
WIDE = 1000
"""Candidates of one view, at most. An item that is not among so many of a huge manifest cannot
lead the mean over the views."""
_SAME_BOX = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ViewAnswer:
    """What one view shows of the picked thing.

    Attributes:
        camera: name as the event says it.
        frame_id, stamp_ns: of the image's header, verbatim.
        role: "pick" or "post".
        chosen_by: "selection", "roi" or "central"; "" when nothing was found.
        detection_id: `<camera>/<stamp_ns>/<i>`, as in the answer to the whole frame.
        box_xyxy_px: edges of the chosen instance, None when nothing was found.
        candidates: (item_id, raw score) of the items that were compared, best first, at
            most `WIDE`.
        defect: None when nothing was found.
        secs: wall seconds by stage.
    """

    camera: str
    frame_id: str
    stamp_ns: int
    role: str
    chosen_by: str = ""
    detection_id: str = ""
    box_xyxy_px: tuple[int, int, int, int] | None = None
    candidates: tuple[tuple[str, float], ...] = ()
    defect: DefectReport | None = None
    secs: dict[str, float] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """Whether the view shows anything."""
        return self.defect is not None


@dataclass(frozen=True, slots=True)
class Scoring:
    """How scores of an identification network are read.

    Attributes:
        scale: inverse temperature at which scores become shares of certainty.
        unit: what a score is divided by before a threshold is compared with it.
    """

    scale: float = 1.0
    unit: float = 1.0

    @classmethod
    def of(cls, stage: IdentifyStage) -> "Scoring":
        """That of a stage; one that names no temperature gets 1, at which shares mean little."""
        scale = float(getattr(stage, "scale", 1.0))
        return cls(scale if math.isfinite(scale) else 1.0, float(getattr(stage, "unit", 1.0)))


class Looker:
    """Looks at views with whatever stages are in force."""

    def __init__(self) -> None:
        self._narrow: IdentifyStage | None = None
        self._wide: IdentifyStage | None = None

    def look(
        self, frame: Frame, index: int, event: PickEvent, manifest: Manifest | None, stages: Stages
    ) -> ViewAnswer:
        """Look at one view.

        Args:
            frame: what `event.views[index]` means.
            index: which view.
            event: the pick.
            manifest: bound to the event; None when nobody has said.
            stages: the three stages.

        Raises:
            PickError: If the event selects a detection that this frame does not have.
            NotFiniteError: If a stage gives what is no number.
            RobollmError: If a stage refuses.
        """
        view, start = event.views[index], time.perf_counter()
        instances = stages.segmentation.segment(frame)
        segmented = time.perf_counter()
        answer = ViewAnswer(view.camera, frame.camera, frame.stamp_ns, view.role)
        chosen, how = choose(instances, frame, index, event)
        if chosen is None:
            return replace(answer, secs={"segment": segmented - start})
        one = (instances[chosen],)
        crops = FrameCrops(frame, one)
        who = self._widened(stages.identification).identify(frame, one, manifest, crops)[0]
        identified = time.perf_counter()
        defect = stages.defects.inspect(frame, one, crops)[0]
        _check_finite([score for _, score in who.candidates], defect)
        return replace(
            answer,
            chosen_by=how,
            detection_id=f"{frame.camera}/{frame.stamp_ns}/{chosen}",
            box_xyxy_px=one[0].box_xyxy_px,
            candidates=who.candidates,
            defect=defect,
            secs={
                "segment": segmented - start,
                "identify": identified - segmented,
                "inspect": time.perf_counter() - identified,
            },
        )

    def _widened(self, stage: IdentifyStage) -> IdentifyStage:
        """The same stage, but it reports every candidate: a mean over views needs all of them."""
        if not isinstance(stage, Identifier):
            return stage
        if self._wide is None or stage is not self._narrow:
            self._narrow, self._wide = stage, stage.reconfigured(replace(stage.config, top_k=WIDE))
        return self._wide


def _check_finite(scores: Sequence[float], defect: DefectReport) -> None:
    if not all(map(math.isfinite, (*scores, *defect.probabilities, defect.score))):
        raise NotFiniteError(
            f"the networks gave similarities {[*scores][:5]} and defect probabilities "
            f"{defect.probabilities}, which must be numbers. Check them with `robollm doctor`."
        )


def choose(
    instances: Sequence[Instance], frame: Frame, index: int, event: PickEvent
) -> tuple[int | None, str]:
    """Which instance of a view is the picked one, and what tells.

    The selection and the region of an event hold for its first view of role "pick";
    another view that shows the selected frame takes the selection too.

    Returns:
        Index and "selection", "roi" or "central"; (None, "") when none is.

    Raises:
        PickError: If the event selects a detection that this frame does not have.
    """
    first = index == next((i for i, view in enumerate(event.views) if view.role == PICK), None)
    if event.detection_id:
        selected = _selected(event, frame, index)
        if selected is not None:
            if selected >= len(instances):
                raise PickError(
                    f"the selection {event.detection_id!r} names instance {selected} of "
                    f"{len(instances)} that were found; has a threshold changed since?"
                )
            return selected, SELECTION
        if first:
            raise PickError(
                f"the selection {event.detection_id!r} is of another frame than this one of "
                f"{frame.camera!r} at {frame.stamp_ns}; ask for that frame with match exact."
            )
    region = event.views[index].roi_xyxy_px or (event.roi_xyxy_px if first else None)
    if region is not None:
        found = _in_region(instances, region)
        return found, ROI if found is not None else ""
    if not instances:
        return None, ""
    height, width = frame.image_rgb.shape[:2]
    offsets = [_off_centre(one.box_xyxy_px, width, height) for one in instances]
    return offsets.index(min(offsets)), CENTRAL


def _selected(event: PickEvent, frame: Frame, index: int) -> int | None:
    camera, stamp, number = event.detection_id.rsplit("/", 2)
    same = camera in (frame.camera, event.views[index].camera) and int(stamp) == frame.stamp_ns
    return int(number) if same else None


def _in_region(instances: Sequence[Instance], roi: Box) -> int | None:
    """The instance that fits the region best; its centre lies in it, or they nearly coincide."""
    fits = []
    for index, one in enumerate(instances):
        x0, y0, x1, y1 = one.box_xyxy_px
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        inside = roi[0] <= x <= roi[2] and roi[1] <= y <= roi[3]
        overlap = _overlap(one.box_xyxy_px, roi)
        if inside or overlap >= _SAME_BOX:
            fits.append((overlap, -index))
    return -max(fits)[1] if fits else None


def _overlap(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _off_centre(box: Box, width: int, height: int) -> float:
    # in shares of the image: a wide image is no less centred at its sides
    x, y = (box[0] + box[2]) / 2 / width - 0.5, (box[1] + box[3]) / 2 / height - 0.5
    return x * x + y * y
