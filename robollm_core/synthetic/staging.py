# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How data sets come to disk: made in parallel, whole or not at all."""

import errno
import json
import multiprocessing
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from robollm_core.errors import OutputError
from robollm_core.files import write_file
from robollm_core.types import UInt8Array

Unit = TypeVar("Unit")
Made = TypeVar("Made")
Files = dict[str, bytes]
"""Contents of files by their path relative to the data set."""


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give an empty folder whose files move into `out` when the block ends without an error.

    The folder has a hidden name. It lies in `out` when that is there, which may
    be a link or a disk of its own, else beside it: moving never copies.

    Args:
        out: Is made when it is not there; files of the same name are replaced.

    Raises:
        OutputError: If the disk refuses; `out` then is as it was before the
            block, unless it was the last step, the moving, that failed.
    """
    mark = f"{uuid.uuid4().hex[:8]}.partial"
    draft = out / f".{mark}" if out.is_dir() else out.parent / f".{out.name}.{mark}"
    try:
        if os.path.lexists(out) and not out.is_dir():  # known now, not after hours of work
            raise NotADirectoryError(errno.ENOTDIR, "it is there and is no folder")
        draft.mkdir(parents=True)
        yield draft
        _move(draft, out)
    except OSError as error:
        raise OutputError(
            f"cannot write {out}: {error}. Free space or name another --out."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Move a tree; folders that are not there yet move in one step."""
    if source.is_dir() and target.is_dir():
        for child in sorted(source.iterdir()):
            _move(child, target / child.name)
    else:
        source.replace(target)


def write_whole(root: Path, files: Files) -> None:
    """Write each file below `root` whole or not at all, for a folder that is not staged.

    Raises:
        OutputError: If the disk refuses.
    """
    for name, content in files.items():
        write_file(root / name, content)


def write_files(root: Path, files: Files) -> None:
    """Write each file below `root`, a staged folder, with the folders it needs."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def in_order(work: Callable[[Unit], Made], units: Sequence[Unit], jobs: int) -> Iterator[Made]:
    """Yield `work(unit)` of each unit, in order, from up to `jobs` processes.

    The results do not depend on `jobs`; when the caller stops early, at most
    twice as many units as jobs have been worked for nothing.

    Raises:
        OutputError: If a worker dies.
    """
    if jobs <= 1:
        yield from map(work, units)
        return
    waiting: deque[Future[Made]] = deque()
    # a forked child would share the parent's graphics context
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        for unit in units:
            waiting.append(pool.submit(work, unit))
            if len(waiting) >= 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OutputError(
            "a worker process died, most likely for lack of memory. Use fewer --jobs."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


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
