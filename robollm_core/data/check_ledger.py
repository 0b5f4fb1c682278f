# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a check of a data set finds, and how a picture is looked at."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from robollm_core.data.broken import MAX_SHARE
from robollm_core.data.samples import Region
from robollm_core.errors import ImageError
from robollm_core.images import decode_image

KINDS = {
    "missing": "listed, and not on disk",
    "broken": "cannot be read or decoded",
    "duplicate bytes": "the same picture under several names",
    "duplicate id": "listed twice",
    "empty": "no instance, mask without pixels, box without area, manifest without items",
    "unknown class": "of a class that the layout does not have",
    "no references": "item without a reference picture",
    "not on manifest": "pick of an item that its manifest does not list",
    "in two splits": "in train and test at once, or another pair",
    "size disagrees": "picture of another size than its annotation says",
}
"""Kinds of findings, in the order of the summary."""

_EDGE = 4096
_SLACK_PX = 2.0
_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing before hours are spent.

    Attributes:
        kind: one of `KINDS`.
        path: file, folder, list or id, relative to the data set's folder.
        detail: one sentence.
    """

    kind: str
    path: str
    detail: str


@dataclass(slots=True)
class Tally:
    """Samples of one list.

    Attributes:
        samples: how many are listed, each once.
        broken: how many of them cannot be used.
    """

    samples: int = 0
    broken: int = 0


@dataclass(slots=True)
class Share:
    """How many of how many."""

    count: int = 0
    of: int = 0


class Ledger:
    """Findings so far; memory grows with them and with the ids of the sets alone.

    Attributes:
        root: the data set's folder.
        decode: pictures are decoded, not just looked at.
        findings: in the order they came.
        tallies: list of samples, such as "identification test", to its counts.
        shares: what, to how many of how many.
        facts: whatever else a layout is to be known by.
    """

    def __init__(self, root: Path, decode: bool) -> None:
        self.root = root
        self.decode = decode
        self.findings: list[Finding] = []
        self.tallies: dict[str, Tally] = {}
        self.shares: dict[str, Share] = {}
        self.facts: dict[str, Any] = {}
        self._twins = _Twins()

    def note(self, kind: str, path: Path | str, detail: object) -> None:
        """Note a finding of one of `KINDS`."""
        text = str(path).removeprefix(f"{self.root}/")
        self.findings.append(Finding(kind, text, str(detail)))

    def sample(self, tally: str, usable: bool) -> None:
        """Count a sample."""
        counts = self.tallies.setdefault(tally, Tally())
        counts.samples += 1
        counts.broken += not usable

    def share(self, name: str, hit: bool) -> None:
        """Count whether something holds of one sample."""
        share = self.shares.setdefault(name, Share())
        share.count += hit
        share.of += 1

    def progress(self, entries: Iterable[_Entry], total: int, name: str) -> Iterator[_Entry]:
        """The entries, with a bar."""
        yield from tqdm(entries, total=total, desc=name)

    def picture(self, path: Path, region: Region | None = None) -> bool:
        """Look at a picture and what is said to be in it.

        Returns:
            Whether it can be used; what is wrong is noted.
        """
        size = self.size(path)
        if size is None:
            return False
        fault = _outside(region, size) if region is not None else ""
        if fault:
            self.note("size disagrees", path, fault)
        return not (fault and region is not None and region.rle)

    def size(self, path: Path) -> tuple[int, int] | None:
        """Look at a picture.

        Returns:
            (height, width), pixels; None when it cannot be used, which is noted.
        """
        if not path.is_file():
            self.note("missing", path, "there is no such file.")
            return None
        try:
            size, code = _look(path, self.decode)
        except (OSError, ImageError) as error:
            self.note("broken", path, error)
            return None
        self._twins.add(path, code)
        return size

    def close(self) -> None:
        """Note the pictures that are there twice, byte for byte."""
        with closing(self._twins.base):
            for paths in self._twins.groups():
                others = ", ".join(str(p).removeprefix(f"{self.root}/") for p in paths[1:])
                self.note("duplicate bytes", paths[0], f"the same bytes as {others}.")

    @property
    def usable(self) -> bool:
        """Whether anything is left, and at most `MAX_SHARE` of the samples is broken."""
        samples = sum(tally.samples for tally in self.tallies.values())
        broken = sum(tally.broken for tally in self.tallies.values())
        return samples > broken and broken <= MAX_SHARE * samples

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind that there are."""
        kinds = [finding.kind for finding in self.findings]
        return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "root": str(self.root),
            "decoded": self.decode,
            "usable": self.usable,
            "samples": {name: asdict(tally) for name, tally in self.tallies.items()},
            "shares": {
                name: {**asdict(share), "share": round(share.count / share.of, 6)}
                for name, share in self.shares.items()
            },
            "counts": self.counts(),
            **self.facts,
            "findings": [asdict(finding) for finding in self.findings],
        }


def _look(path: Path, decode: bool) -> tuple[tuple[int, int], bytes]:
    """Size (height, width) of a picture, and a code that its copies share."""
    with path.open("rb") as file:
        head = file.read(_EDGE)
        length = file.seek(0, 2)
        file.seek(max(0, length - _EDGE))
        tail = file.read()
    code = hashlib.blake2b(head + tail + length.to_bytes(8, "big"), digest_size=16).digest()
    ends = (head[:2] == b"\xff\xd8" and tail[-2:] == b"\xff\xd9") or (
        head[:8] == b"\x89PNG\r\n\x1a\n" and tail[-8:-4] == b"IEND"
    )
    if decode or not ends:  # a camera may write on behind the end: only decoding tells
        height, width = decode_image(path.read_bytes(), str(path)).shape[:2]
        return (height, width), code
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return (image.height, image.width), code
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} has a header that cannot be read: {error}") from error


def _outside(region: Region, size: tuple[int, int]) -> str:
    """What of a region does not fit a picture, "" when all does."""
    height, width = size
    if region.rle:
        given = region.rle[:2]
        return "" if given == size else f"its mask is of size {given}, the picture {size}."
    points = [np.reshape(p, (-1, 2)) for p in (*region.polygons, region.box_xyxy_px) if len(p)]
    every = np.concatenate(points)
    beyond = float(np.abs(every - np.clip(every, 0, (width, height))).max())
    if beyond <= _SLACK_PX:
        return ""
    return f"its outline reaches {beyond:.1f} pixels out of the picture of {width}x{height}."


class _Twins:
    """Pictures by code, in a temporary database on disk."""

    def __init__(self) -> None:
        self.base = sqlite3.connect("")
        self.base.execute("CREATE TABLE seen (path TEXT PRIMARY KEY, code BLOB)")

    def add(self, path: Path, code: bytes) -> None:
        self.base.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (str(path), code))

    def groups(self) -> Iterator[list[str]]:
        """Paths of pictures that are equal in every byte, two or more."""
        self.base.execute("CREATE INDEX by_code ON seen (code, path)")
        rows = self.base.execute(
            "SELECT code, path FROM seen WHERE code IN "
            "(SELECT code FROM seen GROUP BY code HAVING count(*) > 1) ORDER BY code, path"
        )
        for _, alike in groupby(rows, key=lambda row: row[0]):
            paths = [path for _, path in alike]
            yield from _equal(paths)


def _equal(paths: list[str]) -> Iterator[list[str]]:
    """Of pictures of one length, start and end, those that are equal throughout."""
    sums: dict[bytes, list[str]] = {}
    for path in paths:
        whole = hashlib.sha256(Path(path).read_bytes()).digest()
        sums.setdefault(whole, []).append(path)
    yield from (group for group in sums.values() if len(group) > 1)
