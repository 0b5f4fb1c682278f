# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Ready-made shots: the six catalogue views, and an item on the gripper.

The three gripper cameras are ARMBench's: one looks across the tote at the
item in front of the far wall, one looks up at it from low beside the arm, one
looks down from afar while the item is over the tray.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from robollm_core.synthetic.grips import Grip, gripper
from robollm_core.synthetic.meshes import Float64Array, Mesh
from robollm_core.synthetic.render import Camera, Light
from robollm_core.synthetic.studio import Prop, Shot, Thing, Vector, axis_rotation

_X: Vector = (1.0, 0.0, 0.0)
_Z: Vector = (0.0, 0.0, 1.0)
# a product stands with its front towards -y, so that a camera at -y reads it
_UPRIGHT = axis_rotation(_X, 90.0)
_CATALOGUE_TURNS = (
    # (around z, then around x), degrees: front, back, right, left, top, bottom
    (0.0, 0.0), (180.0, 0.0), (-90.0, 0.0), (90.0, 0.0), (0.0, 90.0), (0.0, -90.0),
)  # fmt: skip
CATALOGUE_GRID = (2, 3)
"""Rows and columns of the six views in one picture."""


def _turn(around_z_deg: float, around_x_deg: float) -> Float64Array:
    spin = axis_rotation(_Z, around_z_deg)
    turned: Float64Array = axis_rotation(_X, around_x_deg) @ spin @ _UPRIGHT
    return turned


def _light(direction: Vector, rgb: Vector, *, shadow: bool = True) -> Light:
    back = -2.0 * np.array(direction) / np.linalg.norm(direction)
    place = (float(back[0]), float(back[1]), float(back[2]))
    shine = (0.6 * rgb[0], 0.6 * rgb[1], 0.6 * rgb[2])
    return Light(place, direction, rgb, shine, parallel=True, shadow=shadow)


def catalogue_shot(item: int, mesh: Mesh, rng: np.random.Generator) -> Shot:
    """All six views of an item in one picture: two rows of three square cells.

    One big picture costs less than six small ones. The picture must be half as
    wide again as high; the mark of a cell is its number, 1 to 6.

    Args:
        item: number of the item.
        mesh: its mesh.
        rng: chooses small tilts and the light.
    """
    cell = 2.1 * float(np.linalg.norm(mesh.vertices, axis=1).max())
    things = []
    for number, (spin, tip) in enumerate(_CATALOGUE_TURNS):
        rotation = _turn(spin + rng.uniform(-14, 14), tip + rng.uniform(-4, 12))
        row, column = divmod(number, CATALOGUE_GRID[1])
        place = np.array(((column - 1) * cell, 0.0, (0.5 - row) * cell))
        things.append(Thing(item, place, rotation, number + 1))
    level = rng.uniform(0.5, 0.75)
    lights = (
        _light((rng.uniform(-0.6, 0.6), 1.0, -0.6), (level,) * 3, shadow=False),
        _light((rng.uniform(-1, 1), 1.0, 0.1), (0.3,) * 3, shadow=False),
    )
    away = 6.0  # far enough for a nearly parallel projection
    fovy = 2 * np.rad2deg(np.arctan(cell / away))
    return Shot(things, (), lights, Camera((0, -away, 0), (0, 0, 0), _Z, fovy))


def _some_rgb(rng: np.random.Generator, palette: Sequence[Vector]) -> Vector:
    base = np.array(palette[int(rng.integers(len(palette)))])
    red, green, blue = np.clip(base * rng.uniform(0.75, 1.2) + rng.normal(0, 0.03, 3), 0, 1)
    return (float(red), float(green), float(blue))


_TOTES: tuple[Vector, ...] = (
    (0.75, 0.12, 0.1), (0.15, 0.25, 0.6), (0.45, 0.46, 0.48), (0.85, 0.7, 0.1), (0.1, 0.1, 0.11),
    (0.75, 0.76, 0.78), (0.1, 0.45, 0.25),
)  # fmt: skip
_FLOORS: tuple[Vector, ...] = (
    (0.35, 0.35, 0.36), (0.6, 0.58, 0.55), (0.2, 0.2, 0.22), (0.5, 0.42, 0.3), (0.75, 0.75, 0.74),
)  # fmt: skip


def _lights(rng: np.random.Generator, *, shadow: bool = True) -> tuple[Light, ...]:
    tint = np.clip(1 + rng.normal(0, 0.04, 3), 0.8, 1.2)
    lights = []
    for strength, casts in ((rng.uniform(0.45, 0.8), shadow), (rng.uniform(0.15, 0.4), False)):
        # never from behind the walls, whose faces would only show shadow
        way = (rng.uniform(-0.6, 0.6), rng.uniform(0.25, 0.9), -1.0)
        red, green, blue = strength * tint
        lights.append(_light(way, (red, green, blue), shadow=casts))
    return tuple(lights)


def _eye(rng: np.random.Generator, held: Grip, elevation_deg: float, fill: float) -> Camera:
    """A camera that sees the held things filling a share of the picture's height."""
    fovy = rng.uniform(28, 50)
    distance = held.radius_m / fill / np.tan(np.deg2rad(fovy) / 2)
    azimuth = np.deg2rad(rng.normal(0, 15))
    height = np.deg2rad(elevation_deg)
    eye = distance * np.array(
        (np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height))
    )
    x, y, z = rng.normal(0, 0.08 * held.radius_m, 3)
    up = (rng.normal(0, 0.05), 0.0, 1.0)
    return Camera((eye[0], eye[1], eye[2]), (x, y, z), up, fovy)


def tote_wall_shot(held: Grip, rng: np.random.Generator) -> Shot:
    """Across the tote: the item in front of the far wall."""
    paint, back = _some_rgb(rng, _TOTES), held.radius_m + rng.uniform(0.03, 0.25)
    rim = float(rng.uniform(-0.3, 0.35))
    props = [
        Prop("box", (3.0, 0.01, 1.5), (0, back, rim - 1.5), paint, "grain"),
        Prop("box", (3.0, 0.03, 0.012), (0, back, rim), paint, "grain"),
        Prop("box", (3.0, 0.01, 3.0), (0, back + 0.9, 0.0), _some_rgb(rng, _FLOORS), "grain"),
        Prop("box", (3.0, 3.0, 0.01), (0, 0, held.low_m - rng.uniform(0.15, 0.4)), paint, "grain"),
        *gripper(held.cups, rng),
    ]
    camera = _eye(rng, held, rng.uniform(-3, 22), rng.uniform(0.55, 0.85))
    return Shot(held.things, props, _lights(rng, shadow=False), camera)


def on_arm_low_shot(held: Grip, rng: np.random.Generator) -> Shot:
    """From low beside the arm, looking up at the item and the hall behind it."""
    ceiling = 2.2
    props = [
        Prop("box", (6.0, 6.0, 0.01), (0, 0, ceiling), _some_rgb(rng, _FLOORS), "grain"),
        Prop("box", (6.0, 0.01, 2.5), (0, 3.0, 0), _some_rgb(rng, _FLOORS), "fibre"),
        *gripper(held.cups, rng),
    ]
    for x in rng.uniform(-1.6, 1.6, int(rng.integers(1, 4))):
        props.append(Prop("box", (0.08, 1.6, 0.02), (x, 0.8, ceiling - 0.05), (1, 1, 1)))
    for z in rng.uniform(0.2, 2.0, int(rng.integers(0, 4))):
        props.append(Prop("box", (3, 0.05, 0.05), (0, 2.5, z), _some_rgb(rng, _TOTES), "brushed"))
    camera = _eye(rng, held, -rng.uniform(20, 65), rng.uniform(0.55, 0.85))
    bounce = _light((0.2, 0.5, 1.0), (rng.uniform(0.3, 0.55),) * 3, shadow=False)
    return Shot(held.things, props, (*_lights(rng, shadow=False), bounce), camera)


def tray_props(floor_m: float, half_m: float, rng: np.random.Generator) -> list[Prop]:
    """A sorting tray: a sheet with four rims, lying on a belt."""
    sheet, rim = _some_rgb(rng, _TOTES), 0.012
    props = [
        Prop("box", (4, 4, 0.01), (0, 0, floor_m - 0.06), _some_rgb(rng, _FLOORS), "grain"),
        Prop("box", (half_m, half_m, 0.02), (0, 0, floor_m - 0.02), sheet, "grain"),
    ]
    for way in (-1.0, 1.0):
        props.append(Prop("box", (half_m, rim, 0.04), (0, way * half_m, floor_m), sheet, "grain"))
        props.append(Prop("box", (rim, half_m, 0.04), (way * half_m, 0, floor_m), sheet, "grain"))
    return props


def far_tray_shot(held: Grip, rng: np.random.Generator) -> Shot:
    """From afar and above: the item over, or let go on, the tray."""
    floor = held.low_m - rng.uniform(0.02, 0.15)
    props = [*tray_props(floor, max(0.3, 1.5 * held.radius_m), rng), *gripper(held.cups, rng)]
    camera = _eye(rng, held, rng.uniform(25, 55), rng.uniform(0.4, 0.6))
    return Shot(held.things, props, _lights(rng), camera)


def tray_shot(held: Grip, rng: np.random.Generator) -> Shot:
    """From above, after the gripper has let go: the things lie on the tray."""
    props = tray_props(held.low_m, max(0.25, 1.4 * held.radius_m), rng)
    camera = _eye(rng, held, rng.uniform(35, 85), rng.uniform(0.5, 0.8))
    return Shot(held.things, props, _lights(rng), camera)


HELD_VIEWS: Mapping[str, Callable[[Grip, np.random.Generator], Shot]] = {
    "ToteWallRGB": tote_wall_shot,
    "OnArmLowRGB": on_arm_low_shot,
    "FarTrayRGB": far_tray_shot,
}
"""ARMBench's views of the item on the gripper."""
