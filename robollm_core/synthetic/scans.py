# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Products from OBJ scans: a folder of photo-textured meshes joins the catalogue."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from robollm_core.errors import DatasetError, ImageError
from robollm_core.images import read_image
from robollm_core.synthetic.atlas import pack
from robollm_core.synthetic.meshes import Mesh, Region, centred, make_mesh
from robollm_core.synthetic.products import SPLITS, Product
from robollm_core.types import UInt8Array

_TEXTURE_PX = 384
_LONGEST_M = 0.45
_MOST_FACES = 200_000
_LONGEST_NAME = 200  # bytes; file systems take 255


@dataclass(frozen=True, slots=True)
class Scan:
    """A mesh on disk.

    Attributes:
        path: the .obj file.
        name: what its product goes by, unique in its folder of scans and fit for
            the name of a folder.
    """

    path: Path
    name: str


@dataclass(slots=True)
class _Obj:
    """What the lines of an OBJ file say."""

    points: list[tuple[float, float, float]] = field(default_factory=list)
    uv: list[tuple[float, float]] = field(default_factory=list)
    corners: list[tuple[int, int, int]] = field(default_factory=list)
    """(point, uv or -1, material) of each triangle corner, three in a row."""
    materials: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


def _index(text: str, count: int) -> int:
    number = int(text)
    index = number - 1 if number > 0 else count + number
    if not 0 <= index < count:
        raise ValueError(f"index {number} of {count}")
    return index


def _face(obj: _Obj, words: Iterable[str]) -> None:
    corners = []
    for word in words:
        point, _, rest = word.partition("/")
        coordinate = rest.partition("/")[0]
        uv = _index(coordinate, len(obj.uv)) if coordinate else -1
        corners.append((_index(point, len(obj.points)), uv, max(len(obj.materials) - 1, 0)))
    if len(corners) < 3:
        raise ValueError("a face of fewer than 3 corners")
    for second in range(1, len(corners) - 1):  # a polygon becomes a fan
        obj.corners += [corners[0], corners[second], corners[second + 1]]
    if len(obj.corners) > 3 * _MOST_FACES:
        raise ValueError(f"more than {_MOST_FACES} triangles")


def _read_line(obj: _Obj, words: list[str]) -> None:
    kind = words[0]
    if kind == "v":
        x, y, z = (float(word) for word in words[1:4])
        obj.points.append((x, y, z))
    elif kind == "vt":
        obj.uv.append((float(words[1]), float(words[2])))
    elif kind == "f":
        _face(obj, words[1:])
    elif kind == "usemtl":
        obj.materials.append(words[1])
    elif kind == "mtllib":
        obj.libraries.append(" ".join(words[1:]))


def _parse(path: Path) -> _Obj:
    obj = _Obj()
    number = 0
    try:
        with path.open(encoding="utf-8", errors="strict") as lines:
            for line in lines:
                number += 1
                words = line.split("#", 1)[0].split()
                if words:
                    _read_line(obj, words)
    except (ValueError, IndexError) as error:
        raise DatasetError(
            f"{path} line {number} is not Wavefront OBJ ({error}). Export the mesh again as "
            "triangles with texture coordinates, or take it out of the folder."
        ) from error
    except OSError as error:
        raise DatasetError(f"Cannot read the mesh {path}: {error}.") from error
    points = np.array(obj.points, np.float64)
    if not obj.corners or not np.isfinite(points).all():
        raise DatasetError(f"{path} holds no usable face; expected an OBJ mesh with triangles.")
    return obj


def _texture_files(path: Path, obj: _Obj) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for library in obj.libraries:
        material = ""
        try:
            text = (path.parent / library).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise DatasetError(f"{path} names {library}, which cannot be read: {error}.") from error
        for words in (line.split() for line in text.splitlines() if line.strip()):
            if words[0] == "newmtl":
                material = words[-1]
            elif words[0] == "map_Kd":
                files[material] = path.parent / words[-1]
    return files


def _colours(path: Path, obj: _Obj) -> dict[str, UInt8Array]:
    """Picture of each material, a grey patch for one without a picture."""
    files = _texture_files(path, obj)
    pictures: dict[str, UInt8Array] = {"": np.full((16, 16, 3), 150, np.uint8)}
    for material in sorted(set(obj.materials) & set(files)):
        try:
            picture = read_image(files[material])
        except (ImageError, OSError) as error:
            raise DatasetError(f"{path}: texture {files[material]}: {error}") from error
        high, wide = picture.shape[:2]
        scale = min(1.0, _TEXTURE_PX / max(high, wide))
        size = (max(1, round(wide * scale)), max(1, round(high * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        pictures[material] = np.asarray(small, np.uint8)
    return _filled(pictures)


def _filled(pictures: dict[str, UInt8Array]) -> dict[str, UInt8Array]:
    """Sides the scanner did not see are black; give them the mean colour of those it saw."""
    blank = [name for name, picture in pictures.items() if int(picture.max()) < 8]
    seen = [
        picture.reshape(-1, 3) for name, picture in pictures.items() if name and name not in blank
    ]
    if seen:
        mean = np.concatenate(seen).mean(axis=0).astype(np.uint8)
        for name in ("", *blank):
            pictures[name] = np.broadcast_to(mean, (16, 16, 3)).copy()
    return pictures


def _assemble(obj: _Obj, regions: dict[str, Region]) -> Mesh:
    corners = np.array(obj.corners, np.int64)
    keys, inverse = np.unique(corners, axis=0, return_inverse=True)
    names = obj.materials or [""]
    rectangles = np.array([regions.get(name, regions[""]) for name in names])[keys[:, 2]]
    table = np.array([*obj.uv, (0.5, 0.5)])  # the last one, index -1, is for corners without
    own = table[keys[:, 1]]
    own = np.where((own < 0) | (own > 1), own % 1.0, own)
    u = rectangles[:, 0] + (rectangles[:, 2] - rectangles[:, 0]) * own[:, 0]
    # OBJ counts v from the bottom of the picture
    v = rectangles[:, 3] + (rectangles[:, 1] - rectangles[:, 3]) * own[:, 1]
    points = np.array(obj.points, np.float64)
    scale = 0.001 if np.ptp(points, axis=0).max() > 5.0 else 1.0  # some scans are in millimetres
    faces = inverse.reshape(-1, 3)
    return centred(make_mesh(points[keys[:, 0]] * scale, faces, np.stack([u, v], -1)))


@lru_cache(maxsize=64)
def load_scan(scan: Scan) -> Product:
    """Read one OBJ file with its materials as a product.

    An `info.json` in the folder above the mesh's own may give weight and
    description. The smallest edge of the box becomes z, so that physics lays
    the scan flat.

    Args:
        scan: Its .obj file is in metres or millimetres.

    Raises:
        DatasetError: If the mesh or a texture is unreadable, empty or of an
            impossible size.
    """
    path = scan.path
    obj = _parse(path)
    texture, regions = pack(_colours(path, obj))
    mesh = _assemble(obj, regions)
    longest = max(mesh.dims_m)
    if not 0.005 < longest <= _LONGEST_M:
        raise DatasetError(
            f"{path} is {longest:.3f} m long; expected 0.005 to {_LONGEST_M} m. Scale it to metres."
        )
    info = _info(path)
    weight = info.get("weight")
    return Product(
        item_id=f"SCAN-{scan.name}",
        family="scan",
        dims_m=mesh.dims_m,
        weight_kg=float(weight) if isinstance(weight, int | float) else 0.2,
        text=str(info.get("description") or scan.name),
        mesh=mesh,
        texture=texture,
        gloss=0.3,
        softness=0.1,
    )


def _info(path: Path) -> dict[str, Any]:
    file = path.parent.parent / "info.json"
    if not file.is_file():
        return {}
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} is not JSON: {error}.") from error
    return info if isinstance(info, dict) else {}


def _name(folder: Path, path: Path) -> str:
    """Name of a scan: what its info.json says, else where it lies in the folder."""
    parts = path.relative_to(folder).with_suffix("").parts
    # sets of scans have <item>/<some folder>/<any name>.obj; a shorter path is all there is
    place = parts[-3] if len(parts) > 2 else "-".join(parts)
    name = str(_info(path).get("name") or place)
    # no half of a surrogate pair is printable, so what is left can be encoded
    safe = name.isprintable() and not set(name) & set("/\\") and name not in (".", "..")
    if not safe or len(name.encode()) > _LONGEST_NAME:
        raise DatasetError(
            f"{path} is named {name[:80]!r}, which cannot be the name of a folder. Give it "
            "another name in its info.json."
        )
    return name


def _find(folder: Path) -> list[Scan]:
    files = sorted(folder.rglob("*.obj"))
    if not files:
        raise DatasetError(f"--meshes {folder}: expected a folder with .obj files, found none.")
    named: dict[str, Path] = {}
    for file in files:
        name = _name(folder, file)
        if name in named:
            raise DatasetError(
                f"{named[name]} and {file} are both named {name!r}. Keep one mesh an item, or "
                "give each item a name of its own in its info.json."
            )
        named[name] = file
    return [Scan(file, name) for name, file in named.items()]


def scan_files(folder: Path, split: str) -> list[Scan]:
    """Scans below a folder that belong to a split: every tenth to val, every tenth to test.

    A scan is named by the `info.json` in the folder above the mesh's own, else
    by <item> of <item>/<folder>/x.obj, else by its whole path in the folder.

    Raises:
        DatasetError: If the folder holds no OBJ file, or if, in whatever split,
            two have one name or one has a name that no folder can have.
    """
    place = {8: "val", 9: "test"}
    scans = enumerate(_find(folder))
    return [scan for number, scan in scans if place.get(number % 10, "train") == split]


def load_scans(folder: Path, split: str, rng: np.random.Generator, most: int = 8) -> list[Product]:
    """At most `most` scans of a split, drawn by `rng`.

    Raises:
        DatasetError: If `scan_files` refuses the folder or a scan cannot be used.
    """
    if split not in SPLITS:
        raise DatasetError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    scans = scan_files(folder, split)
    chosen = sorted(int(k) for k in rng.permutation(len(scans))[:most])
    return [load_scan(scans[number]) for number in chosen]
