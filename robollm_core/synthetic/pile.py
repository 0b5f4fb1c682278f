# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Physics: drops products into a tote and lets them come to rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from robollm_core.synthetic.backend import load_mujoco
from robollm_core.synthetic.meshes import Float64Array
from robollm_core.synthetic.products import Product
from robollm_core.synthetic.tote import Tote

_STEP_SECS = 0.005
_MAX_SECS = 1.6
_REST_SPEED = 0.06  # metres a second; a pile at this speed moves less than a pixel an exposure
_THINNEST_M = 0.005  # thinner boxes tunnel through each other at this step


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Where a settled thing is.

    Attributes:
        position_m: (3,) middle of its box.
        rotation: (3, 3).
    """

    position_m: Float64Array
    rotation: Float64Array


def random_rotation(rng: np.random.Generator) -> Float64Array:
    """A rotation drawn evenly from all, (3, 3)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _about(axis: int, angle: float) -> Float64Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i] = turn[j, j] = cosine
    turn[i, j], turn[j, i] = -sine, sine
    return turn


def _dropped(rng: np.random.Generator) -> Float64Array:
    """Most things lie on their large face, front up more often than down."""
    if rng.random() < 0.2:
        return random_rotation(rng)
    over = rng.choice((0.0, np.pi, np.pi / 2, -np.pi / 2), p=(0.62, 0.2, 0.09, 0.09))
    tilt = _about(0, rng.normal(0, 0.2)) @ _about(1, rng.normal(0, 0.2))
    return _about(2, rng.uniform(-np.pi, np.pi)) @ tilt @ _about(int(rng.integers(2)), over)


def _starts(rng: np.random.Generator, products: Sequence[Product], tote: Tote) -> list[Pose]:
    """Poses above the floor such that no two things touch."""
    room = np.array((tote.length_m, tote.width_m)) / 2
    placed: list[tuple[Float64Array, float, float]] = []
    poses: list[Pose] = []
    for product in products:
        rotation = _dropped(rng)
        reach = np.abs(rotation) @ np.array(product.dims_m) / 2
        radius = float(np.hypot(reach[0], reach[1]))
        free = np.maximum(room - reach[:2], 0.0)
        spot = rng.uniform(-free, free)
        height = float(reach[2]) + 0.01
        for other, other_radius, top in placed:
            if np.linalg.norm(other - spot) < radius + other_radius:
                height = max(height, top + float(reach[2]) + 0.002)
        placed.append((spot, radius, height + float(reach[2])))
        poses.append(Pose(np.r_[spot, height], rotation))
    return poses


def _add_walls(mj: ModuleType, spec: Any, tote: Tote) -> None:
    plane = mj.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(type=plane, size=(1, 1, 0.1))
    lean = np.arctan(tote.slope)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        normal = np.array((-x * np.cos(lean), -y * np.cos(lean), np.sin(lean)))
        spot = (x * tote.length_m / 2, y * tote.width_m / 2, 0.0)
        spec.worldbody.add_geom(
            type=plane, size=(1, 1, 0.1), pos=spot, zaxis=normal, friction=(0.2, 0.005, 0.0001)
        )


def _add_body(mj: ModuleType, spec: Any, product: Product, pose: Pose) -> None:
    quaternion = np.zeros(4)
    mj.mju_mat2Quat(quaternion, np.ascontiguousarray(pose.rotation).reshape(9))
    body = spec.worldbody.add_body(pos=pose.position_m, quat=quaternion)
    body.add_freejoint()
    dims = np.array(product.dims_m)
    dims[int(dims.argmin())] *= 1.0 - product.softness
    half = np.maximum(dims, _THINNEST_M) / 2
    shape = {"mass": max(product.weight_kg, 0.02), "friction": (0.5, 0.01, 0.0005)}
    if product.collision == "cylinder":
        size = (max(half[0], half[2]), half[1], 0.0)
        body.add_geom(
            type=mj.mjtGeom.mjGEOM_CYLINDER, size=size, quat=(0.5**0.5, 0.5**0.5, 0, 0), **shape
        )
    else:
        ellipsoid = product.collision == "ellipsoid"
        kind = mj.mjtGeom.mjGEOM_ELLIPSOID if ellipsoid else mj.mjtGeom.mjGEOM_BOX
        body.add_geom(type=kind, size=half, **shape)


def settle(rng: np.random.Generator, products: Sequence[Product], tote: Tote) -> list[Pose]:
    """Drop one of each of `products` into the tote, in order, and wait until they rest.

    Returns:
        One pose a product; empty for no products. Deterministic for one state
        of the generator.
    """
    if not products:
        return []
    mj = load_mujoco()
    spec = mj.MjSpec()
    spec.option.timestep = _STEP_SECS
    spec.option.integrator = mj.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.iterations, spec.option.ls_iterations = 12, 12
    _add_walls(mj, spec, tote)
    for product, pose in zip(products, _starts(rng, products, tote), strict=True):
        _add_body(mj, spec, product, pose)
    model = spec.compile()
    data = mj.MjData(model)
    for _ in range(int(_MAX_SECS / _STEP_SECS / 20)):
        mj.mj_step(model, data, nstep=20)
        # a heap that fell fast must not keep its swing: friction of real packs is higher
        data.qvel[:] *= 0.85
        if data.time > 0.5 and np.abs(data.qvel.reshape(-1, 6)[:, :3]).max() < _REST_SPEED:
            break
    mj.mj_kinematics(model, data)
    return [
        Pose(data.xpos[1 + k].copy(), data.xmat[1 + k].reshape(3, 3).copy())
        for k in range(len(products))
    ]
