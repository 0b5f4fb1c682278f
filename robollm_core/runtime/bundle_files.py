# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a bundle, out of a folder or a tar that may be hostile.

Plain files with plain relative names are given, nothing else: a link, a device,
a name that leads elsewhere or a size beyond all reason is refused before a byte
of it is read.
"""

import gzip
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from robollm_core.errors import ArtifactError

MAX_FILES = 256
MAX_BYTES = 16 << 30
"""Of all files together."""
PIECE = 1 << 18
"""Bytes read at once."""
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/){0,2}[A-Za-z0-9][A-Za-z0-9._-]*")
_NAME_LENGTH = 100
_GZIP = b"\x1f\x8b"
# networks hardly shrink; a tenth of what a file of zeros would reach
_GZIP_RATIO = 100
# headers of a tar are short; one that claims more is an attack or damage
_HEADER_LIMIT = 1 << 20

File = tuple[str, int, IO[bytes]]
"""Relative name, size in bytes, and the open file."""


def files_of(path: Path) -> Iterator[File]:
    """Every file of a bundle; read each before the next is asked for.

    Args:
        path: a folder, a tar or a tar.gz.

    Yields:
        Plain files under plain names, no name twice, also when case does not count.

    Raises:
        ArtifactError: At the first thing that is something else.
    """
    taken: set[str] = set()
    total = 0
    for name, size, file in _of_folder(path) if path.is_dir() else _of_tar(path):
        check_name(name, path)
        total += size
        if name.casefold() in taken:
            raise ArtifactError(f"{path} is no bundle: the name {name!r} is twice in it.")
        taken.add(name.casefold())
        if len(taken) > MAX_FILES or total > MAX_BYTES:
            raise ArtifactError(
                f"{path} is no bundle: it has over {MAX_FILES} files or {MAX_BYTES >> 30} GiB."
            )
        yield name, size, file


def check_name(name: str, source: Path) -> None:
    """Refuse a name that is not a short relative path of plain words.

    Raises:
        ArtifactError: If it leads out of the bundle or is not written plainly.
    """
    if len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        raise ArtifactError(
            f"{source} is no bundle: a file in it must be named by up to three words of letters, "
            f"digits, dots, dashes and underscores, got {name[:200]!r}."
        )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say what is wrong with a bundle that cannot be read to its end.

    Raises:
        ArtifactError: In the place of what the readers of tar and gzip raise.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"cannot read the bundle {path}: {reason}.") from error
    except (tarfile.TarError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} is no bundle, or damaged: {error}. Expected the folder or the tar that "
            "`robollm bundle make` writes; fetch it again."
        ) from error


def _of_folder(folder: Path) -> Iterator[File]:
    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        for name in sorted(names) + [name for name in folders if Path(place, name).is_symlink()]:
            path = Path(place, name)
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ArtifactError(f"{path} is a link or a device; a bundle has plain files.")
            # the file just looked at may have been exchanged since: follow no link, never wait
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(handle, "rb") as file:
                yield path.relative_to(folder).as_posix(), os.fstat(handle).st_size, file


def _of_tar(path: Path) -> Iterator[File]:
    if path.exists() and not path.is_file():
        raise ArtifactError(f"{path} is no bundle: expected a folder or a tar, it is a device.")
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        plain: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        limit = path.stat().st_size * (_GZIP_RATIO if packed else 1)
        short: Any = _Short(plain)  # all that tarfile asks of a file
        with tarfile.open(fileobj=short, mode="r:") as archive:
            for number, member in enumerate(archive):
                if number >= MAX_FILES:
                    raise ArtifactError(f"{path} is no bundle: it has over {MAX_FILES} entries.")
                _check_member(member, limit, path)
                if member.isdir():
                    continue
                file = archive.extractfile(member)
                assert file is not None
                yield member.name.removeprefix("./"), member.size, file


def _check_member(member: tarfile.TarInfo, limit: int, path: Path) -> None:
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not plain and not member.isdir():
        raise ArtifactError(
            f"{path} is no bundle: {member.name[:200]!r} in it is a link, a device or a file with "
            "holes; a bundle has plain files."
        )
    if not 0 <= member.size <= limit:
        raise ArtifactError(
            f"{path} is no bundle, or damaged: {member.name[:200]!r} in it claims {member.size} "
            f"bytes, more than the whole can hold."
        )


class _Short:
    """A file for tarfile, which would read a header of any length it finds claimed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_LIMIT:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._file.read(size)
