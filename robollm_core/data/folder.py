# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Image files as frames."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from robollm_core.errors import ImageError
from robollm_core.images import read_image
from robollm_core.types import Frame

SUFFIXES = (".jpeg", ".jpg", ".png")


def image_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Expand folders into the images directly in them.

    Yields:
        Files in the order given; those of a folder sorted by name.

    Raises:
        ImageError: If a path does not exist, or a folder holds no JPEG or PNG.
    """
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise ImageError(f"{path} does not exist; expected an image or a folder of them.")
            yield path
            continue
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ImageError(f"the folder {path} holds no image ({', '.join(SUFFIXES)}).")
        yield from found


def read_frame(path: Path) -> Frame:
    """Read an image file as a frame; its camera is the file's name, its stamp 0.

    Raises:
        ImageError: If the file is no whole JPEG or PNG.
    """
    return Frame(read_image(path), camera=path.name)
