# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Files: a result is written whole or not at all; what is read has a name, its sha256."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    with replacing(path) as part:
        part.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file beside the target that takes its place when the block ends without an error.

    Args:
        path: its folder is made when missing; a file that exists is replaced.

    Yields:
        An empty file to write; whatever ends the block early, it is removed.

    Raises:
        OutputError: If it cannot be written; what was there before stays.
    """
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        part = Path(name)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())  # mkstemp makes it private
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error}. Nothing of it is kept; free some space or choose "
            "another place."
        ) from error
    finally:
        if part is not None:  # after a success the name is gone already
            with contextlib.suppress(OSError):
                part.unlink()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def file_sha256(path: Path) -> str:
    """Hex digest of a file.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
