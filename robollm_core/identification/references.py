# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH122, PTH208 - os.path makes ten times as many a second
"""The reference images that a manifest names, found and read inside one folder alone.

A manifest comes from outside. Whatever it names, by an absolute path, by `..` or through
a link, no file outside the reference root is opened: the path is resolved, links and
all, and must then lie in the resolved root. An absolute path is taken when it does. A
link that leads out is refused too, because nobody can say whether it was put there
for this; a site whose images lie elsewhere names that place as the root.
"""

import hashlib
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robollm_core.types import ManifestItem

MAX_IMAGE_BYTES = 64 * 2**20
_SUFFIXES = (".jpg", ".jpeg", ".png")
_SETTLED_NS = 2 * 10**9
"""A file that changed less than this ago may change again without its time showing it."""
_REMEMBERED = 400_000

Stamp = tuple[int, int, int, int]


class UnreadableError(Exception):
    """A reference that cannot be read; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference image that is there.

    Attributes:
        path: real path, inside the root.
        name: relative to the root, with forward slashes.
        sha256: hex digest of the file.
    """

    path: str
    name: str
    sha256: str


class ReferenceRoot:
    """The folder that reference paths start from; remembers the digests of its files.

    A digest is believed while size, times and number of the file stay, so a new
    version of a manifest costs no reading. Not to be used from two threads at once.
    """

    def __init__(self, root: Path) -> None:
        """Take a folder, which need not exist yet."""
        self.root = root
        self._digests: OrderedDict[str, tuple[Stamp, str]] = OrderedDict()
        self._folders: dict[str, str] = {}

    def forget(self) -> None:
        """Read every file anew when it is next asked for."""
        self._digests.clear()

    def begin(self) -> None:
        """Resolve folders anew: where their links lead may have changed."""
        self._folders.clear()

    def of(self, item: ManifestItem) -> Iterator[Reference | UnreadableError]:
        """The references of an item, in the order of the manifest; a folder is all its images."""
        for name in item.reference_images:
            try:
                real, found = self._inside(name)
                names = [] if not stat.S_ISDIR(found.st_mode) else _images(real)
            except UnreadableError as error:
                yield error
                continue
            if not names:
                yield self._try(real, found)
            for one in names:
                try:
                    yield self._try(*self._inside(one))
                except UnreadableError as error:
                    yield error

    def read(self, reference: Reference) -> bytes:
        """The bytes of a reference.

        Raises:
            UnreadableError: If it cannot be read, or is another file by now.
        """
        data = _read(reference.path)
        if hashlib.sha256(data).hexdigest() != reference.sha256:
            raise UnreadableError(f"{reference.path} changed while it was read.")
        return data

    def _inside(self, name: str) -> tuple[str, os.stat_result]:
        """The real path of what a manifest names, and what it is; no link any more.

        Raises:
            UnreadableError: If it is not there, or not in the root.
        """
        root = self._real(str(self.root))
        if root == "/" != str(self.root):
            raise UnreadableError(
                f"identification.reference_root is {self.root}, which is / here and so keeps "
                "nothing out. Set it to the folder of the images, or to / if that is meant."
            )
        folder, _, last = (name if name.startswith("/") else f"{root}/{name}").rpartition("/")
        real = f"{self._real(folder or '/').rstrip('/')}/{last}"
        if last in ("", ".", ".."):
            real = os.path.realpath(real)
        try:
            found = _look(real, root, name)
            if stat.S_ISLNK(found.st_mode):
                real = os.path.realpath(real)
                found = _look(real, root, name)
        except (OSError, ValueError) as error:
            raise UnreadableError(f"cannot read {real}: {_reason(error)}.") from error
        return real, found

    def _real(self, folder: str) -> str:
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = os.path.realpath(folder)
        return found

    def _try(self, path: str, found: os.stat_result) -> Reference | UnreadableError:
        stamp = _stamp(found)
        known = self._digests.get(path)
        try:
            if known is None or known[0] != stamp:
                known = (stamp, hashlib.sha256(_read(path)).hexdigest())
                self._remember(path, known)
        except UnreadableError as error:
            return error
        root = self._real(str(self.root)).rstrip("/")
        return Reference(path, path.removeprefix(f"{root}/"), known[1])

    def _remember(self, path: str, known: tuple[Stamp, str]) -> None:
        if time.time_ns() - max(known[0][1:3]) > _SETTLED_NS:
            self._digests[path] = known
            if len(self._digests) > _REMEMBERED:
                self._digests.popitem(last=False)


def _look(real: str, root: str, name: str) -> os.stat_result:
    """What a resolved path is; what lies outside the root is not even looked at."""
    if real != root and not real.startswith(f"{root.rstrip('/')}/"):
        raise UnreadableError(
            f"{name} leads out of identification.reference_root ({root}) to {real}, and nothing "
            "outside is opened. Set the root to a folder that holds it."
        )
    return os.lstat(real)


def _images(path: str) -> list[str]:
    """The images in a folder, 2.jpg before 10.jpg.

    Raises:
        UnreadableError: If there is none.
    """
    try:
        names = [each for each in os.listdir(path) if each.lower().endswith(_SUFFIXES)]
    except OSError as error:
        raise UnreadableError(f"cannot list {path}: {_reason(error)}.") from error
    if not names:
        raise UnreadableError(f"{path} is a folder without a JPEG or PNG image.")
    names.sort(key=lambda each: (len(os.path.splitext(each)[0]), each))
    return [f"{path}/{each}" for each in names]


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _read(path: str) -> bytes:
    # O_NOFOLLOW: a link put there since the path was resolved; O_NONBLOCK: a pipe never ends
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UnreadableError(f"{path} is no regular file.")
            data = file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"cannot read {path}: {_reason(error)}.") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise UnreadableError(f"{path} has more than {MAX_IMAGE_BYTES} bytes.")
    return data
