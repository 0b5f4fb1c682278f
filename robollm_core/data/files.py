# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Writing a result file, whole or not at all."""

import os
import tempfile
from pathlib import Path

from robollm_core.errors import OutputError


def write_file(path: Path, data: bytes) -> None:
    """Write beside the target, then rename, so that a reader never sees half a file.

    Args:
        path: its folder is made when missing; a file that exists is replaced.
        data: the whole content.

    Raises:
        OutputError: If it cannot be written; what was there before stays.
    """
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())  # mkstemp makes it private
        part.replace(path)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {path}: {error}. Nothing of it is kept; free some space or choose "
            "another place."
        ) from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
