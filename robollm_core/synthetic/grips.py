# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Items hanging on a suction gripper, and the gripper itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robollm_core.synthetic.meshes import Float64Array, Mesh
from robollm_core.synthetic.studio import Prop, Thing, Vector, axis_rotation

_X: Vector = (1.0, 0.0, 0.0)
_Y: Vector = (0.0, 1.0, 0.0)
_Z: Vector = (0.0, 0.0, 1.0)
_ARMS: tuple[Vector, ...] = ((0.9, 0.9, 0.88), (0.9, 0.55, 0.1), (0.15, 0.15, 0.17))


@dataclass(frozen=True, slots=True, eq=False)
class Grip:
    """Things hanging on a suction gripper.

    Attributes:
        things: what hangs there, centred around the origin.
        radius_m: radius of the ball around the origin that holds the things.
        low_m, high_m: lowest and highest z of the things.
        cups: (x, y, z) where each suction cup touches.
    """

    things: tuple[Thing, ...]
    radius_m: float
    low_m: float
    high_m: float
    cups: tuple[Vector, ...]


def lay(mesh: Mesh, rng: np.random.Generator, tilt_deg: float) -> Float64Array:
    """Rotation (3, 3) that turns one of the larger faces up, with a random yaw."""
    w, h, d = mesh.dims_m
    areas = np.array((h * d, w * d, w * h))
    axis = int(rng.choice(3, p=areas / areas.sum()))
    turns = ((_Y, 90.0), (_X, 90.0), (_Z, 0.0))
    up = axis_rotation(*turns[axis])
    if rng.random() < 0.4:
        up = axis_rotation(_X, 180.0) @ up
    way = rng.uniform(0, 2 * np.pi)
    lean: Vector = (float(np.cos(way)), float(np.sin(way)), 0.0)
    spin = axis_rotation(_Z, rng.uniform(0, 360))
    laid: Float64Array = axis_rotation(lean, rng.normal(0, tilt_deg)) @ spin @ up
    return laid


def _top_at(points: Float64Array, x: float, y: float) -> float:
    """Height of the surface under a cup at (x, y), of points (N, 3)."""
    near = np.hypot(points[:, 0] - x, points[:, 1] - y) < 0.02
    return float(points[near, 2].max() if near.any() else points[:, 2].max())


def grip(
    items: Sequence[tuple[int, Mesh]], rng: np.random.Generator, *, same_pose: bool = False
) -> Grip:
    """Hang items on the gripper; the first is held, the others cling to it.

    Args:
        items: number and mesh of each, at least one; their marks count from 1.
        rng: chooses the poses.
        same_pose: the others keep the pose of the first, as packs of one kind do.
    """
    first = lay(items[0][1], rng, 6.0)
    clouds = [items[0][1].vertices @ first.T]
    poses: list[tuple[Float64Array, Float64Array]] = [(np.zeros(3), first)]
    for _, mesh in items[1:]:
        turn = first if same_pose else lay(mesh, rng, 8.0)
        own = mesh.vertices @ turn.T
        offset = _cling(clouds[0], own, rng)
        poses.append((offset, turn))
        clouds.append(own + offset)
    everything = np.concatenate(clouds)
    middle = (everything.min(axis=0) + everything.max(axis=0)) / 2
    things = tuple(
        Thing(number, place - middle, turn, mark)
        for mark, ((number, _), (place, turn)) in enumerate(zip(items, poses, strict=True), 1)
    )
    cloud = everything - middle
    radius = float(np.linalg.norm(cloud, axis=1).max())
    low, high = float(cloud[:, 2].min()), float(cloud[:, 2].max())
    return Grip(things, radius, low, high, _cups(clouds[0] - middle, rng))


def _cling(held: Float64Array, own: Float64Array, rng: np.random.Generator) -> Float64Array:
    """Offset (3,) at which a second item touches the held one, of points (N, 3) each."""
    spans = (np.ptp(held, axis=0) + np.ptp(own, axis=0)) / 2
    offset: Float64Array = rng.uniform(-0.45, 0.45, 3) * spans
    if rng.random() < 0.5:  # clings underneath
        offset[2] = held[:, 2].min() - own[:, 2].max() + 0.002
    else:  # held beside it, by the same cups
        side = int(rng.integers(2))
        offset[side] = rng.choice((-1.0, 1.0)) * spans[side]
        offset[2] = held[:, 2].max() - own[:, 2].max() - rng.uniform(0, 0.2) * spans[2]
    return offset


def _cups(held: Float64Array, rng: np.random.Generator) -> tuple[Vector, ...]:
    centre, span = held.mean(axis=0)[:2], np.ptp(held, axis=0)[:2]
    count = int(rng.choice((1, 1, 2, 4))) if span.min() > 0.09 else 1
    step = np.array(((0, 0),) if count == 1 else ((-1, -1), (1, 1), (-1, 1), (1, -1)))[:count]
    spots = centre + step * 0.03
    return tuple((float(x), float(y), _top_at(held, x, y)) for x, y in spots)


def gripper(cups: Sequence[Vector], rng: np.random.Generator) -> list[Prop]:
    """A suction gripper whose cups touch at the given points."""
    dark = float(rng.uniform(0.02, 0.12))
    rubber = (dark, dark, dark) if rng.random() < 0.6 else (0.85, 0.4, 0.08)
    metal = (float(rng.uniform(0.3, 0.75)),) * 3
    radius = float(rng.uniform(0.012, 0.02))
    flange = max(cup[2] for cup in cups) + float(rng.uniform(0.09, 0.14))
    props = []
    for x, y, z in cups:
        for fold, width in enumerate((1.0, 0.75, 0.9, 0.7)):
            size = (radius * width, radius * width, 0.006)
            props.append(Prop("rod", size, (x, y, z + 0.005 + 0.009 * fold), rubber))
        half = (flange - z) / 2
        props.append(Prop("rod", (0.008, 0.008, half), (x, y, z + half), metal, "brushed"))
    x, y = np.mean([cup[:2] for cup in cups], axis=0)
    plate = (0.045, 0.045, 0.015)
    props.append(Prop("box", plate, (x, y, flange), metal, "brushed"))
    arm = _ARMS[int(rng.integers(len(_ARMS)))]
    props.append(Prop("rod", (0.035, 0.035, 0.4), (x, y, flange + 0.41), arm))
    return props
