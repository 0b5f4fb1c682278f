# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of whole, doubled and damaged items, in ARMBench's defects layout.

An item is seen on the gripper, let go on a tray, or lying in a tote. A damage
that the camera cannot see is no example of one: each damaged item is drawn a
second time whole, and counts only where the two pictures differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.images import decode_image
from robollm_core.synthetic.breakage import breakable, damaged
from robollm_core.synthetic.grips import grip
from robollm_core.synthetic.lens import expose, random_exposure
from robollm_core.synthetic.products import SPLITS, Product
from robollm_core.synthetic.references import Source, fetch, sources
from robollm_core.synthetic.render import Int32Array, Renderer, Rendering
from robollm_core.synthetic.scene import Scene, Stock, build_tote, make_stock
from robollm_core.synthetic.staging import (
    Files,
    box_of,
    in_order,
    jpeg_bytes,
    json_bytes,
    region,
    staged,
    write_files,
)
from robollm_core.synthetic.studio import Shot, Studio
from robollm_core.synthetic.totes import split_counts
from robollm_core.synthetic.views import HELD_VIEWS, tray_shot
from robollm_core.types import UInt8Array

HELD_ODDS = {"nominal": 0.4, "multi_pick": 0.36, "package_defect": 0.24}
"""Labels on the gripper and on the tray; in a tote half of what is used is damaged."""
SAME_ITEM_RATE = 0.4
"""Share of the multi-picks that are two of one product."""
LEAST_CHANGE = 0.06
"""A damage is visible when it changes this share of the item's pixels."""

_STOCK, _HELD_A_UNIT = 12, 14
_PICKS_A_LABEL = 3
_TRAY_RATE = 0.3
_LEAST_PX, _LEAST_VISIBLE = 400, 0.4
_TOTE_PX, _HELD_PX = (480, 640), (224, 224)
_CHANGED_LEVELS = 24
_TRIES = 6


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one worker does in one go.

    Attributes:
        split, seed, number: which unit it is.
        shelf: what its catalogue is made of.
        stock, held: how many products it draws from, how many pictures on
            gripper and tray it takes besides those of one tote.
    """

    split: str
    seed: int
    number: int
    shelf: tuple[Source, ...]
    stock: int
    held: int


@dataclass(frozen=True, slots=True)
class _Picture:
    """One example: its picture and what is written beside it."""

    jpeg: bytes
    note: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Goods:
    """Whole products and, where they break, their damaged twins.

    Attributes:
        products: whole ones, then damaged ones.
        whole: how many are whole.
        twin: number of the whole product by number of the damaged one.
        damages: name of the damage by number of the damaged one.
    """

    products: tuple[Product, ...]
    whole: int
    twin: dict[int, int]
    damages: dict[int, str]


def _goods(unit: _Unit, rng: np.random.Generator) -> _Goods:
    order = rng.permutation(len(unit.shelf))[: unit.stock]
    whole = [fetch(unit.shelf[int(number)]) for number in order]
    products = list(whole)
    twin: dict[int, int] = {}
    damages: dict[int, str] = {}
    for number, product in enumerate(whole):
        if breakable(product):
            broken, damages[len(products)] = damaged(product, rng)
            twin[len(products)] = number
            products.append(broken)
    return _Goods(tuple(products), len(whole), twin, damages)


def change(first: Rendering, second: Rendering, mark: int) -> float:
    """Share of an item's pixels, in either picture, that differ between two pictures.

    Args:
        first: A picture.
        second: The same picture with another item in the item's place.
        mark: The item's number in both.
    """
    where = (first.instances == mark) | (second.instances == mark)
    apart = np.abs(first.image_rgb.astype(np.int16) - second.image_rgb).max(axis=2)
    differ = (apart > _CHANGED_LEVELS) | (first.instances != second.instances)
    return float(np.count_nonzero(differ & where) / max(np.count_nonzero(where), 1))


def _note(label: str, mask: Int32Array, context: str, **more: Any) -> dict[str, Any]:
    at = region(mask > 0)
    return {"label": label, **at, "context": context, **more}


def _with_item(shot: Shot, item: int) -> Shot:
    return replace(shot, things=[replace(thing, item=item) for thing in shot.things])


def _held(goods: _Goods, studio: Studio, rng: np.random.Generator) -> _Picture | None:
    """One item, or two, on the gripper or the tray; None when a damage hides."""
    label = str(rng.choice(list(HELD_ODDS), p=list(HELD_ODDS.values())))
    item = int(rng.integers(goods.whole))
    items = [item]
    if label == "multi_pick":
        same = rng.random() < SAME_ITEM_RATE
        items.append(item if same else int(rng.integers(goods.whole)))
    elif label == "package_defect":
        if not goods.twin:
            return None
        items = [int(rng.choice(list(goods.twin)))]
    pair = [(number, goods.products[number].mesh) for number in items]
    held = grip(pair, rng, same_pose=len(set(items)) < len(items) and rng.random() < 0.6)
    on_tray = rng.random() < _TRAY_RATE
    views = list(HELD_VIEWS.values())
    shot = (tray_shot if on_tray else views[int(rng.integers(len(views)))])(held, rng)
    seen = studio.shoot(shot)
    more: dict[str, Any] = {"item_ids": [goods.products[number].item_id for number in items]}
    if label == "package_defect":
        share = change(seen, studio.shoot(_with_item(shot, goods.twin[items[0]])), 1)
        if share < LEAST_CHANGE:
            return None
        more |= {"damage": goods.damages[items[0]], "changed": round(share, 3)}
    areas = np.bincount(seen.instances.reshape(-1), minlength=len(items) + 1)[1:]
    if areas.min() < 0.12 * areas.sum():  # a second item that hides is no example either
        return None
    jpeg, marks = expose(seen, replace(random_exposure(rng), occlusion=0.0))
    return _Picture(jpeg, _note(label, marks, "tray" if on_tray else "gripper", **more))


def _cut(image: UInt8Array, mask: Int32Array, rng: np.random.Generator) -> tuple[bytes, Int32Array]:
    x0, y0, x1, y1 = box_of(mask > 0)
    margin = round(rng.uniform(0.15, 0.5) * max(x1 - x0, y1 - y0))
    rows = slice(max(y0 - margin, 0), y1 + margin)
    columns = slice(max(x0 - margin, 0), x1 + margin)
    return jpeg_bytes(np.ascontiguousarray(image[rows, columns])), mask[rows, columns]


def _whole_again(scene: Scene, goods: _Goods) -> Scene:
    """The same scene with every damaged item whole."""
    placements = tuple(
        replace(placement, skin=goods.twin.get(placement.skin, placement.skin))
        for placement in scene.placements
    )
    return replace(scene, placements=placements)


def _render(scene: Scene, renderer: Renderer) -> Rendering:
    return renderer.render(scene.placements, scene.camera, scene.lights, scene.ambient)


def _in_tote(
    goods: _Goods, stock: Stock, renderer: Renderer, rng: np.random.Generator
) -> list[_Picture]:
    """Items of one tote: as many whole as damaged ones, three of each at most."""
    scene = build_tote(rng, stock, "mixed", _TOTE_PX)
    seen, whole = _render(scene, renderer), _render(_whole_again(scene, goods), renderer)
    photo, marks = expose(seen, scene.exposure)
    image = decode_image(photo, "the rendered tote")
    made: dict[str, list[_Picture]] = {"nominal": [], "package_defect": []}
    for instance in rng.permutation(len(scene.items)):
        item = scene.items[instance]
        area = np.count_nonzero(marks == instance)
        full = renderer.silhouette_px(scene.placements[instance], scene.camera)
        if area < max(_LEAST_PX, _LEAST_VISIBLE * full):
            continue
        label = "package_defect" if item in goods.twin else "nominal"
        more: dict[str, Any] = {"item_ids": [goods.products[item].item_id]}
        if item in goods.twin:
            share = change(seen, whole, int(instance))
            if share < LEAST_CHANGE:
                continue
            more |= {"damage": goods.damages[item], "changed": round(share, 3)}
        jpeg, mask = _cut(image, (marks == instance).astype(np.int32), rng)
        made[label].append(_Picture(jpeg, _note(label, mask, "tote", **more)))
    # whole items are the easier ones to see; more of them would say nothing new
    most = min(_PICKS_A_LABEL, max(1, len(made["package_defect"])))
    return [*made["nominal"][:most], *made["package_defect"][:_PICKS_A_LABEL]]


def _work(unit: _Unit) -> list[_Picture]:
    rng = np.random.default_rng([unit.seed, SPLITS.index(unit.split), unit.number, 0xDEF])
    goods = _goods(unit, rng)
    stock = make_stock(rng, goods.products)
    with Renderer(stock.skins, _TOTE_PX) as renderer:
        made = _in_tote(goods, stock, renderer, rng)
    with Studio(goods.products, _HELD_PX) as studio:
        for _ in range(unit.held):
            tries = (_held(goods, studio, rng) for _ in range(_TRIES))
            made += list(islice((one for one in tries if one is not None), 1))
    return [made[int(number)] for number in rng.permutation(len(made))]


def _write_split(
    root: Path, seed: int, split: str, images: int, jobs: int, meshes: Path | None
) -> None:
    shelf = sources(split, seed, max(60, images // 4), meshes)
    sizes = (_STOCK, _HELD_A_UNIT)
    units = [_Unit(split, seed, number, shelf, *sizes) for number in range(images + 5)]
    made = chain.from_iterable(in_order(_work, units, jobs))
    names: list[str] = []
    bar = tqdm(islice(made, images), f"{split} defects", images, unit="image")
    for number, picture in enumerate(bar):
        name = f"{split}-{number:06d}"
        names.append(name)
        note = {"id": name, **picture.note}
        files: Files = {
            f"data/{name}/{name}.jpg": picture.jpeg,
            f"data/{name}/{name}.json": json_bytes(note),
        }
        write_files(root, files)
    facts = {"seed": seed, "images": names}
    write_files(root, {f"{split}.csv": _csv(names), f"synthetic-{split}.json": json_bytes(facts)})


def _csv(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode("ascii")


def write_defects(
    out: Path, seed: int, images: int, split: str = "all", jobs: int = 1, meshes: Path | None = None
) -> None:
    """Write pictures of whole, doubled and damaged items in ARMBench's defects layout.

    Args:
        out: Folder; splits already in it are kept, unless they are asked for again.
        seed: Fixes every byte.
        images: How many, over all splits asked for.
        split: "train", "val", "test", or "all" for 8:1:1.
        jobs: Processes.
        meshes: Folder of OBJ scans that join the products; scans are never damaged.

    Raises:
        ConfigError: If a number or the split is out of range.
        DatasetError: If a scan cannot be used.
        OutputError: If the disk refuses.
        DependencyError: If MuJoCo is missing.
    """
    for name, count in split_counts(images, split).items():
        with staged(out) as root:
            _write_split(root, seed, name, count, jobs, meshes)
