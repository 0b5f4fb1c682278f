# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Defect images in a folder a class, as the official scripts sort them.

    imagenet/{train,val,test}/{multi_pick,nominal,package_defect}/ID_N.jpg

Source: amzn/armbench, defect_detection/defect_images/convert_to_imagenet.py, which
makes links to the images, and train.py, which reads them with torchvision's
ImageFolder: classes in alphabetical order, files in alphabetical order in each.
Outlines are lost on the way: every image is taken whole.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from robollm_core.data.armbench_defects import SPLITS, DefectSample
from robollm_core.data.armbench_identification import is_validation
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Picture
from robollm_core.errors import DatasetError
from robollm_core.types import DEFECT_LABELS

SUBFOLDER = "imagenet"
_READ = (".jpg", ".jpeg", ".png")
_UNREAD = (".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What ImageFolder takes for an image and robollm does not read."""


def find_defect_folder(root: Path, split: str = "") -> Path | None:
    """The folder that holds the folders of the splits: `root`, or imagenet below it.

    Args:
        root: where to look.
        split: which has to be there; "" for any.

    Returns:
        The folder; None when there is no class folder of that split.
    """
    for folder in (root / SUBFOLDER, root):
        for name in (split,) if split else SPLITS:
            if any((folder / name / label).is_dir() for label in DEFECT_LABELS):
                return folder
    return None


def read_defect_folder(
    root: Path, split: str, broken: BrokenFiles | None = None
) -> tuple[DefectSample, ...]:
    """Read one split at once; see `iterate_defect_folder`."""
    return tuple(iterate_defect_folder(root, split, broken))


def iterate_defect_folder(
    root: Path, split: str, broken: BrokenFiles | None = None
) -> Iterator[DefectSample]:
    """Read one split, an image at a time, in the order of torchvision's ImageFolder.

    Args:
        root: folder with imagenet, or imagenet itself.
        split: "train", "val" or "test". Without a folder of val, every 20th id of
            train, by hash, is val; images of one id stay together.
        broken: takes images that cannot be read, so that the others are.

    Yields:
        The samples, at least one; induct_id is the file name without its number.

    Raises:
        DatasetError: If there is no such folder, one of an unknown class, or no
            image; without `broken`, at the first link that leads nowhere.
    """
    own_val = find_defect_folder(root, "val") is not None
    name = "train" if split == "val" and not own_val else split
    folder = find_defect_folder(root, name)
    if folder is None:
        raise DatasetError(
            f"expected {root}/{SUBFOLDER}/{name}/ with the folders {', '.join(DEFECT_LABELS)}; "
            "convert_to_imagenet.py of amzn/armbench makes them."
        )
    empty = True
    for path in _images(folder / name):
        try:
            sample = read_image_file(path)
        except DatasetError as error:
            if broken is None:
                raise
            broken.add(path, error)
            continue
        if own_val or split == "test" or is_validation(sample.induct_id) == (split == "val"):
            empty = False
            yield sample
    if empty:
        raise DatasetError(f"the split {split!r} of {root} is empty.")


def _images(folder: Path) -> Iterator[Path]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    unknown = [name for name in classes if name not in DEFECT_LABELS]
    if unknown:
        raise DatasetError(
            f"{folder / unknown[0]} is no class; expected only {', '.join(DEFECT_LABELS)}."
        )
    for name in classes:
        yield from image_files(folder / name)


def image_files(folder: Path) -> list[Path]:
    """The images of a class, links that lead nowhere included, in alphabetical order."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.suffix.lower() in (*_READ, *_UNREAD))


def read_image_file(path: Path) -> DefectSample:
    """The sample of an image in the folder of its class.

    Raises:
        DatasetError: If it is of another format, or a link that leads nowhere.
    """
    if path.suffix.lower() in _UNREAD:
        raise DatasetError(f"{path} is neither JPEG nor PNG; convert it.")
    if not path.is_file():
        raise DatasetError(
            f"{path} is a link that leads nowhere; convert again with an absolute --dataset_path."
        )
    return DefectSample(re.sub(r"_\d+$", "", path.stem), Picture(path), path.parent.name)
