# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How data sets come to disk: made in parallel, whole or not at all."""

import json
import multiprocessing
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from robollm_core.errors import OutputError
from robollm_core.types import UInt8Array

Unit = TypeVar("Unit")
Made = TypeVar("Made")
Files = dict[str, bytes]
"""Contents of files by their path relative to the data set."""


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give a folder that becomes `out` when the block ends without an error.

    Args:
        out: Must not exist, or be an empty folder.

    Raises:
        OutputError: If `out` is in the way or the disk refuses.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} already exists and is not an empty folder: name another --out.")
    draft = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        draft.mkdir(parents=True)
        yield draft
        if out.exists():
            out.rmdir()
        draft.rename(out)
    except OSError as error:
        raise OutputError(
            f"cannot write {out}: {error}. Free space or name another --out."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_files(root: Path, files: Files) -> None:
    """Write each file below `root`, with the folders it needs."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def in_order(work: Callable[[Unit], Made], units: Sequence[Unit], jobs: int) -> Iterator[Made]:
    """Yield `work(unit)` of each unit, in order, from up to `jobs` processes.

    The results do not depend on `jobs`; units may be left unworked when the
    caller stops early.
    """
    if jobs <= 1:
        yield from map(work, units)
        return
    # a forked child would share the parent's graphics context
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(work, units)


def json_bytes(tree: Any) -> bytes:
    """JSON in UTF-8, the same bytes for the same tree."""
    return (json.dumps(tree, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def jpeg_bytes(image_rgb: UInt8Array, quality: int = 90) -> bytes:
    """JPEG of an (H, W, 3) uint8 RGB image."""
    flags = (cv2.IMWRITE_JPEG_QUALITY, quality)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), flags)
    if not done:
        raise OutputError(f"OpenCV cannot encode an image of shape {image_rgb.shape} as JPEG.")
    return data.tobytes()


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Pixel edges (x0, y0, x1, y1) of the extent of a mask with at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def region(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Describe a mask the way annotations do.

    Args:
        mask: (H, W) bool with at least one pixel.

    Returns:
        `polygons` (flat [x0, y0, x1, y1, ...] outer outlines in pixels, for
        readers that know no holes), `segmentation` (COCO compressed RLE, exact)
        and `bbox` ([x, y, width, height]).
    """
    flat = np.ascontiguousarray(mask, np.uint8)
    outlines, _ = cv2.findContours(flat, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [outline.reshape(-1).tolist() for outline in outlines if len(outline) >= 3]
    code = coco_mask.encode(np.asfortranarray(flat))
    x0, y0, x1, y1 = box_of(mask)
    return {
        "polygons": polygons,
        "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode("ascii")},
        "bbox": [x0, y0, x1 - x0, y1 - y0],
    }
