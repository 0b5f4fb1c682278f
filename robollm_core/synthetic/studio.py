# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A photo studio for single items: placed by hand, lit by hand, no physics.

Catalogue and gripper views need a few things among simple surroundings,
thousands of times. A studio is a renderer whose skins are the items and, after
them, a handful of unit shapes that every wall, tray and gripper is made of.

World: metres, z up. Pictures: row 0 at the top.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import TracebackType
from typing import Literal

import numpy as np

from robollm_core.synthetic.meshes import Band, Float64Array, Mesh, ball, cube_grid, lathe
from robollm_core.synthetic.products import Product
from robollm_core.synthetic.render import Camera, Light, Placement, Renderer, Rendering, Skin
from robollm_core.types import UInt8Array

Vector = tuple[float, float, float]
Shape = Literal["box", "rod", "ball"]
Surface = Literal["plain", "grain", "fibre", "brushed"]

_SHAPES: tuple[Shape, ...] = ("box", "rod", "ball")
_SURFACES: tuple[Surface, ...] = ("plain", "grain", "fibre", "brushed")
_NOISE: dict[Surface, tuple[float, float, float]] = {
    # strength of noise by pixel, by patch, by row
    "plain": (0.0, 0.0, 0.0),
    "grain": (9.0, 0.0, 0.0),
    "fibre": (7.0, 12.0, 0.0),
    "brushed": (4.0, 0.0, 14.0),
}
_AMBIENT = (0.4, 0.4, 0.4)
_WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """An item in a shot.

    Attributes:
        item: index into the studio's products.
        position_m: (3,) of the middle of its box.
        rotation: (3, 3), world from item.
        mark: its number in the picture of marks, at least 1.
    """

    item: int
    position_m: Float64Array
    rotation: Float64Array
    mark: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Prop:
    """Part of the surroundings; it hides things and has no mark.

    Attributes:
        shape: "box", "rod" (round, along its z) or "ball".
        half_m: half extents along its own axes.
        position_m: of its middle.
        rgb: colour, each in [0, 1].
        surface: what the colour is multiplied with.
    """

    shape: Shape
    half_m: Vector
    position_m: Vector
    rgb: Vector
    surface: Surface = "plain"


@dataclass(frozen=True, slots=True)
class Shot:
    """All that is in one picture."""

    things: Sequence[Thing]
    props: Sequence[Prop]
    lights: Sequence[Light]
    camera: Camera


def axis_rotation(axis: Vector, angle_deg: float) -> Float64Array:
    """Rotation matrix (3, 3) around a unit axis.

    Source:
        Rodrigues: R = I + sin(a) K + (1 - cos(a)) K K, K the cross-product matrix.
    """
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.deg2rad(angle_deg)
    turn: Float64Array = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn


def _unit_mesh(shape: Shape) -> Mesh:
    """The shape with half extents of one metre."""
    if shape == "box":
        return cube_grid((2.0, 2.0, 2.0), {"front": _WHOLE}, cells=(1, 1, 1))
    if shape == "ball":
        return ball((2.0, 2.0, 2.0), {"front": _WHOLE}, cells=6)
    bands = [Band(1.0, -1.0, _WHOLE, True), Band(1.0, 1.0, _WHOLE), Band(0.0, 1.0, _WHOLE, True)]
    # a lathe turns around y; the studio's rods stand on z
    stand = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    return lathe((0.0, -1.0), bands, 20, lambda points: points @ stand.T)


def _surface_texture(surface: Surface) -> UInt8Array:
    rng = np.random.default_rng(_SURFACES.index(surface))
    size = 192
    fine, coarse, rows = _NOISE[surface]
    noise = rng.normal(0, 1, (size, size)) * fine
    noise = noise + rng.normal(0, coarse, (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
    noise = noise + rng.normal(0, rows, (size, 1))
    grey = np.clip(238 + noise, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@cache
def _prop_skins() -> tuple[Skin, ...]:
    return tuple(
        Skin(_unit_mesh(shape), _surface_texture(surface), 0.15 if surface == "brushed" else 0.05)
        for shape in _SHAPES
        for surface in _SURFACES
    )


class Studio:
    """Takes pictures of products; use it in a with statement.

    Args:
        products: what can be shown, at least one.
        size_px: (height, width) of the pictures.
    """

    def __init__(self, products: Sequence[Product], size_px: tuple[int, int]) -> None:
        skins = [Skin(product.mesh, product.texture, product.gloss) for product in products]
        self._first_prop = len(skins)
        self._renderer = Renderer([*skins, *_prop_skins()], size_px, shadow_px=512)

    def __enter__(self) -> "Studio":
        """Return the studio itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the graphics memory."""
        self._renderer.close()

    def shoot(self, shot: Shot) -> Rendering:
        """Take one picture.

        Args:
            shot: What is in it.

        Returns:
            Colour, depth and, as instances, the marks of the things; 0 where
            there is none.
        """
        placements = [
            Placement(thing.item, thing.position_m, thing.rotation, instance=thing.mark)
            for thing in shot.things
        ]
        placements += [self._place(prop) for prop in shot.props]
        seen = self._renderer.render(placements, shot.camera, shot.lights, _AMBIENT)
        return replace(seen, instances=np.maximum(seen.instances, 0))

    def _place(self, prop: Prop) -> Placement:
        number = _SHAPES.index(prop.shape) * len(_SURFACES) + _SURFACES.index(prop.surface)
        # the unit shape takes its size through the matrix that turns it
        stretch = np.diag(prop.half_m)
        return Placement(self._first_prop + number, np.array(prop.position_m), stretch, prop.rgb)
