# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What was built or measured for one machine, kept on disk.

An entry is a file and a sidecar that says what it is. Its name is the digest
of all that it depends on, so a changed network, version or card asks for
another name. An entry that is half written, damaged or of other facts is no
entry: it is made anew.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from robollm_core.config import RuntimeConfig
from robollm_core.errors import CacheError, OutputError
from robollm_core.files import file_sha256, write_file

FORMAT = 1
Facts = Mapping[str, str | int]


def cache_folder(config: RuntimeConfig) -> Path:
    """Where entries are kept; it need not exist."""
    if config.cache:
        return Path(config.cache).expanduser()
    if own := os.environ.get("ROBOLLM_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "robollm"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the cache, there or not.

    Attributes:
        folder: of its kind, such as "<cache>/engines".
        facts: all that the content depends on.
        suffix: of the file, such as ".engine".
    """

    folder: Path
    facts: Facts
    suffix: str

    @property
    def path(self) -> Path:
        """The file; its sidecar ends in .json."""
        text = json.dumps(dict(self.facts), sort_keys=True)
        return self.folder / (hashlib.sha256(text.encode()).hexdigest()[:32] + self.suffix)

    @property
    def sidecar(self) -> Path:
        """What stands beside the file."""
        return self.path.with_suffix(".json")

    def valid(self) -> bool:
        """Whether the file is there, whole, and of these facts."""
        try:
            tree = json.loads(self.sidecar.read_text(encoding="utf-8"))
            told = {"format": FORMAT, "facts": dict(self.facts)}
            return (
                isinstance(tree, dict)
                and {key: tree.get(key) for key in told} == told
                and tree.get("sha256") == file_sha256(self.path)
            )
        except (OSError, ValueError, RecursionError):
            return False

    def write(self, data: bytes) -> None:
        """Keep the content; the sidecar comes last, so that half an entry is none.

        Raises:
            CacheError: If the folder cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        tree = {"format": FORMAT, "facts": dict(self.facts), "sha256": digest}
        try:
            write_file(self.path, data)
            write_file(self.sidecar, (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode())
        except OutputError as error:
            raise CacheError(
                f"{error} Set runtime.cache to a folder that can be written."
            ) from error

    @contextmanager
    def lock(self, patience_s: float) -> Iterator[None]:
        """Hold the entry alone among all processes; the others wait.

        Args:
            patience_s: how long to wait for another process.

        Raises:
            CacheError: If the wait was too long, or the folder cannot be written.
        """
        place = FileLock(self.path.with_suffix(".lock"), timeout=patience_s)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            place.acquire()
        except Timeout as error:
            raise CacheError(
                f"another process has been building {self.path.name} for {patience_s:.0f} s. Wait "
                f"for it, or end it; its lock is {place.lock_file}."
            ) from error
        except OSError as error:
            raise CacheError(
                f"cannot write the cache {self.folder}: {error}. Set runtime.cache to a folder "
                "that can be written."
            ) from error
        try:
            yield
        finally:
            place.release()
