# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a site's frames in ARMBench's three layouts."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robollm_core.data.armbench_segmentation import SUBSETS
from robollm_core.data.rle import encode
from robollm_core.data.samples import Region
from robollm_core.data.site_labels import FrameLabels, LabelledInstance
from robollm_core.data.site_scan import LeftOut
from robollm_core.data.site_split import SPLITS
from robollm_core.data.site_views import ViewedPick
from robollm_core.data.tote import CLASS_NAME
from robollm_core.errors import DatasetError, ImageError
from robollm_core.images import decode_image, encode_jpeg
from robollm_core.types import BoolArray, Manifest, UInt8Array

PICKS, TOTES, DEFECTS = "picks", "totes", "defects"
"""Folders of a site, one a stage: the --data of identification, segmentation, defects."""

MIN_PX, MIN_VISIBLE = 300, 0.3
"""A pick or a defect sample shows at least so many pixels, and such a share of the item."""

_QUALITY = 95
_JPEG = b"\xff\xd8"
_MARGIN = 0.25
_CATEGORIES = ({"id": 1, "name": CLASS_NAME}, {"id": 2, "name": "tote"})

Box = tuple[int, int, int, int]


@dataclass
class Written:
    """What has been written, by scene, until the scenes are divided.

    Attributes:
        picks: scene to (name of the pick, item id).
        defects: scene to names of defect samples.
        totes: scene to COCO image entries, each with its annotations.
    """

    picks: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    defects: dict[str, list[str]] = field(default_factory=dict)
    totes: dict[str, list[tuple[dict[str, Any], list[dict[str, Any]]]]] = field(
        default_factory=dict
    )

    def scenes(self) -> dict[str, list[str]]:
        """Every scene to the item ids of its picks."""
        names = dict.fromkeys((*self.picks, *self.defects, *self.totes))
        return {name: [item for _, item in self.picks.get(name, [])] for name in names}


class SiteFiles:
    """Writes samples below one folder as they come, and the splits at the end.

    Attributes:
        left_out: takes what is not fit to be written.
        written: what is there.
        referenced: items with at least one reference image.
    """

    def __init__(self, root: Path, left_out: LeftOut) -> None:
        """Name the folder, which exists."""
        self._root = root
        self.left_out = left_out
        self.written = Written()
        self.referenced: set[str] = set()
        self._taken: set[str] = set()

    def references(self, manifest: Manifest, folder: Path) -> None:
        """Copy the reference images of a manifest's items; PNG and others become JPEG.

        Args:
            manifest: relative paths in it start from `folder`.
            folder: where the images are.
        """
        for item in manifest.items:
            self.item_references(item.item_id, item.reference_images, folder)

    def item_references(self, item_id: str, paths: Sequence[str], folder: Path) -> None:
        """Copy the reference images of one item, as `references` does."""
        if item_id in self.referenced or not _is_name(item_id):
            return
        number = 0
        for path in paths:
            data = self._reference(folder / path, item_id)
            if data is not None:
                number += 1
                _write(self._root / PICKS / "Reference_Images" / item_id, number, data)
        if number:
            self.referenced.add(item_id)

    def _reference(self, path: Path, item_id: str) -> bytes | None:
        try:
            data = path.read_bytes()
            pixels = decode_image(data, str(path))
        except (OSError, ImageError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.left_out.add("reference image that cannot be read", f"{item_id}: {path}: {reason}")
            return None
        return data if data[:2] == _JPEG else encode_jpeg(pixels, _QUALITY)

    def pick(
        self,
        bag: str,
        pick: ViewedPick,
        photos: Mapping[str, bytes],
        manifest: Manifest | None,
    ) -> None:
        """Write a pick whose images are whole views, byte for byte and under its own name.

        Args:
            bag: number of its recording, which tells picks of the same name apart.
            pick: says what and where.
            photos: view to image file.
            manifest: in force, None without.
        """
        if manifest is None:
            self.left_out.add("pick without a manifest", f"{pick.pick_id}: {pick.item_id}")
            return
        items = (item.item_id for item in manifest.items)
        if not all(map(_is_name, (pick.pick_id, pick.item_id, *items, *pick.unreferenced))):
            self.left_out.add("pick with an id that cannot be the name of a folder", pick.pick_id)
            return
        read = {view: self._photo(pick, view, data) for view, data in photos.items()}
        kept = {view: data for view, data in read.items() if data}
        for view in pick.views.keys() - photos.keys():
            self.left_out.add("view of a pick that is not in the bag", f"{pick.pick_id}: {view}")
        if next(iter(pick.views)) not in kept:
            return
        name = pick.pick_id if pick.pick_id not in self._taken else f"{bag}-{pick.pick_id}"
        self._taken.add(name)
        self._pick(name, pick, kept, manifest)

    def _pick(
        self, name: str, pick: ViewedPick, photos: Mapping[str, bytes], manifest: Manifest
    ) -> None:
        folder = self._root / PICKS / "Picks" / name
        for view, data in photos.items():
            _write(folder, view, data)
        notes = {view: each.outline for view, each in pick.views.items() if view in photos}
        (folder / "annotation.json").write_bytes(_json({"GT_ID": pick.item_id, **notes}))
        container = {**_container(manifest), **pick.unreferenced}
        (folder / "container.json").write_bytes(_json(container))
        scene = manifest.container_id
        self.written.picks.setdefault(scene, []).append((name, pick.item_id))

    def _photo(self, pick: ViewedPick, view: str, data: bytes) -> bytes:
        """The file as it is, or as JPEG when it is another one; empty when it is broken."""
        try:
            pixels = decode_image(data, f"{view} of {pick.pick_id}")
        except ImageError as error:
            self.left_out.add("frame that cannot be decoded", str(error))
            return b""
        return data if data[:2] == _JPEG else encode_jpeg(pixels, _QUALITY)

    def frame(
        self,
        name: str,
        image: UInt8Array,
        labels: FrameLabels,
        scene: str,
        manifest: Manifest | None,
    ) -> None:
        """Write what a frame gives to each stage.

        Args:
            name: of the frame, fit for a file, unique.
            image: (H, W, 3) uint8 RGB.
            labels: what it shows.
            scene: what it is a part of when the samples are divided.
            manifest: in force, None without.
        """
        placed = [(each, self._place(each, image, name)) for each in labels.instances]
        fit = [(each, *at) for each, at in placed if at is not None]
        for number, (each, mask, box) in enumerate(fit):
            self._sample(f"{name}-{number:02d}", image, each, (mask, box), (scene, manifest))
        if not labels.complete:
            self.left_out.add("frame for segmentation that is not labelled completely", name)
        elif len(fit) < len(placed) or any(mask is None for _, mask, _ in fit):
            self.left_out.add("frame for segmentation where an outline is missing", name)
        else:
            self._tote(name, image, fit, scene)

    def _place(
        self, label: LabelledInstance, image: UInt8Array, name: str
    ) -> tuple[BoolArray | None, Box] | None:
        try:
            return _mask(label.region, image, name)
        except DatasetError as error:
            self.left_out.add("instance that does not fit its frame", f"{label.item_id}: {error}")
            return None

    def _sample(
        self,
        name: str,
        image: UInt8Array,
        label: LabelledInstance,
        at: tuple[BoolArray | None, Box],
        context: tuple[str, Manifest | None],
    ) -> None:
        mask, (x0, y0, x1, y1) = at
        scene, manifest = context
        area = int(np.count_nonzero(mask)) if mask is not None else (x1 - x0) * (y1 - y0)
        if area < MIN_PX or label.visible < MIN_VISIBLE:
            self.left_out.add("instance too small or too hidden for a crop", name)
            return
        photo, note = _cut(image, mask, (x0, y0, x1, y1))
        if label.defect:
            folder = self._root / DEFECTS / "data" / name
            _write(folder, name, photo)
            tree = {"id": name, "label": label.defect, **note}
            (folder / f"{name}.json").write_bytes(_json(tree))
            self.written.defects.setdefault(scene, []).append(name)
        why = self._no_pick(label.item_id, manifest)
        if why or manifest is None:
            self.left_out.add(why, f"{name}: {label.item_id}")
            return
        folder = self._root / PICKS / "Picks" / name
        _write(folder, "PickRGB", photo)
        tree = {"GT_ID": label.item_id, "PickRGB": note}
        (folder / "annotation.json").write_bytes(_json(tree))
        (folder / "container.json").write_bytes(_json(_container(manifest)))
        self.written.picks.setdefault(scene, []).append((name, label.item_id))

    def _no_pick(self, item_id: str, manifest: Manifest | None) -> str:
        """Why there is no pick of an item, "" when there is."""
        if manifest is None:
            return "pick without a manifest"
        if not item_id:
            return "instance whose item is not known"
        if not all(map(_is_name, (item_id, *(item.item_id for item in manifest.items)))):
            return "pick with an item id that cannot be the name of a folder"
        if item_id not in self.referenced:
            return "pick of an item without a reference image"
        return ""

    def _tote(
        self,
        name: str,
        image: UInt8Array,
        instances: list[tuple[LabelledInstance, BoolArray | None, Box]],
        scene: str,
    ) -> None:
        _write(self._root / TOTES / SUBSETS[0] / "images", name, encode_jpeg(image, _QUALITY))
        entry = {"file_name": f"{name}.jpg", "height": image.shape[0], "width": image.shape[1]}
        notes = [
            {
                "category_id": 1,
                "iscrowd": 0,
                "area": int(np.count_nonzero(mask)),
                "bbox": _xywh(box),
                "segmentation": encode(mask),
                "item_id": label.item_id,
            }
            for label, mask, box in instances
            if mask is not None
        ]
        self.written.totes.setdefault(scene, []).append((entry, notes))

    def splits(self, split_of: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """Write the lists that say which sample is in which split.

        Args:
            split_of: every scene to its split.

        Returns:
            Split to the number of scenes, picks, totes and defects in it.
        """
        counts: dict[str, dict[str, int]] = {}
        lists: dict[str, list[str]] = {}
        for split in SPLITS:
            scenes = [scene for scene, own in split_of.items() if own == split]
            picks = [pick for scene in scenes for pick in self.written.picks.get(scene, [])]
            totes = [tote for scene in scenes for tote in self.written.totes.get(scene, [])]
            names = [name for scene in scenes for name in self.written.defects.get(scene, [])]
            counts[split] = {
                "scenes": len(scenes),
                PICKS: len(picks),
                TOTES: len(totes),
                DEFECTS: len(names),
            }
            if picks:
                lists[f"{split}set"] = [name for name, _ in picks]
                lists[f"{split}set-objects"] = sorted({item for _, item in picks})
            if totes:
                (self._root / TOTES / SUBSETS[0] / f"{split}.json").write_bytes(_json(_coco(totes)))
            if names:
                text = "".join(f"{name}\n" for name in names)
                (self._root / DEFECTS / f"{split}.csv").write_text(text, encoding="utf-8")
        if lists:
            path = self._root / PICKS / "train-test-split.pickle"
            path.write_bytes(pickle.dumps(lists, protocol=4))
        return counts


def _is_name(item_id: str) -> bool:
    """Whether an item id can be the name of a folder, as the reader asks."""
    return item_id not in ("", ".", "..") and not any(mark in item_id for mark in "/\\\0")


def _mask(region: Region, image: UInt8Array, source: str) -> tuple[BoolArray | None, Box]:
    """The mask over the whole frame, None where only a box is known, and the box around it.

    Raises:
        DatasetError: If it is of another size or lies outside.
    """
    height, width = image.shape[:2]
    mask = region.mask((height, width), source)
    if mask is not None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            return mask, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    elif region.box_xyxy_px:
        x0, y0, x1, y1 = region.box_xyxy_px
        box = (
            max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0),
            min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height),
        )  # fmt: skip
        if box[0] < box[2] and box[1] < box[3]:
            return None, box
    raise DatasetError(f"{source}: a region lies outside the frame of {width}x{height} pixels.")


def _cut(image: UInt8Array, mask: BoolArray | None, box: Box) -> tuple[bytes, dict[str, Any]]:
    """The surroundings of an instance as JPEG, and where it is in them."""
    x0, y0, x1, y1 = box
    margin = round(_MARGIN * max(x1 - x0, y1 - y0))
    left, top = max(x0 - margin, 0), max(y0 - margin, 0)
    window = (slice(top, y1 + margin), slice(left, x1 + margin))
    note: dict[str, Any] = {"bbox": _xywh((x0 - left, y0 - top, x1 - left, y1 - top))}
    if mask is not None:
        note["segmentation"] = encode(mask[window])
    return encode_jpeg(np.ascontiguousarray(image[window]), _QUALITY), note


def _xywh(box: Box) -> list[int]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _container(manifest: Manifest) -> dict[str, Any]:
    """A manifest as ARMBench's container.json."""
    return {
        item.item_id: {
            "text": item.text,
            "weight": item.weight_kg,
            "dimensions": list(item.dims_m),
            "quantity": item.quantity,
        }
        for item in manifest.items
    }


def _coco(totes: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (entry, notes) in enumerate(totes, 1):
        images.append({"id": number, **entry})
        for note in notes:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **note})
    return {"categories": list(_CATEGORIES), "images": images, "annotations": annotations}


def _write(folder: Path, name: str | int, photo: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jpg").write_bytes(photo)


def _json(tree: Any) -> bytes:
    return (json.dumps(tree, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
