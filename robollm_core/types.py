# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The nouns of robollm, frozen; every array states shape, dtype, unit and space.

Pixel boxes are half-open pixel edges: a box (x0, y0, x1, y1) covers the
columns x0..x1-1 and the rows y0..y1-1 of the source image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ShapeError

if TYPE_CHECKING:
    from robollm_core.images import CropSpec

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Tensors = Mapping[str, npt.NDArray[np.generic]]

OBJECT_LABEL = "object"
DEFECT_LABELS = ("multi_pick", "nominal", "package_defect")
"""Class order of the defect network: ARMBench's alphabetical ImageFolder order."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image.

    Attributes:
        image_rgb: (H, W, 3) uint8, RGB, H and W at least 1.
        stamp_ns: time of exposure, nanoseconds since the epoch of the source.
        camera: name of the camera (the `frame_id` of a ROS header).
    """

    image_rgb: UInt8Array
    stamp_ns: int = 0
    camera: str = ""

    def __post_init__(self) -> None:
        """Refuse anything but a non-empty uint8 RGB image.

        Raises:
            ShapeError: If the array has another shape or dtype.
        """
        image = self.image_rgb
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ShapeError(
                f"Frame.image_rgb must be (H, W, 3) uint8 RGB with H, W >= 1, got {image.shape} "
                f"{image.dtype}. Convert grey or BGR images before building a Frame."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One detected thing in a frame.

    Attributes:
        box_xyxy_px: (x0, y0, x1, y1) integer pixel edges in the source image,
            inside the image, x1 > x0 and y1 > y0; the extent of the mask.
        mask_in_box: (y1 - y0, x1 - x0) bool, True where the thing is visible.
        score: confidence in [0, 1].
        label: class name, `OBJECT_LABEL` for the tiny models.
    """

    box_xyxy_px: tuple[int, int, int, int]
    mask_in_box: BoolArray
    score: float
    label: str = OBJECT_LABEL

    def __post_init__(self) -> None:
        """Refuse a mask that does not fill its box.

        Raises:
            ShapeError: If box and mask disagree, or the box is empty.
        """
        x0, y0, x1, y1 = self.box_xyxy_px
        if x1 <= x0 or y1 <= y0 or self.mask_in_box.shape != (y1 - y0, x1 - x0):
            raise ShapeError(
                f"Instance.mask_in_box must be {(y1 - y0, x1 - x0)} to fill its box "
                f"{self.box_xyxy_px}, got {self.mask_in_box.shape}."
            )
        if self.mask_in_box.dtype != np.bool_:
            raise ShapeError(f"Instance.mask_in_box must be bool, got {self.mask_in_box.dtype}.")


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """One product in the container.

    Attributes:
        item_id: product id, unique in its manifest, not empty.
        quantity: how many are in the container.
        text: description.
        weight_kg: weight of one, 0.0 when not known.
        dims_m: edge lengths of one, metres, (0, 0, 0) when not known.
        reference_images: paths as written in the manifest, relative to the
            reference root; none when the gallery file is to know the item.
    """

    item_id: str
    quantity: int = 1
    text: str = ""
    weight_kg: float = 0.0
    dims_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    reference_images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the container holds.

    Attributes:
        container_id: name of the container.
        version: increases with every change of the same container.
        items: in the order of the source; item ids are unique.
        sha256: hex digest of the JSON text the manifest was read from, "" when
            built in code.
        complete: whether every product of the container is listed.
    """

    container_id: str
    version: int
    items: tuple[ManifestItem, ...]
    sha256: str = ""
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Identification:
    """Which product an instance is.

    Attributes:
        candidates: (item_id, similarity), best first, at most `identification.top_k`,
            each item once; empty without a manifest. The similarity is a cosine,
            or a dot product without bounds of a network in released scoring.
        item_id: the accepted answer; "" is an honest "none of these".
    """

    candidates: tuple[tuple[str, float], ...] = ()
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class DefectReport:
    """Whether something is wrong with an instance.

    Attributes:
        probabilities: one per name of `DEFECT_LABELS`, summing to 1.
        label: "nominal", or the likelier defect when its score reaches the
            threshold.
        score: probability of any defect, 1 - P(nominal).
    """

    probabilities: tuple[float, float, float]
    label: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class ItemReport:
    """All that is known of one instance."""

    instance: Instance
    identification: Identification
    defect: DefectReport


@dataclass(frozen=True, slots=True, eq=False)
class PerceptionResult:
    """The answer to one frame.

    Attributes:
        stamp_ns: `Frame.stamp_ns`, verbatim.
        camera: `Frame.camera`, verbatim.
        image_size_px: (height, width) of the source image.
        items: highest instance score first; empty when nothing was found.
        manifest: (container_id, version) that was in force, ("", 0) without one.
        stage_secs: wall seconds by stage: "segment", "identify", "inspect", "total".
    """

    stamp_ns: int
    camera: str
    image_size_px: tuple[int, int]
    items: tuple[ItemReport, ...]
    manifest: tuple[str, int] = ("", 0)
    stage_secs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of one engine input or output.

    Attributes:
        name: tensor name in the graph.
        shape: sizes; -1 marks a free size (only ever the batch).
        dtype: NumPy name, such as "uint8" or "float32".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What goes in and what comes out of an engine."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Engine(Protocol):
    """A network on a runtime: named NumPy arrays in, named NumPy arrays out."""

    @property
    def spec(self) -> EngineSpec:
        """Names, shapes and dtypes of the tensors."""

    @property
    def description(self) -> str:
        """Runtime, version and device actually in use, one line."""

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[np.generic]]:
        """Run once; whoever asks from another thread meanwhile waits for its turn.

        Raises:
            ShapeError: If `inputs` does not fit `spec`.
            NotFiniteError: If one holds NaN or infinity.
            RuntimeFailedError: If the runtime fails; the engine may be asked again.
        """


class SegmentStage(Protocol):
    """Frame in, instances out, highest score first."""

    def segment(self, frame: Frame) -> tuple[Instance, ...]:
        """Find every visible thing; empty when there is none."""


class Crops(Protocol):
    """The instances of one frame, cut out; stages that cut them the same way share the crops."""

    def cut(self, spec: "CropSpec") -> UInt8Array:
        """The crops, (N, S, S, 3) uint8 in the order of the instances; not to be written to."""


class IdentifyStage(Protocol):
    """Names each instance among the items of a manifest."""

    def warm_up(self) -> None:
        """Run the network once; without a manifest `identify` need not."""

    def prepare(self, manifest: Manifest) -> None:
        """Embed its references, ahead of the first frame; from any thread."""

    def identify(
        self,
        frame: Frame,
        instances: Sequence[Instance],
        manifest: Manifest | None,
        crops: Crops | None = None,
    ) -> tuple[Identification, ...]:
        """One answer an instance, in order; `crops` are those of the instances, if cut."""


class InspectStage(Protocol):
    """Says of each instance whether something is wrong with it."""

    def inspect(
        self, frame: Frame, instances: Sequence[Instance], crops: Crops | None = None
    ) -> tuple[DefectReport, ...]:
        """One report an instance, in order; `crops` are those of the instances, if cut."""
