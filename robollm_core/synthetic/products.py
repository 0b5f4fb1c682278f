# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Products, each fixed by its seed, and catalogues of them.

Four seeds in a row are one shelf: the same brand in two more flavours and in
another size. A catalogue takes one to three products of a shelf, so it holds
look-alikes on purpose. Train, val and test own disjoint ranges of seeds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from robollm_core.errors import ConfigError
from robollm_core.synthetic import families, oddments
from robollm_core.synthetic.artwork import Style, make_style
from robollm_core.synthetic.drafts import Collision, Draft
from robollm_core.synthetic.meshes import Mesh, centred
from robollm_core.types import UInt8Array

SPLITS = ("train", "val", "test")
_SHELF = 4
_SPLIT_SPAN = 1 << 44
_SEED_SPAN = 1 << 20
_SHELF_SIZE_ODDS = (0.6, 0.28, 0.12)  # one, two or three products of the shelf

_Family = Callable[[Style, np.random.Generator, float], Draft]
FAMILIES: Mapping[str, tuple[_Family, float]] = {
    "carton": (families.carton, 0.22),
    "pouch": (families.pouch, 0.14),
    "blister": (families.blister, 0.11),
    "book": (families.book, 0.10),
    "bottle": (families.bottle, 0.10),
    "can": (families.can, 0.07),
    "polybag": (families.polybag, 0.08),
    "soft": (oddments.soft, 0.05),
    "block": (oddments.block, 0.05),
    "tube": (families.tube, 0.03),
    "tool": (oddments.tool, 0.03),
    "ware": (oddments.ware, 0.02),
}
"""How to draft each family, and how often it comes."""


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One product, the same for the same seed.

    Attributes:
        item_id: unique name.
        family: key of `FAMILIES`, or "scan" for a mesh from a file.
        dims_m: edge lengths (width x, height y, depth z) of the box around it.
        weight_kg: weight of one.
        text: what a shop would call it.
        mesh: geometry, metres, the middle of its box at the origin.
        texture: (H, W, 3) uint8 RGB.
        gloss: 0 matt to 1 shiny.
        collision: primitive that stands for it in physics.
        softness: share of its smallest dimension that gives way in a pile.
    """

    item_id: str
    family: str
    dims_m: tuple[float, float, float]
    weight_kg: float
    text: str
    mesh: Mesh
    texture: UInt8Array
    gloss: float = 0.2
    collision: Collision = "box"
    softness: float = 0.0


def _item_id(seed: int) -> str:
    digits = "0123456789ABCDEFGHJKLMNPQRSTUVWX"
    code = ""
    for _ in range(10):
        seed, digit = divmod(seed, 32)
        code = digits[digit] + code
    return f"R{code}"


def _amount(printed: str, scale: float) -> str:
    """What a pack `scale` times as long says of its content: "350 g" becomes "769 g"."""
    number, unit = printed.split()
    return f"{max(1, round(int(number) * scale**3))} {unit}"


def make_product(seed: int) -> Product:
    """Make the product of a seed.

    Args:
        seed: 0 up to 2**48; the seeds 4k to 4k+3 are look-alikes of each other.

    Raises:
        ConfigError: If the seed is out of range.
    """
    if not 0 <= seed < 1 << 48:
        raise ConfigError(f"A product seed must be in 0 .. 2**48 - 1, got {seed}.")
    shelf, variant = divmod(seed, _SHELF)
    choice = np.random.default_rng([shelf, 1])
    names = list(FAMILIES)
    odds = np.array([FAMILIES[name][1] for name in names])
    family = names[int(choice.choice(len(names), p=odds / odds.sum()))]
    # the last of a shelf is the first one in another size, the others are flavours of one size
    resized = variant == _SHELF - 1
    scale = float(choice.choice((0.7, 1.3))) if resized else 1.0
    style = make_style(shelf, 0 if resized else variant)
    if resized:
        style = replace(style, amount=_amount(style.amount, scale))
    draft = FAMILIES[family][0](style, np.random.default_rng([shelf, 2]), scale)
    mesh = centred(draft.mesh)
    weight = max(0.005, draft.density * float(np.prod(mesh.dims_m)))
    return Product(
        item_id=_item_id(seed),
        family=family,
        dims_m=mesh.dims_m,
        weight_kg=round(weight, 3),
        text=style.text,
        mesh=mesh,
        texture=draft.texture,
        gloss=float(draft.gloss),
        collision=draft.collision,
        softness=draft.softness,
    )


def catalogue_seeds(split: str, seed: int, count: int) -> tuple[int, ...]:
    """Product seeds of a catalogue, with look-alikes; a prefix is a smaller catalogue.

    Args:
        split: One of `SPLITS`; their ranges of seeds do not meet.
        seed: Which catalogue, 0 up to 2**20 - 1 have disjoint products.
        count: How many, at least 0.

    Raises:
        ConfigError: If the split is unknown or a number out of range.
    """
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    if seed < 0 or not 0 <= count <= _SEED_SPAN:
        raise ConfigError(
            f"A catalogue needs a seed of at least 0 and 0 .. {_SEED_SPAN} products, "
            f"got seed {seed} and {count} products."
        )
    first = SPLITS.index(split) * _SPLIT_SPAN + (seed % _SEED_SPAN) * _SEED_SPAN * _SHELF
    rng = np.random.default_rng([SPLITS.index(split), seed, 3])
    seeds: list[int] = []
    while len(seeds) < count:
        members = rng.permutation(_SHELF)[: 1 + rng.choice(3, p=_SHELF_SIZE_ODDS)]
        seeds += [first + int(member) for member in np.sort(members)]
        first += _SHELF
    return tuple(seeds[:count])


def make_catalogue(split: str, seed: int, count: int) -> tuple[Product, ...]:
    """The products of `catalogue_seeds`, made.

    Raises:
        ConfigError: If the split is unknown or a number out of range.
    """
    return tuple(make_product(each) for each in catalogue_seeds(split, seed, count))
