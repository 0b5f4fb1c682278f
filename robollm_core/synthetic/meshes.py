# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Closed triangle meshes with texture coordinates, built from a few parameters.

Two constructions cover every product: a cube grid that is bent into shape
(cartons, books, pouches, sponges, plush) and a lathe (cans, bottles, tubes,
rings). Both keep the surface closed, so shadows and silhouettes have no holes.

Convention: seen from +z with +y up, the front of a product reads upright.
Texture space has u to the right and v downwards, (0, 0) being the first pixel
of the first row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Dims = Sequence[float] | Float64Array
Region = tuple[float, float, float, float]
"""(u0, v0, u1, v1) rectangle of the texture, each in [0, 1]."""
Bend = Callable[[Float64Array], Float64Array]
"""Maps points (N, 3) to points (N, 3); continuous, so a closed mesh stays closed."""

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
_CREASE_COSINE = 0.55  # faces meeting at less than about 57 degrees shade as one surface

# name: (right, up); outward normal is right x up
_CUBE_FACES: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "front": ((1, 0, 0), (0, 1, 0)),
    "back": ((-1, 0, 0), (0, 1, 0)),
    "right": ((0, 0, -1), (0, 1, 0)),
    "left": ((0, 0, 1), (0, 1, 0)),
    "top": ((1, 0, 0), (0, 0, -1)),
    "bottom": ((1, 0, 0), (0, 0, 1)),
}
CUBE_FACE_NAMES = tuple(_CUBE_FACES)


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A triangle mesh; faces turn counter-clockwise seen from outside.

    Attributes:
        vertices: (V, 3) float32, metres.
        faces: (F, 3) int32, indices into the vertices, F at least 1.
        uv: (V, 2) float32, texture coordinates in [0, 1].
        normals: (V, 3) float32, unit length, pointing outwards.
    """

    vertices: Float32Array
    faces: Int32Array
    uv: Float32Array
    normals: Float32Array

    @property
    def dims_m(self) -> tuple[float, float, float]:
        """Edge lengths of the axis-aligned box around the mesh, metres."""
        x, y, z = np.ptp(self.vertices, axis=0)
        return float(x), float(y), float(z)


def face_normals(vertices: Float64Array, faces: Int32Array) -> Float64Array:
    """Normals of the faces, (F, 3), length twice the face's area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.asarray(np.cross(b - a, c - a), np.float64)


def weld(vertices: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Number (V,) of the place of each vertex; vertices at one place share a number."""
    keys = np.round(np.asarray(vertices, np.float64) / 1e-6).astype(np.int64)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _pairs(place: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of all ordered pairs of different vertices at one place, (P,) each."""
    order = np.argsort(place, kind="stable")
    _, first, counts = np.unique(place[order], return_index=True, return_counts=True)
    mine = np.repeat(counts, counts)
    one = np.repeat(order, mine)
    inside = np.arange(len(one)) - np.repeat(np.cumsum(mine) - mine, mine)
    other = order[np.repeat(np.repeat(first, counts), mine) + inside]
    different = one != other
    return one[different], other[different]


def _vertex_normals(vertices: Float64Array, faces: Int32Array) -> Float64Array:
    areas = face_normals(vertices, faces)
    own = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(own, faces[:, corner], areas)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-15)
    # a seam of the texture doubles vertices; average across it unless it is a real edge
    one, other = _pairs(weld(vertices))
    near = np.einsum("ij,ij->i", own[one], own[other]) > _CREASE_COSINE
    smooth = own.copy()
    np.add.at(smooth, one[near], own[other[near]])
    length = np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-15)
    return np.asarray(smooth / length, np.float64)


def make_mesh(
    vertices: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], uv: npt.NDArray[np.floating]
) -> Mesh:
    """Build a mesh: drop faces without area and vertices without face, compute normals.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) indices.
        uv: (V, 2) texture coordinates, clipped to [0, 1].
    """
    points = np.asarray(vertices, np.float64)
    triangles = np.asarray(faces, np.int32)
    place = weld(points)[triangles]
    solid = (
        (place[:, 0] != place[:, 1]) & (place[:, 1] != place[:, 2]) & (place[:, 2] != place[:, 0])
    )
    used, inverse = np.unique(triangles[solid], return_inverse=True)
    points, triangles = points[used], inverse.reshape(-1, 3).astype(np.int32)
    return Mesh(
        points.astype(np.float32),
        triangles,
        np.clip(uv[used], 0.0, 1.0).astype(np.float32),
        _vertex_normals(points, triangles).astype(np.float32),
    )


def centred(mesh: Mesh) -> Mesh:
    """The same mesh with the middle of its box at the origin."""
    middle = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
    return Mesh(mesh.vertices - middle, mesh.faces, mesh.uv, mesh.normals)


def join(parts: Sequence[Mesh]) -> Mesh:
    """One mesh of several closed parts, at least one."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + np.int32(offset) for part, offset in zip(parts, offsets, strict=False)]
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([part.uv for part in parts]),
        np.concatenate([part.normals for part in parts]),
    )


def shifted(mesh: Mesh, offset: Dims) -> Mesh:
    """The same mesh moved by `offset`, metres."""
    moved = (mesh.vertices + np.asarray(offset, np.float64)).astype(np.float32)
    return Mesh(moved, mesh.faces, mesh.uv, mesh.normals)


def _grid_faces(rows: int, columns: int) -> Int32Array:
    """Triangles of a (rows, columns) vertex grid whose rows go up and columns right."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).reshape(-1)
    b, c, d = a + 1, a + columns + 1, a + columns
    both = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.asarray(both, np.int32)


def _lines(cells: int, margin: float) -> Float64Array:
    """Grid lines over [-1, 1]; a margin above 0 adds lines that far from both ends."""
    if margin <= 0.0:
        return np.asarray(np.linspace(-1.0, 1.0, cells + 1), np.float64)
    rim = margin * np.array([0.0, 0.3, 0.65])
    inner = np.linspace(-1.0 + margin, 1.0 - margin, cells + 1)
    return np.asarray(np.r_[-1.0 + rim, inner, (1.0 - rim)[::-1]], np.float64)


def cube_grid(
    dims_m: Dims,
    regions: Mapping[str, Region],
    bend: Bend | None = None,
    cells: tuple[int, int, int] = (6, 6, 2),
    round_m: float = 0.0,
) -> Mesh:
    """A box made of grids, optionally with rounded edges, bent into shape.

    Args:
        dims_m: edge lengths (width x, height y, depth z), metres.
        regions: texture rectangle of each face of `CUBE_FACE_NAMES`; a face
            that is not named uses the rectangle of "front".
        bend: continuous map of the box's surface points, in metres.
        cells: grid cells along x, y and z.
        round_m: radius of the edges, below half the smallest edge length.
    """
    half = np.asarray(dims_m, np.float64) / 2
    round_m = min(round_m, 0.98 * float(half.min()))
    lines = [_lines(n, round_m / h) for n, h in zip(cells, half, strict=True)]
    vertices, faces, uv, count = [], [], [], 0
    for name, (right, up) in _CUBE_FACES.items():
        s = lines[int(np.argmax(np.abs(right)))]
        t = lines[int(np.argmax(np.abs(up)))]
        ss, tt = np.meshgrid(s, t)
        normal = np.cross(right, up)
        unit = normal + ss[..., None] * np.array(right) + tt[..., None] * np.array(up)
        u0, v0, u1, v1 = regions.get(name, regions["front"])
        vertices.append((unit * half).reshape(-1, 3))
        uv.append(
            np.stack([u0 + (u1 - u0) * (ss + 1) / 2, v1 + (v0 - v1) * (tt + 1) / 2], -1).reshape(
                -1, 2
            )
        )
        faces.append(_grid_faces(len(t), len(s)) + np.int32(count))
        count += ss.size
    points = np.concatenate(vertices)
    if round_m > 0:
        core = np.clip(points, -(half - round_m), half - round_m)
        away = points - core
        points = core + round_m * away / np.linalg.norm(away, axis=1, keepdims=True)
    if bend is not None:
        points = bend(points)
    return make_mesh(points, np.concatenate(faces), np.concatenate(uv))


def ball(
    dims_m: Dims,
    regions: Mapping[str, Region],
    bend: Bend | None = None,
    cells: int = 10,
    power: float = 2.0,
) -> Mesh:
    """A superellipsoid from a cube grid; power 2 is an ellipsoid, 6 nearly a box."""
    half = np.asarray(dims_m, np.float64) / 2

    def puff(points: Float64Array) -> Float64Array:
        unit = np.tan(points * (np.pi / 4))  # evens out the grid on the sphere
        unit /= np.sum(np.abs(unit) ** power, axis=1, keepdims=True) ** (1.0 / power)
        scaled = unit * half
        return scaled if bend is None else bend(scaled)

    return cube_grid((2.0, 2.0, 2.0), regions, puff, (cells, cells, cells))


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a lathe, from the previous point of the profile to this one.

    Attributes:
        radius_m: radius at the end of the band, 0 closes the surface.
        height_m: y at the end of the band.
        region: texture rectangle of the band.
        disc: whether the region is seen as a disc from the end rather than
            wrapped around.
    """

    radius_m: float
    height_m: float
    region: Region
    disc: bool = False


def _band_uv(
    band: Band, start: tuple[float, float], theta: Float64Array, widest: float
) -> Float64Array:
    u0, v0, u1, v1 = band.region
    rows = []
    for radius, share in ((start[0], 0.0), (band.radius_m, 1.0)):
        if band.disc:
            u, v = (
                0.5 + np.sin(theta) * radius / widest / 2,
                0.5 - np.cos(theta) * radius / widest / 2,
            )
        else:
            # profiles run from the bottom to the top, texture rows from the top down
            u, v = theta / (2 * np.pi) + 0.5, np.full_like(theta, 1.0 - share)
        rows.append(np.stack([u0 + (u1 - u0) * u, v0 + (v1 - v0) * v], -1))
    return np.stack(rows)


def lathe(
    bottom: tuple[float, float],
    bands: Sequence[Band],
    segments: int = 28,
    bend: Bend | None = None,
) -> Mesh:
    """A surface of revolution around y.

    Args:
        bottom: (radius, height) the profile starts at; radius 0 closes it.
        bands: the profile from there, with y rising along the outside.
        segments: how many sides approximate the circle.
        bend: continuous map of the surface points, such as a flattening.
    """
    # the middle of a wrapped label faces +z, its seam -z
    theta = np.asarray(np.linspace(-np.pi, np.pi, segments + 1), np.float64)
    # the seam must meet itself to the last bit
    sine, cosine = np.sin(theta), np.cos(theta)
    sine[-1], cosine[-1] = sine[0], cosine[0]
    vertices, faces, uv = [], [], []
    start = bottom
    for number, band in enumerate(bands):
        widest = max(start[0], band.radius_m, 1e-9)
        rows = []
        for radius, height in (start, (band.radius_m, band.height_m)):
            rows.append(np.stack([radius * sine, np.full_like(theta, height), radius * cosine], -1))
        vertices.append(np.stack(rows).reshape(-1, 3))
        uv.append(_band_uv(band, start, theta, widest).reshape(-1, 2))
        faces.append(_grid_faces(2, segments + 1) + np.int32(number * 2 * (segments + 1)))
        start = (band.radius_m, band.height_m)
    points = np.concatenate(vertices)
    if bend is not None:
        points = bend(points)
    return make_mesh(points, np.concatenate(faces), np.concatenate(uv))


def subdivided(start: tuple[float, float], band: Band, pieces: int) -> list[Band]:
    """The straight band from `start` cut into `pieces`, its region with it."""
    u0, v0, u1, v1 = band.region
    result = []
    for piece in range(pieces):
        low, high = piece / pieces, (piece + 1) / pieces
        region = (u0, v1 + (v0 - v1) * high, u1, v1 + (v0 - v1) * low)
        radius = start[0] + (band.radius_m - start[0]) * high
        height = start[1] + (band.height_m - start[1]) * high
        result.append(Band(radius, height, band.region if band.disc else region, band.disc))
    return result


def smooth_noise(seed: int, amplitude_m: float, wavelength_m: float) -> Bend:
    """A bend that pushes points around by smooth noise, the same for one seed.

    Sums a few plane waves of random direction; continuous everywhere, so seams
    stay closed.
    """
    rng = np.random.default_rng([seed, 77])
    waves = rng.normal(size=(7, 3))
    waves *= 2 * np.pi / (wavelength_m * np.linalg.norm(waves, axis=1, keepdims=True))
    waves *= rng.uniform(0.6, 1.8, size=(7, 1))
    phase = rng.uniform(0, 2 * np.pi, size=7)
    push = rng.normal(size=(7, 3)) * (amplitude_m / np.sqrt(7.0))

    def bend(points: Float64Array) -> Float64Array:
        return np.asarray(points + np.sin(points @ waves.T + phase) @ push, np.float64)

    return bend


def signed_volume(mesh: Mesh) -> float:
    """Volume enclosed by the mesh, cubic metres; negative when inside out."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.sum(a * np.cross(b, c)) / 6.0)
