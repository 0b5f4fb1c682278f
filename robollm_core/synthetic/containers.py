# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Totes of a running cell: what they hold, what the camera sees of it, what is true."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robollm_core.synthetic.breakage import breakable, damaged
from robollm_core.synthetic.damage import LEAST_CHANGE, change
from robollm_core.synthetic.lens import Exposure, random_exposure
from robollm_core.synthetic.products import Product, catalogue_seeds, make_product
from robollm_core.synthetic.references import Card, photograph
from robollm_core.synthetic.render import Int32Array, Renderer, Rendering, project
from robollm_core.synthetic.scene import Scene, Stock, build_tote, make_stock
from robollm_core.synthetic.staging import Files, json_bytes, region
from robollm_core.synthetic.totes import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PX

FRAME_PX = (480, 640)
MANIFEST_ITEMS = 20
UNLISTED_RATE = 0.3
"""Share of the totes that hold one product which is not on the manifest."""
CELL_CATALOGUES = 1 << 19
"""Seeds of catalogues from here on belong to cells, those below to data sets."""

_STOCK, _DAMAGED = 24, 4
_FEWEST, _MOST = 7, 14
_EDGE = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class Goods:
    """Products of a few totes: whole ones, then damaged twins of some of them."""

    stock: Stock
    cards: Mapping[str, Card]
    twin: Mapping[int, int]
    damages: Mapping[int, str]


@dataclass(slots=True, eq=False)
class Container:
    """A tote while it is emptied.

    Attributes:
        name: of the container.
        scene: as it came; instances keep their numbers.
        full_px: pixels each item would cover alone.
        listed: item ids on the manifest, in its order.
        left: instances that are still there.
        version: of the manifest.
    """

    name: str
    scene: Scene
    full_px: tuple[int, ...]
    listed: tuple[str, ...]
    left: list[int] = field(default_factory=list)
    version: int = 1


def _make_goods(
    products: list[Product], cards: Mapping[str, Card], rng: np.random.Generator
) -> Goods:
    whole = len(products)
    twin: dict[int, int] = {}
    damages: dict[int, str] = {}
    weak = [number for number in range(whole) if breakable(products[number])]
    for number in rng.permutation(weak)[:_DAMAGED]:
        broken, damages[len(products)] = damaged(products[number], rng)
        twin[len(products)] = int(number)
        products.append(broken)
    return Goods(make_stock(rng, products), cards, twin, damages)


def stocked(folder: Path, seed: int, number: int, write: Callable[[Path, Files], None]) -> Goods:
    """The goods of the totes number * 4 and after; writes their reference images with `write`."""
    lots = catalogue_seeds("test", CELL_CATALOGUES + seed, (number + 1) * _STOCK)
    products = [make_product(each) for each in lots[number * _STOCK :]]
    cards: dict[str, Card] = {}
    files: Files = {}
    for entry in photograph(products, seed):
        cards[entry.card.item_id] = entry.card
        for view, photo in enumerate(entry.photos, 1):
            files[f"references/{entry.card.item_id}/{view}.jpg"] = photo
    write(folder, files)
    return _make_goods(products, cards, np.random.default_rng([seed, number, 0x600D]))


def _calm(rng: np.random.Generator) -> Exposure:
    """The setting of a camera that somebody has set up with care."""
    setting = random_exposure(rng)
    return replace(
        setting,
        gain=float(np.clip(setting.gain, 0.9, 1.25)),
        blur_px=min(setting.blur_px, 0.6),
        motion_px=(0.0, 0.0),
        noise=min(setting.noise, 4.0),
        quality=88,
    )


def _framed(scene: Scene) -> bool:
    """Whether the camera was set up to see the middle of every item."""
    middles = np.array([each.position_m for each in scene.placements[: len(scene.items)]])
    pixels, _ = project(middles, scene.camera, FRAME_PX)
    inside = np.abs(pixels / FRAME_PX[::-1] - 0.5) < 0.5 - _EDGE
    return bool(inside.all())


def arrive(goods: Goods, renderer: Renderer, rng: np.random.Generator, name: str) -> Container:
    """Let a tote come that is neither nearly empty nor heaped, nor out of the picture."""
    scene = build_tote(rng, goods.stock, "mixed", FRAME_PX)
    while not (_FEWEST <= len(scene.items) <= _MOST and _framed(scene)):
        scene = build_tote(rng, goods.stock, "mixed", FRAME_PX)
    scene = replace(scene, exposure=_calm(rng))
    items = scene.placements[: len(scene.items)]
    full = tuple(renderer.silhouette_px(placement, scene.camera) for placement in items)
    inside = list(dict.fromkeys(goods.stock.products[item].item_id for item in scene.items))
    if rng.random() < UNLISTED_RATE:
        inside.pop(int(rng.integers(len(inside))))
        # what is left out here must not come back as filling
        missing = {goods.stock.products[item].item_id for item in scene.items} - set(inside)
    else:
        missing = set()
    others = [each for each in goods.cards if each not in inside and each not in missing]
    chosen = [*inside, *(others[k] for k in rng.permutation(len(others)))][:MANIFEST_ITEMS]
    listed = tuple(chosen[k] for k in rng.permutation(len(chosen)))
    return Container(name, scene, full, listed, list(range(len(scene.items))))


def manifest_text(container: Container, goods: Goods) -> str:
    """The whole manifest as JSON, robollm.container_manifest/1."""
    items = container.scene.items
    ids = [goods.stock.products[item].item_id for item in items]
    here = [ids[instance] for instance in container.left]
    products = []
    for name in container.listed:
        card, quantity = goods.cards[name], max(ids.count(name), 1)
        products.append(
            {
                "product_id": name,
                "quantity": quantity,
                "picked": ids.count(name) - here.count(name),
                "text": card.text,
                "weight_kg": card.weight_kg,
                "dims_m": list(card.dims_m),
                "reference_images": [f"references/{name}/{view}.jpg" for view in range(1, 7)],
            }
        )
    tree = {
        "schema": "robollm.container_manifest/1",
        "container_id": container.name,
        "version": container.version,
        "complete": True,
        "products": products,
    }
    return json_bytes(tree).decode().strip()


def look(
    container: Container, renderer: Renderer, twin: Mapping[int, int]
) -> tuple[Rendering, Rendering]:
    """What the camera sees now, and what it would see were nothing damaged."""
    scene = container.scene
    count = len(scene.items)
    drawn = [scene.placements[k] for k in container.left] + list(scene.placements[count:])
    whole = [replace(each, skin=twin.get(each.skin, each.skin)) for each in drawn]
    seen = renderer.render(drawn, scene.camera, scene.lights, scene.ambient)
    if all(each.skin not in twin for each in drawn):
        return seen, seen
    return seen, renderer.render(whole, scene.camera, scene.lights, scene.ambient)


def truths(
    container: Container, goods: Goods, marks: Int32Array, looks: tuple[Rendering, Rendering]
) -> list[dict[str, Any]]:
    """What is true of each item that can be seen, ARMBench's limits of visibility."""
    made = []
    for instance in container.left:
        item = container.scene.items[instance]
        mask = marks == instance
        area = int(np.count_nonzero(mask))
        share = area / max(container.full_px[instance], 1)
        if area < MIN_VISIBLE_PX or share < MIN_VISIBLE_FRACTION:
            continue
        at = region(mask)
        # a damage on the hidden side is nobody's to find
        shows = item in goods.twin and change(*looks, instance) >= LEAST_CHANGE
        made.append(
            {
                "item_id": goods.stock.products[item].item_id,
                "defect": "package_defect" if shows else "nominal",
                "damage": goods.damages.get(item, ""),
                "instance": instance,
                "visible_fraction": round(min(share, 1.0), 4),
                "bbox": at["bbox"],
                "rle": at["segmentation"],
            }
        )
    return made
