# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays in files, larger than memory may be."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap


def new_array(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Make a .npy file of zeros and map it into memory for writing.

    Args:
        path: its folder is there; a file that exists is replaced.
        shape: of the array; no side is 0.

    Returns:
        uint8 array of that shape; writing to it writes to the file.

    Raises:
        OSError: If the disk has not the room.
    """
    # NumPy's own annotations leave this function out
    create: Callable[..., np.memmap[Any, np.dtype[np.uint8]]] = open_memmap
    array = create(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("rb+") as file:
        # a page of a sparse file that finds the disk full ends the process with SIGBUS
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
