# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Damages products: open flaps, crushed corners, torn bags, spilled content.

A damaged product is a product again, one mesh and one texture, so it goes
wherever a whole one goes. Its dimensions stay those of the whole one: physics
lays it down as it would have lain before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from robollm_core.synthetic.meshes import (
    Band,
    Float64Array,
    Mesh,
    Region,
    ball,
    cube_grid,
    join,
    lathe,
    make_mesh,
    shifted,
    smooth_noise,
)
from robollm_core.synthetic.products import Product
from robollm_core.types import BoolArray, UInt8Array

_PATCH_PX = 24
_GUT_PX = 3
_CONTENT = (
    (150, 90, 40),
    (235, 225, 200),
    (190, 40, 30),
    (60, 120, 50),
    (240, 190, 60),
    (90, 60, 150),
)
_BOARD = ((176, 140, 100), (225, 222, 215), (150, 118, 84))


@dataclass(frozen=True, slots=True, eq=False)
class _Kit:
    """A product opened for work.

    Attributes:
        mesh: with texture coordinates of the larger texture.
        texture: the product's, with patches below it.
        patches: where the colours of the inside lie: board, dark, content, foil.
        dims: (3,) edge lengths of the whole product, metres.
    """

    mesh: Mesh
    texture: UInt8Array
    patches: Mapping[str, Region]
    dims: Float64Array


def _kit(product: Product, rng: np.random.Generator) -> _Kit:
    colours = {
        "board": _BOARD[int(rng.integers(len(_BOARD)))],
        "dark": (38, 33, 28),
        "content": _CONTENT[int(rng.integers(len(_CONTENT)))],
        "foil": (200, 202, 206) if rng.random() < 0.6 else (245, 244, 240),
    }
    height, width = product.texture.shape[:2]
    wide = max(width, len(colours) * _PATCH_PX)
    texture = np.zeros((height + _PATCH_PX, wide, 3), np.uint8)
    texture[:height, :width] = product.texture
    patches: dict[str, Region] = {}
    for number, (name, colour) in enumerate(colours.items()):
        left = number * _PATCH_PX
        grain = rng.normal(0, 10, (_PATCH_PX, _PATCH_PX, 1))
        patch = np.clip(np.array(colour) + grain, 0, 255)
        texture[height:, left : left + _PATCH_PX] = patch.astype(np.uint8)
        patches[name] = (
            (left + _GUT_PX) / wide,
            (height + _GUT_PX) / texture.shape[0],
            (left + _PATCH_PX - _GUT_PX) / wide,
            (texture.shape[0] - _GUT_PX) / texture.shape[0],
        )
    scale = np.array((width / wide, height / texture.shape[0]), np.float32)
    mesh = replace(product.mesh, uv=product.mesh.uv * scale)
    return _Kit(mesh, texture, patches, np.array(product.dims_m, np.float64))


def _refined(mesh: Mesh) -> Mesh:
    """Each triangle cut into four, so that it can be dented."""
    a, b, c = mesh.faces.T
    count = len(mesh.vertices)
    pairs = np.sort(np.concatenate([np.c_[a, b], np.c_[b, c], np.c_[c, a]]), axis=1)
    edges, number = np.unique(pairs, axis=0, return_inverse=True)
    ab, bc, ca = count + number.reshape(3, -1)
    points = np.concatenate([mesh.vertices, mesh.vertices[edges].mean(axis=1)])
    uv = np.concatenate([mesh.uv, mesh.uv[edges].mean(axis=1)])
    faces = np.concatenate(
        [np.c_[a, ab, ca], np.c_[ab, b, bc], np.c_[ca, bc, c], np.c_[ab, bc, ca]]
    )
    return make_mesh(points, faces, uv)


def _moved(mesh: Mesh, points: Float64Array) -> Mesh:
    return make_mesh(points, mesh.faces, mesh.uv)


def _crushed(kit: _Kit, rng: np.random.Generator) -> _Kit:
    """Push a corner, or two, in, and crumple what is around it."""
    mesh = kit.mesh if len(kit.mesh.faces) > 1500 else _refined(kit.mesh)
    points = mesh.vertices.astype(np.float64)
    for _ in range(int(rng.integers(1, 3))):
        corner = kit.dims / 2 * rng.choice((-1.0, 1.0), 3)
        nearest = points[np.linalg.norm(points - corner, axis=1).argmin()]
        reach = rng.uniform(0.45, 0.8) * float(np.sort(kit.dims)[1])
        near = np.clip(1 - np.linalg.norm(points - nearest, axis=1) / reach, 0, 1)
        inward = -nearest / (np.linalg.norm(nearest) + 1e-9)
        depth = rng.uniform(0.3, 0.55) * reach
        crumple = smooth_noise(int(rng.integers(1 << 30)), 0.09 * reach, 0.35 * reach)
        ruffled = crumple(points) - points
        points = points + near[:, None] ** 1.3 * (depth * inward + 2.5 * ruffled)
    return replace(kit, mesh=_moved(mesh, points))


def _rotation_about(axis: int, angle: float) -> Float64Array:
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn


def _end_faces(mesh: Mesh, axis: int, sign: float) -> BoolArray:
    """Which faces (F,) look out of one end of the box."""
    middle = mesh.vertices[mesh.faces].mean(axis=1)[:, axis] * sign
    out = mesh.normals[mesh.faces].mean(axis=1)[:, axis] * sign
    span = float(np.abs(mesh.vertices[:, axis]).max())
    chosen: BoolArray = (out > 0.75) & (middle > 0.7 * span)
    return chosen


def _flap(
    kit: _Kit, axis: int, sign: float, edge: tuple[int, float], rng: np.random.Generator
) -> Mesh:
    """One flap, hinged at an edge of the open end; edge is (axis, side)."""
    along = 3 - axis - edge[0]
    size = np.empty(3)
    size[axis], size[along] = 0.0012, 0.96 * kit.dims[along]
    size[edge[0]] = min(0.5 * kit.dims[edge[0]], 0.8 * kit.dims[along]) * rng.uniform(0.8, 1.0)
    board = {"front": kit.patches["board"]}
    lid = cube_grid((float(size[0]), float(size[1]), float(size[2])), board, cells=(2, 2, 2))
    points = lid.vertices.astype(np.float64)
    points[:, edge[0]] -= edge[1] * size[edge[0]] / 2  # the hinge is the origin, the flap closes
    angle = np.deg2rad(rng.uniform(50, 200))
    turned = points @ _rotation_about(along, angle).T
    # of the two ways to turn, one opens
    if (
        (turned[:, axis] * sign).mean() < 0
        or angle > np.pi / 2
        and (turned[:, edge[0]] * edge[1]).mean() < 0
    ):
        turned = points @ _rotation_about(along, -angle).T
    hinge = np.zeros(3)
    hinge[axis], hinge[edge[0]] = sign * kit.dims[axis] / 2, edge[1] * kit.dims[edge[0]] / 2
    return make_mesh(turned + hinge, lid.faces, lid.uv)


def _inside_out(mesh: Mesh) -> Mesh:
    return make_mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.uv)


def _open_end(kit: _Kit, axis: int, sign: float) -> tuple[Mesh, Mesh]:
    """The mesh without one end, and the hollow that shows instead."""
    end = _end_faces(kit.mesh, axis, sign)
    shell = make_mesh(kit.mesh.vertices, kit.mesh.faces[~end], kit.mesh.uv)
    depth = 0.9 * kit.dims[axis]
    size = 0.985 * kit.dims
    size[axis] = depth
    walls = {"front": kit.patches["board"]}
    hollow = cube_grid((float(size[0]), float(size[1]), float(size[2])), walls, cells=(1, 1, 1))
    lid = _end_faces(hollow, axis, sign)
    bottom = _end_faces(hollow, axis, -sign)
    uv = hollow.uv.copy()
    u0, v0, u1, v1 = kit.patches["dark"]
    uv[np.unique(hollow.faces[bottom])] = ((u0 + u1) / 2, (v0 + v1) / 2)
    offset = np.zeros(3)
    offset[axis] = sign * (kit.dims[axis] - depth) / 2
    open_box = make_mesh(hollow.vertices + offset, hollow.faces[~lid], uv)
    return shell, _inside_out(open_box)


def _opened(kit: _Kit, rng: np.random.Generator) -> _Kit:
    """Open one end of a box: a hollow, and flaps that stand off."""
    axis = int(rng.choice(3, p=(0.3, 0.5, 0.2)))
    sign = float(rng.choice((-1.0, 1.0)))
    parts = list(_open_end(kit, axis, sign))
    for other in range(3):
        for side in (-1.0, 1.0):
            if other != axis and rng.random() < 0.8:
                parts.append(_flap(kit, axis, sign, (other, side), rng))
    return replace(kit, mesh=join(parts))


def _slid_out(kit: _Kit, rng: np.random.Generator) -> _Kit:
    """Open one end of a box and let the inner pack slide out of it."""
    axis = int(rng.choice((0, 1), p=(0.4, 0.6)))
    sign = float(rng.choice((-1.0, 1.0)))
    parts = list(_open_end(kit, axis, sign))
    size = kit.dims * (0.93, 0.93, 0.86)
    inner = cube_grid(
        (float(size[0]), float(size[1]), float(size[2])),
        {"front": kit.patches["foil" if rng.random() < 0.6 else "content"]},
        smooth_noise(int(rng.integers(1 << 30)), 0.02 * float(size.min()), 0.5 * float(size.max())),
        (4, 4, 2),
        round_m=0.1 * float(size.min()),
    )
    offset = [0.0, 0.0, 0.0]
    offset[axis] = sign * rng.uniform(0.4, 0.85) * kit.dims[axis]
    parts.append(shifted(inner, offset))
    return replace(kit, mesh=join(parts))


def _texels_per_m(kit: _Kit) -> float:
    """How many texture pixels a metre of the surface has, in the median face."""
    a, b, c = (kit.mesh.vertices[kit.mesh.faces[:, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    size = np.array(kit.texture.shape[1::-1])
    u, v, w = (kit.mesh.uv[kit.mesh.faces[:, k]] * size for k in range(3))
    first, second = v - u, w - u
    print_area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    return float(np.sqrt(np.median(print_area / np.maximum(area, 1e-12))))


def _torn(kit: _Kit, rng: np.random.Generator) -> _Kit:
    """Tear a bag: a jagged hole that shows the content, sunken, with a pale edge."""
    points = kit.mesh.vertices.astype(np.float64)
    wide = np.abs(points[:, :2]) < 0.36 * kit.dims[:2]
    facing = np.abs(kit.mesh.normals[:, 2]) > 0.5
    spots = np.flatnonzero(wide.all(axis=1) & facing)
    spot = int(rng.choice(spots)) if len(spots) else int(rng.integers(len(points)))
    reach = rng.uniform(0.2, 0.38) * float(np.sort(kit.dims)[1])
    texture = kit.texture.copy()
    size = np.array(texture.shape[1::-1])
    count = int(rng.integers(9, 20))
    turns = np.sort(rng.uniform(0, 2 * np.pi, count))
    ring = np.stack([np.cos(turns), np.sin(turns) * rng.uniform(0.35, 1.0)], 1)
    swing = rng.uniform(0, np.pi)
    ring = ring @ np.array(((np.cos(swing), -np.sin(swing)), (np.sin(swing), np.cos(swing))))
    ring *= rng.uniform(0.55, 1.2, (count, 1)) * reach * max(_texels_per_m(kit), 60.0)
    outline = np.round(kit.mesh.uv[spot] * size + ring).astype(np.int32)
    edge = max(2, round(0.12 * reach * _texels_per_m(kit)))
    cv2.polylines(texture, [outline], True, (246, 246, 242), edge, cv2.LINE_AA)
    hole = np.zeros(texture.shape[:2], np.uint8)
    cv2.fillPoly(hole, [outline], 1)
    content = np.array(_CONTENT[int(rng.integers(len(_CONTENT)))])
    speckle = rng.normal(0, 38, (*texture.shape[:2], 1))
    inside = np.clip(content * rng.uniform(0.35, 0.9) + speckle, 0, 255).astype(np.uint8)
    texture = np.where(hole[..., None] > 0, inside, texture)
    texture[-_PATCH_PX:] = kit.texture[-_PATCH_PX:]
    near = np.clip(1 - np.linalg.norm(points - points[spot], axis=1) / (1.3 * reach), 0, 1)
    sink = 0.35 * float(kit.dims.min()) * near[:, None] * kit.mesh.normals
    torn = _moved(kit.mesh, points - sink)
    shreds = [_shred(kit, points[spot], kit.mesh.normals[spot], reach, rng) for _ in range(3)]
    return replace(kit, mesh=join([torn, *shreds]), texture=texture)


def _shred(
    kit: _Kit, spot: Float64Array, normal: Float64Array, reach: float, rng: np.random.Generator
) -> Mesh:
    """A curled strip of film that stands off the edge of a tear."""
    length, width = reach * rng.uniform(0.5, 1.1), reach * rng.uniform(0.15, 0.4)

    def curl(points: Float64Array) -> Float64Array:
        rise = (points[:, 0] / length + 0.5) ** 2 * length * 0.7
        return points + np.stack([0 * rise, 0 * rise, rise], -1)

    strip = cube_grid(
        (length, width, 0.0012), {"front": kit.patches["foil"]}, curl, cells=(6, 1, 1)
    )
    side = rng.normal(size=3)
    side -= normal * (side @ normal)
    side /= np.linalg.norm(side) + 1e-9
    frame = np.stack([side, np.cross(normal, side), normal], 1)
    at = spot + side * reach * rng.uniform(0.3, 0.8) + 0.003 * normal
    return make_mesh(strip.vertices @ frame.T + at, strip.faces, strip.uv)


def _pieces(kit: _Kit, rng: np.random.Generator) -> list[Mesh]:
    """Content that lies around the product, where its lower side would lie."""
    size = rng.uniform(0.05, 0.16) * float(np.sort(kit.dims)[1])
    look = {"front": kit.patches["content"]}
    kind = rng.integers(3)
    if kind == 0:
        piece = ball((size, size, size), look, cells=3)
    elif kind == 1:
        piece = cube_grid((size, 0.7 * size, 0.5 * size), look, cells=(1, 1, 1))
    else:
        u0, v0, u1, v1 = kit.patches["content"]
        bands = [
            Band(0.3 * size, -size, (u0, v0, u1, v1), True),
            Band(0.3 * size, size, (u0, v0, u1, v1)),
        ]
        piece = lathe((0.0, -size), [*bands, Band(0.0, size, (u0, v0, u1, v1), True)], 8)
    side = int(rng.integers(2))
    way = float(rng.choice((-1.0, 1.0)))
    made = []
    for _ in range(int(rng.integers(10, 36))):
        # the heap starts at the opening and thins out
        at = rng.normal(0, 0.3, 3) * kit.dims
        at[side] = way * (kit.dims[side] / 2 + abs(rng.normal(0, 0.22)) * kit.dims[:2].mean())
        at[2] = -kit.dims[2] / 2 + abs(rng.normal(0, 0.4)) * size + size / 2
        turn = _rotation_about(int(rng.integers(3)), rng.uniform(0, np.pi))
        made.append(make_mesh(piece.vertices @ turn.T + at, piece.faces, piece.uv))
    return made


def _spilled(kit: _Kit, rng: np.random.Generator) -> _Kit:
    """Open or tear the pack and spread content around it."""
    return replace(kit, mesh=join([kit.mesh, *_pieces(kit, rng)]))


_Change = Callable[[_Kit, np.random.Generator], _Kit]
_CHANGES: Mapping[str, tuple[_Change, ...]] = {
    "crushed_corner": (_crushed,),
    "open_flap": (_opened,),
    "slid_out": (_slid_out,),
    "torn_bag": (_torn,),
    "spilled_box": (_opened, _spilled),
    "spilled_bag": (_torn, _spilled),
    "spilled_vessel": (_crushed, _spilled),
}
_BOXES = ("open_flap", "open_flap", "slid_out", "crushed_corner", "spilled_box")
_BAGS = ("torn_bag", "torn_bag", "spilled_bag")
_VESSELS = ("crushed_corner", "spilled_vessel")
_KINDS: Mapping[str, tuple[str, ...]] = {
    "carton": _BOXES,
    "block": ("crushed_corner", "torn_bag"),
    "book": ("crushed_corner", "torn_bag"),
    "blister": ("crushed_corner", "torn_bag", "spilled_bag"),
    "pouch": _BAGS,
    "polybag": _BAGS,
    "soft": _BAGS,
    "can": _VESSELS,
    "bottle": _VESSELS,
    "tube": ("crushed_corner", "spilled_vessel"),
}
DAMAGES = tuple(_CHANGES)


def breakable(product: Product) -> bool:
    """Whether the product has packaging that can be damaged."""
    return product.family in _KINDS


def damaged(product: Product, rng: np.random.Generator) -> tuple[Product, str]:
    """Damage a product in a way that fits its packaging.

    Args:
        product: One that is `breakable`.
        rng: Decides how.

    Returns:
        The damaged product, with the name and dimensions of the whole one, and
        the damage, one of `DAMAGES`.
    """
    kinds = _KINDS[product.family]
    kind = kinds[int(rng.integers(len(kinds)))]
    kit = _kit(product, rng)
    for change in _CHANGES[kind]:
        kit = change(kit, rng)
    return replace(product, mesh=kit.mesh, texture=kit.texture), kind
