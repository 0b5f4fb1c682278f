# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A tote under a camera: which products, where they came to rest, seen and lit how."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from robollm_core.synthetic.lens import Exposure, random_exposure
from robollm_core.synthetic.meshes import Mesh, cube_grid
from robollm_core.synthetic.pile import settle
from robollm_core.synthetic.products import Product
from robollm_core.synthetic.render import Camera, Light, Placement, Rgb, Skin
from robollm_core.synthetic.tote import Tote, random_tote, tote_colour, tote_mesh, worn_plastic
from robollm_core.types import UInt8Array

Kind = Literal["mixed", "zoomed", "same"]
TOTE_INSTANCE = 1000
"""Instance number of the tote's pixels; products count from 0."""
MOST_ITEMS = 35
_TOTES, _FLOORS = 4, 2
_FILM = {"pouch": 1.0, "polybag": 1.0, "blister": 0.6, "carton": 0.15}
_FILM_ELSEWHERE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """What a run of scenes draws from; uploaded to the renderer once.

    Attributes:
        products: at least one.
        totes: shapes of totes.
        skins: of the products, then of the totes, then of the floors.
    """

    products: tuple[Product, ...]
    totes: tuple[Tote, ...]
    skins: tuple[Skin, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything one picture needs.

    Attributes:
        items: index into the stock's products of instance 0, 1, ...
        placements: all that is drawn; the first len(items) are the items.
        camera, lights, ambient, exposure: how it is seen.
        soft_px: half width of the soft edge of shadows.
    """

    items: tuple[int, ...]
    placements: tuple[Placement, ...]
    camera: Camera
    lights: tuple[Light, ...]
    ambient: Rgb
    exposure: Exposure
    soft_px: float = 0.0


def _floor_skin(rng: np.random.Generator) -> Skin:
    """Ground under the tote: concrete, belt, rollers, cardboard or a cluttered bench."""
    size = 256
    base = rng.uniform(15, 200) * np.clip(rng.normal(1, 0.06, 3), 0.8, 1.2)
    noise = cv2.resize(rng.normal(size=(40, 40)).astype(np.float32), (size, size))
    texture = base + noise[..., None] * rng.uniform(2, 22) + rng.normal(0, 4, (size, size, 1))
    kind = rng.integers(3)
    if kind == 1:
        rows = np.sin(np.arange(size) * 2 * np.pi / rng.uniform(8, 60))[:, None, None]
        texture = texture * (1 + 0.35 * rows)
    picture = np.clip(texture, 0, 255).astype(np.uint8)
    if kind == 2:
        _clutter(picture, rng)
    return Skin(_slab(), picture, rng.uniform(0, 0.5))


def _clutter(picture: UInt8Array, rng: np.random.Generator) -> None:
    size = picture.shape[0]
    for _ in range(int(rng.integers(4, 30))):
        low = rng.integers(0, size, 2)
        high = low + rng.integers(4, 70, 2)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3) * rng.uniform(0.2, 1))
        if rng.random() < 0.6:
            cv2.rectangle(picture, low.tolist(), high.tolist(), colour, -1)
        else:
            thick = int(rng.integers(1, 8))
            cv2.line(picture, low.tolist(), high.tolist(), colour, thick, cv2.LINE_AA)


def _slab() -> Mesh:
    return cube_grid((3.0, 3.0, 0.02), {"front": (0.0, 0.0, 1.0, 1.0)}, cells=(8, 8, 1))


def _thrifty(texture: UInt8Array) -> UInt8Array:
    """A texture as fine as a tote camera can see; uploading is a good part of the time."""
    size = (round(texture.shape[1] * 0.75), round(texture.shape[0] * 0.75))
    return np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_AREA), np.uint8)


def make_stock(rng: np.random.Generator, products: Sequence[Product]) -> Stock:
    """Add totes and floors to products.

    Args:
        rng: Source of the totes.
        products: At least one.
    """
    totes = tuple(random_tote(rng) for _ in range(_TOTES))
    skins = [Skin(product.mesh, _thrifty(product.texture), product.gloss) for product in products]
    for tote in totes:
        plastic = worn_plastic(rng, tote_colour(rng))
        skins.append(Skin(tote_mesh(tote), plastic, rng.uniform(0, 0.7)))
    skins += [_floor_skin(rng) for _ in range(_FLOORS)]
    return Stock(tuple(products), totes, tuple(skins))


def random_fill(rng: np.random.Generator) -> int:
    """How many items a tote holds: 1 to 35, about 10 in the mean."""
    return int(np.clip(1 + rng.gamma(2.0, 4.7), 1, MOST_ITEMS))


def _choose(rng: np.random.Generator, stock: Stock, kind: Kind) -> tuple[int, ...]:
    count = random_fill(rng)
    if kind == "same":
        return (int(rng.integers(len(stock.products))),) * max(count, 2)
    if rng.random() < 0.25 or count > len(stock.products):  # some products more than once
        return tuple(int(k) for k in rng.integers(len(stock.products), size=count))
    return tuple(int(k) for k in rng.permutation(len(stock.products))[:count])


def _camera(
    rng: np.random.Generator, tote: Tote, kind: Kind, top_m: float, aspect: float
) -> Camera:
    """Above a pile as high as `top_m`, nearly straight down; "zoomed" sees the tote small."""
    fovy = rng.uniform(32, 62)
    span = rng.uniform(0.85, 1.35) if kind != "zoomed" else rng.uniform(2.0, 3.2)
    wide = np.tan(np.radians(fovy) / 2) * aspect
    distance = span * tote.length_m / 2 / wide + rng.uniform(0.5, 0.8) * top_m
    drift = 0.03 if kind != "zoomed" else 0.2
    target = np.r_[rng.normal(0, drift, 2), 0.05]
    lean = rng.normal(0, 0.12, 2)
    turn = rng.normal(0, 0.08) + rng.choice((0.0, np.pi, np.pi / 2), p=(0.48, 0.48, 0.04))
    x, y = target[0] + lean[0] * distance, target[1] + lean[1] * distance
    return Camera(
        position_m=(float(x), float(y), float(distance + 0.05)),
        target_m=(float(target[0]), float(target[1]), 0.05),
        up=(float(np.sin(turn)), float(np.cos(turn)), 0.0),
        fovy_deg=float(fovy),
    )


def random_lights(rng: np.random.Generator) -> tuple[tuple[Light, ...], Rgb]:
    """A lamp over the tote, a fill light, and the ambience of the hall."""
    ambient = rng.uniform(0.25, 0.6)
    left = rng.uniform(0.6, 0.9) + 0.35 - ambient
    share = rng.uniform(0.55, 1.0)
    # a shadow map costs as much as the picture itself; the fill light goes without
    main, fill = _lamp(rng, share * left), _lamp(rng, (1 - share) * left)
    tint = np.clip(rng.normal(1, 0.04, 3), 0.85, 1.15) * ambient
    lights = (main, replace(fill, shadow=False))
    return lights, (float(tint[0]), float(tint[1]), float(tint[2]))


def _lamp(rng: np.random.Generator, strength: float) -> Light:
    """A lamp somewhere above, shining at the tote."""
    x, y, z = (float(v) for v in (*rng.normal(0, 0.7, 2), rng.uniform(1.4, 2.4)))
    red, green, blue = (float(v) for v in np.clip(rng.normal(1.0, 0.05, 3), 0.8, 1.2) * strength)
    gleam = rng.uniform(0.4, 1.1)
    return Light(
        position_m=(x, y, z),
        direction=(-x, -y, 0.1 - z),
        diffuse=(red, green, blue),
        specular=(gleam * red, gleam * green, gleam * blue),
    )


def _shade(rng: np.random.Generator) -> Rgb:
    red, green, blue = (float(v) for v in rng.uniform(0.85, 1.0) * rng.uniform(0.95, 1.0, 3))
    return red, green, blue


def build_tote(
    rng: np.random.Generator,
    stock: Stock,
    kind: Kind = "mixed",
    size_px: tuple[int, int] = (480, 640),
) -> Scene:
    """Fill a tote from the stock and put a camera over it.

    Args:
        rng: Decides everything; same state, same scene.
        stock: Products and totes to choose from.
        kind: "mixed", "zoomed" (the tote is small in the picture) or "same"
            (all items are one product).
        size_px: (height, width) of the picture to be taken.
    """
    number = int(rng.integers(len(stock.totes)))
    tote = stock.totes[number]
    items = _choose(rng, stock, kind)
    poses = settle(rng, [stock.products[item] for item in items], tote)
    placements = [
        Placement(item, pose.position_m, pose.rotation, instance=instance)
        for instance, (item, pose) in enumerate(zip(items, poses, strict=True))
    ]
    skin = len(stock.products) + number
    upright = np.eye(3)
    placements.append(Placement(skin, np.zeros(3), upright, _shade(rng), instance=TOTE_INSTANCE))
    floor = len(stock.products) + len(stock.totes) + int(rng.integers(_FLOORS))
    below = np.array((rng.normal(0, 0.3), rng.normal(0, 0.3), -0.05 - rng.uniform(0, 0.5)))
    placements.append(Placement(floor, below, upright))
    lights, ambient = random_lights(rng)
    top = max(float(pose.position_m[2]) for pose in poses)
    camera = _camera(rng, tote, kind, top + 0.05, size_px[1] / size_px[0])
    soft_px = float(np.exp(rng.uniform(np.log(1.5), np.log(24.0))))
    exposure = random_exposure(rng)
    return Scene(items, tuple(placements), camera, lights, ambient, exposure, soft_px)


def film_of(scene: Scene, products: Sequence[Product]) -> list[float]:
    """How much each item of a scene gleams as film does: bags most, paper and cloth not."""
    chosen = (products[item] for item in scene.items)
    return [
        _FILM.get(product.family, _FILM_ELSEWHERE) * max(0.0, product.gloss - 0.3)
        for product in chosen
    ]
