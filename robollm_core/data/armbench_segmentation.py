# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""ARMBench segmentation on disk: COCO JSON a subset and split; distrusted.

One reader for the real data set, for the simulator's output, and for any
folder of photos with a COCO file beside it. Source of the layout:
amzn/armbench, segmentation/{README.md,coco_utils.py,test_mask_rcnn.py}: images
lie in SUBSET/images, the lists beside it, masks are what pycocotools reads.
Memory holds one image's masks and the list of images.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from robollm_core.data.broken import BrokenFiles
from robollm_core.data.coco import Spill, categories, compress, entries, get
from robollm_core.data.tote import CLASS_NAME, ToteImage, Truth
from robollm_core.errors import DatasetError

SUBSETS = ("mix-object-tote", "zoomed-out-tote-transfer-set", "same-object-transfer-set")
SPLITS = ("train", "val", "test")
TOTE_CLASS = "tote"
"""ARMBench's other class: the container itself, one or more of it in an image."""

MAX_SIDE = 20_000


@dataclass(frozen=True, slots=True)
class _Listed:
    """An entry of the list of images; `fault` says why it cannot be used."""

    number: int
    name: str = ""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Source:
    """What is read, and how its annotations are to be taken."""

    file: Path
    names: Mapping[int, str]
    classes: tuple[str, ...]
    broken: BrokenFiles | None

    def fault(self, path: object, error: Exception) -> str:
        """Note a fault, or raise it when nobody takes faults."""
        if self.broken is None:
            raise error
        self.broken.add(path, error)
        return str(error)


def read_split(
    root: Path,
    split: str,
    subset: str = SUBSETS[0],
    classes: Sequence[str] = (CLASS_NAME,),
    broken: BrokenFiles | None = None,
) -> tuple[ToteImage, ...]:
    """Read one split of one subset; see `iterate_split`.

    Returns:
        The images in the order of the file.

    Raises:
        DatasetError: If a folder or file is missing or not of the layout.
    """
    return tuple(iterate_split(root, split, subset, classes, broken))


def iterate_split(
    root: Path,
    split: str,
    subset: str = SUBSETS[0],
    classes: Sequence[str] = (CLASS_NAME,),
    broken: BrokenFiles | None = None,
) -> Iterator[ToteImage]:
    """Read one split of one subset, an image at a time.

    Args:
        root: folder that holds the subsets.
        split: "train", "val" or "test".
        subset: one of `SUBSETS`.
        classes: whose instances are truths, lower case; the file has to list them.
        broken: takes images that cannot be used, so that the others are read.

    Returns:
        The images in the order of the file.

    Raises:
        DatasetError: If a folder or file is missing or not of the layout.
    """
    return iterate_coco(split_file(root, split, subset), root / subset / "images", classes, broken)


def split_file(root: Path, split: str, subset: str = SUBSETS[0]) -> Path:
    """The COCO file of one split of one subset.

    Raises:
        DatasetError: If there is none; says the layout.
    """
    file = root / subset / f"{split}.json"
    if not file.is_file():
        raise DatasetError(
            f"there is no {file}; expected ARMBench's layout ROOT/{subset}/"
            "{images/,train.json,val.json,test.json}. `robollm synth segmentation` makes one."
        )
    return file


def subsets(root: Path, split: str) -> tuple[str, ...]:
    """The subsets that have this split, in the order of `SUBSETS`."""
    return tuple(name for name in SUBSETS if (root / name / f"{split}.json").is_file())


def coco_classes(file: Path) -> tuple[str, ...]:
    """Names of the classes of a COCO file, lower case, in the order of the file.

    Raises:
        DatasetError: If it is not JSON or has no list of classes.
    """
    return tuple(dict.fromkeys(categories(file).values()))


def read_coco(
    file: Path,
    images: Path,
    classes: Sequence[str] = (CLASS_NAME,),
    broken: BrokenFiles | None = None,
) -> tuple[ToteImage, ...]:
    """Read a COCO instance file at once; see `iterate_coco`."""
    return tuple(iterate_coco(file, images, classes, broken))


def iterate_coco(
    file: Path,
    images: Path,
    classes: Sequence[str] = (CLASS_NAME,),
    broken: BrokenFiles | None = None,
) -> Iterator[ToteImage]:
    """Read a COCO instance file, an image at a time.

    Args:
        file: the JSON; its masks are polygons of one or more parts, run lengths as a
            list, or compressed run lengths.
        images: folder its file names start from.
        classes: whose instances are truths, lower case; the file has to list them.
        broken: takes images that cannot be used, and images with an annotation that
            cannot: with a truth left out, a right answer would count as false.

    Yields:
        One entry an image, also for images without instances, in the order of the file.

    Raises:
        DatasetError: If the file is not JSON or lacks a part; without `broken`, also if
            it names an image twice or not at all, or holds a mask that does not fit.
    """
    source = _Source(file, _class_names(file, classes), tuple(classes), broken)
    listed = _list_images(source, images)
    faults: dict[int, str] = {}
    with contextlib.closing(Spill()) as spill:
        for entry in entries(file, "annotations"):
            _take(entry, listed, source, (spill, faults))
        for image in listed.values():
            if image.fault:
                continue  # noted when it was listed
            try:
                path = image_path(image.name, images, file)
                if image.number in faults:
                    raise DatasetError(faults[image.number])
            except DatasetError as error:
                source.fault(images / image.name, error)
                continue
            height, width = image.size
            rows = spill.of(image.number)
            yield ToteImage(path, height, width, tuple(Truth(height, width, *row) for row in rows))


def _list_images(source: _Source, images: Path) -> dict[int | str, _Listed]:
    listed: dict[int | str, _Listed] = {}
    for number, entry in enumerate(entries(source.file, "images")):
        key: int | str = f"entry {number}"
        path = images / str(entry.get("file_name", key))
        try:
            key = get(entry, "id", int | str, source.file)
            if key in listed:  # nobody can say whose its annotations are
                error = DatasetError(f"{source.file}: image id {key} occurs twice.")
                source.fault(images / listed[key].name, error)
                raise error
            size = (
                image_side(entry, "height", source.file),
                image_side(entry, "width", source.file),
            )
            name = get(entry, "file_name", str, source.file)
            listed[key] = _Listed(number, name, size)
        except DatasetError as error:
            listed[key] = _Listed(number, fault=source.fault(path, error))
    return listed


def _take(
    entry: Mapping[str, Any],
    listed: Mapping[int | str, _Listed],
    source: _Source,
    out: tuple[Spill, dict[int, str]],
) -> None:
    """Put one annotation where its image finds it, or what is wrong with it."""
    spill, faults = out
    label = entry.get("id", "?")
    try:
        key = get(entry, "image_id", int | str, source.file)
        if key not in listed:
            raise DatasetError(
                f"{source.file}: an annotation names image {key}, which is not listed."
            )
    except DatasetError as error:
        source.fault(f"{source.file}, annotation {label}", error)
        return
    image = listed[key]
    if image.fault:
        return
    try:
        row = _row(entry, image.size, source)
    except DatasetError as error:
        if source.broken is None:
            raise
        faults.setdefault(image.number, str(error))
        return
    if row is not None:
        spill.add(image.number, *row)


def image_side(entry: Mapping[str, Any], name: str, file: Path) -> int:
    """The "height" or "width" of an image's entry, pixels.

    Raises:
        DatasetError: If it is missing or not within 1..`MAX_SIDE`.
    """
    value = int(get(entry, name, int, file))
    if not 0 < value <= MAX_SIDE:
        raise DatasetError(f"{file}: image {name} must be 1..{MAX_SIDE}, got {value}.")
    return value


def _class_names(file: Path, classes: Sequence[str]) -> dict[int, str]:
    names = categories(file)
    for name in classes:
        if name not in names.values():
            raise DatasetError(f"{file}: no category {name!r}, only {sorted(names.values())}.")
    return names


def image_path(text: str, images: Path, file: Path) -> Path:
    """The image file of an entry.

    Args:
        text: its file name.
        images: folder that file names start from.
        file: the COCO file, for the error.

    Raises:
        DatasetError: If it leads out of the folder or is not there.
    """
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise DatasetError(f"{file}: image name {str(name)!r} leaves its folder.")
    path = images / name
    if not path.is_file():
        raise DatasetError(f"{file} lists {name}, but there is no {path}.")
    return path


def _row(
    entry: Mapping[str, Any], size: tuple[int, int], source: _Source
) -> tuple[bytes, str, str, bool] | None:
    """The instance, or None when it is of another class than those asked for."""
    number = get(entry, "category_id", int, source.file)
    label = entry.get("id", "?")
    if number not in source.names:
        known = ", ".join(f"{key} {name!r}" for key, name in source.names.items())
        raise DatasetError(
            f"{source.file}: annotation {label} has the unknown category {number}, and the file "
            f"lists {known}. Give it one of these, or list its category."
        )
    if source.names[number] not in source.classes:
        return None
    try:
        counts = compress(entry.get("segmentation"), size)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise DatasetError(
            f"{source.file}: annotation {label} has no valid mask: {error}"
        ) from error
    item = entry.get("item_id", "")
    crowd = bool(entry.get("iscrowd", 0))
    return counts, source.names[number], item if isinstance(item, str) else "", crowd
