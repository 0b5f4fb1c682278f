# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A model bundle: the networks of a cell with their thresholds, in one folder or one tar.

`bundle.json` lists every other file with its size and sha256. A bundle is
verified to its last byte each time before anything of it is used. A tar is
unpacked once, into the cache.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from robollm_core.config import Config, RuntimeConfig, update
from robollm_core.errors import ArtifactError, CacheError
from robollm_core.files import file_sha256
from robollm_core.runtime.artifact import sidecar_path
from robollm_core.runtime.bundle_description import (
    DESCRIPTION,
    TEXT_LIMIT,
    Bundle,
    Listed,
    check_sidecars,
    parse_description,
)
from robollm_core.runtime.bundle_files import PIECE, files_of, reading
from robollm_core.runtime.cache import Entry, cache_folder

PATIENCE_S = 600.0
"""How long to wait for another process that unpacks the same tar."""


def effective_config(values: Mapping[str, Any]) -> Config:
    """The configuration in force: defaults, then the bundle's values, then what was set.

    Args:
        values: what was set, by dotted name; runtime.bundle names the bundle, if any.

    Returns:
        The tree; with a bundle, its place and its artifacts are absolute paths.

    Raises:
        ConfigError: If a value is wrong.
        ArtifactError: If the bundle is missing, damaged, or not one.
        CacheError: If a tar cannot be unpacked into the cache.
    """
    return settle(values)[0]


def settle(values: Mapping[str, Any]) -> tuple[Config, Bundle | None]:
    """As `effective_config`, with the bundle; None when none is named."""
    asked = update(Config(), values)
    if not asked.runtime.bundle:
        return asked, None
    bundle = open_bundle(Path(asked.runtime.bundle), asked.runtime)
    told = {**bundle.resolve(values), "runtime.bundle": str(bundle.source)}
    return update(update(Config(), bundle.settings()), told), bundle


def open_bundle(path: Path, config: RuntimeConfig) -> Bundle:
    """Verify a bundle, and have its files in a folder.

    Args:
        path: a folder, a tar or a tar.gz; relative to the working folder.
        config: says where the cache is.

    Returns:
        The bundle, with a folder.

    Raises:
        ArtifactError: If it is missing, damaged, or not a bundle.
        CacheError: If a tar cannot be unpacked into the cache.
    """
    path = path.expanduser().resolve()
    if path.is_dir():
        return replace(check_bundle(path), folder=path)
    text = read_description(path)
    with reading(path):
        folder = cache_folder(config).resolve() / "bundles" / file_sha256(path)
    if not folder.is_dir():
        _unpack(path, folder)
    try:
        kept = check_bundle(folder, expected=text)
    except ArtifactError as error:
        raise ArtifactError(
            f"the unpacked copy of {path} is not what the tar holds: {error} Remove the folder "
            f"{folder}, then start again."
        ) from error
    return replace(kept, source=path, folder=folder)


def check_bundle(path: Path, into: Path | None = None, expected: bytes | None = None) -> Bundle:
    """Verify a bundle to its last byte.

    Args:
        path: a folder, a tar or a tar.gz.
        into: an empty folder that gets a copy of every file; what it holds after an
            error is not verified.
        expected: the bundle.json that the bundle must have.

    Returns:
        The bundle, without a folder.

    Raises:
        ArtifactError: If anything is missing, changed, too much, or does not agree.
        CacheError: If `into` cannot be written.
    """
    text = read_description(path)
    if expected is not None and text != expected:
        raise ArtifactError(f"{path / DESCRIPTION} was changed.")
    bundle = parse_description(text, path)
    texts = _verify(bundle, text, into)
    with reading(path):  # what is nested without end is refused like other damage
        check_sidecars(bundle, texts)
    return bundle


def read_description(path: Path) -> bytes:
    """The text of bundle.json, not yet looked at.

    Raises:
        ArtifactError: If there is none, or none of a reasonable size.
    """
    with reading(path):
        for name, size, file in files_of(path):
            if name == DESCRIPTION:
                if size > TEXT_LIMIT:
                    raise ArtifactError(
                        f"{path}: {DESCRIPTION} has {size} bytes, at most {TEXT_LIMIT}."
                    )
                return file.read(size)
    raise ArtifactError(
        f"{path} is no bundle: it has no {DESCRIPTION}. `robollm bundle make` writes one."
    )


def _verify(bundle: Bundle, text: bytes, into: Path | None) -> dict[str, bytes]:
    """Compare every file with the list; returns the texts of the sidecars by name."""
    missing = {**bundle.files, DESCRIPTION: Listed(len(text), hashlib.sha256(text).hexdigest())}
    networks = [name for name in bundle.files if name.endswith(".onnx")]
    texts = {sidecar_path(Path(name)).name: bytearray() for name in networks}
    with reading(bundle.source):
        for name, size, file in files_of(bundle.source):
            if name not in missing:
                raise ArtifactError(
                    f"{bundle.source} holds {name}, which its {DESCRIPTION} does not list. Remove "
                    "that file, or fetch the bundle again."
                )
            keep = texts.get(name)
            if keep is not None and size > TEXT_LIMIT:
                raise ArtifactError(f"{bundle.source}: {name} has {size} bytes; no sidecar has.")
            with _copying(into / name if into else None) as write:
                sinks = [write] if keep is None else [write, keep.extend]
                found = Listed(size, _drain(file, missing[name].bytes == size, sinks))
            _compare(bundle, name, missing.pop(name), found)
    if missing:
        raise ArtifactError(
            f"{bundle.source} lacks {', '.join(sorted(missing))}. Fetch the bundle again."
        )
    return {name: bytes(kept) for name, kept in texts.items() if kept}


Sink = Callable[[bytes], object]


def _drain(file: IO[bytes], wanted: bool, sinks: list[Sink]) -> str:
    """Give a file to the sinks, piece by piece; returns its sha256, "" when not wanted."""
    digest = hashlib.sha256()
    if not wanted:
        return ""
    while piece := file.read(PIECE):
        for sink in (digest.update, *sinks):
            sink(piece)
    return digest.hexdigest()


def _compare(bundle: Bundle, name: str, listed: Listed, found: Listed) -> None:
    if found != listed:
        says = f"{listed.bytes} bytes of sha256 {listed.sha256[:16]}..."
        has = f"{found.bytes} bytes" + (f" of {found.sha256[:16]}..." if found.sha256 else "")
        raise ArtifactError(
            f"{bundle.source}: {name} was changed or damaged: {DESCRIPTION} says {says}, it has "
            f"{has}. Fetch the bundle again."
        )


def _unpack(path: Path, folder: Path) -> None:
    """Verify a tar while it is unpacked; the folder appears whole, by a rename, or not at all."""
    lock = Entry(folder.parent, {"bundle": folder.name}, ".tar")
    with lock.lock(PATIENCE_S):
        if folder.is_dir():
            return  # another process was quicker
        for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with _writing(folder):
            part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            check_bundle(path, into=part)
            with _writing(folder):
                part.chmod(0o755)  # mkdtemp makes it private
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _copying(path: Path | None) -> Iterator[Sink]:
    """Gives what takes the pieces of a file: a new file at `path`, or nothing."""
    if path is None:
        yield len
        return
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")

    def write(piece: bytes) -> None:
        with _writing(path):
            file.write(piece)

    try:
        yield write
        with _writing(path):
            file.flush()
            os.fsync(file.fileno())
    finally:
        with contextlib.suppress(OSError):  # a full disk says it once more
            file.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"cannot write {path}: {error.strerror or error}. Free some space, or set "
            "runtime.cache to a folder that can be written."
        ) from error
