# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Picks for identification, in ARMBench's layout.

A unit of work fills a few totes from one stock of products and picks several
items out of each picture; the same item is then shown on the gripper. Which
unit makes which pick depends on the seed alone, never on the number of jobs.
"""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.images import decode_image
from robollm_core.synthetic.grips import grip
from robollm_core.synthetic.lens import expose, random_exposure
from robollm_core.synthetic.products import SPLITS, Product
from robollm_core.synthetic.references import Card, Source, fetch, photograph, sources
from robollm_core.synthetic.render import Int32Array, Renderer
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
from robollm_core.synthetic.studio import Studio
from robollm_core.synthetic.totes import split_counts
from robollm_core.synthetic.views import HELD_VIEWS
from robollm_core.types import UInt8Array

NO_REFERENCE_RATE = 0.03
"""Share of the products that have no photos, and so about of the picks."""
OFF_MANIFEST_RATE = 0.05
"""Share of the picks whose item is not on the manifest."""
MANIFEST_ITEMS = 20

_PICKS_A_PRODUCT = 4
_LEAST_PRODUCTS = 40
_STOCK, _TOTES_A_UNIT, _PICKS_A_TOTE = 20, 4, 8
_LEAST_PX, _LEAST_VISIBLE = 300, 0.3
_TOTE_PX, _HELD_PX = (480, 640), (224, 224)
_TOTE_MARGIN = (0.12, 0.35)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one worker does in one go.

    Attributes:
        split, seed, number: which unit it is.
        shelf: what its catalogue is made of.
        stock, totes: how many products it draws from, how many totes it fills.
    """

    split: str
    seed: int
    number: int
    shelf: tuple[Source, ...]
    stock: int
    totes: int

    def rng(self) -> np.random.Generator:
        """A generator that no other unit has."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), self.number, 0x91C])


@dataclass(frozen=True, slots=True)
class _Pick:
    """One pick: its pictures and annotation, and what lay in the tote with it."""

    item_id: str
    files: Files
    annotation: dict[str, Any]
    contents: dict[str, int]


def _stock(unit: _Unit, rng: np.random.Generator) -> Stock:
    """A stock with look-alikes: neighbours of the catalogue stay together."""
    count = min(unit.stock, len(unit.shelf))
    starts = rng.permutation(len(unit.shelf))
    chosen: dict[Source, None] = {}
    for start in starts:
        for step in range(int(rng.integers(1, 4))):
            chosen[unit.shelf[(start + step) % len(unit.shelf)]] = None
        if len(chosen) >= count:
            break
    return make_stock(rng, [fetch(source) for source in list(chosen)[:count]])


def _crop(
    image: UInt8Array, mask: Int32Array, rng: np.random.Generator
) -> tuple[UInt8Array, dict[str, Any]]:
    """Cut an item with its surroundings out of the tote's picture."""
    x0, y0, x1, y1 = box_of(mask > 0)
    margin = round(rng.uniform(*_TOTE_MARGIN) * max(x1 - x0, y1 - y0))
    rows = slice(max(y0 - margin, 0), y1 + margin)
    columns = slice(max(x0 - margin, 0), x1 + margin)
    return np.ascontiguousarray(image[rows, columns]), region(mask[rows, columns] > 0)


def _visible(
    scene: Scene, marks: Int32Array, renderer: Renderer, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """Instances that a robot could pick, with the share that can be seen, in random order."""
    areas = np.bincount(marks[marks >= 0], minlength=len(scene.items))[: len(scene.items)]
    found = []
    for instance in rng.permutation(np.flatnonzero(areas >= _LEAST_PX)):
        whole = renderer.silhouette_px(scene.placements[instance], scene.camera)
        share = float(min(1.0, areas[instance] / max(whole, 1)))
        if share >= _LEAST_VISIBLE:
            found.append((int(instance), round(share, 3)))
    return found[:_PICKS_A_TOTE]


def _held_views(
    product: Product, item: int, studio: Studio, rng: np.random.Generator
) -> tuple[Files, dict[str, Any]]:
    """The three gripper views of one item, each in a pose of its own grip."""
    held = grip([(item, product.mesh)], rng)
    files: Files = {}
    regions: dict[str, Any] = {}
    for view, make_shot in HELD_VIEWS.items():
        seen = studio.shoot(make_shot(held, rng))
        # the far background is no neighbour that the item could darken
        setting = replace(random_exposure(rng), occlusion=0.0)
        files[f"{view}.jpg"], marks = expose(seen, setting)
        if (marks > 0).any():
            regions[view] = region(marks > 0)
    return files, regions


def _tote_picks(
    stock: Stock, renderer: Renderer, studio: Studio, rng: np.random.Generator
) -> list[_Pick]:
    scene = build_tote(rng, stock, "mixed", _TOTE_PX)
    rendering = renderer.render(scene.placements, scene.camera, scene.lights, scene.ambient)
    photo, marks = expose(rendering, scene.exposure)
    image = decode_image(photo, "the rendered tote")
    ids = [stock.products[item].item_id for item in scene.items]
    contents = {name: ids.count(name) for name in dict.fromkeys(ids)}
    picks = []
    for instance, share in _visible(scene, marks, renderer, rng):
        item = scene.items[instance]
        crop, at = _crop(image, (marks == instance).astype(np.int32), rng)
        files, regions = _held_views(stock.products[item], item, studio, rng)
        files["PickRGB.jpg"] = jpeg_bytes(crop)
        annotation = {"PickRGB": {**at, "visible_fraction": share}, **regions}
        picks.append(_Pick(ids[instance], files, annotation, contents))
    return picks


def _work(unit: _Unit) -> list[_Pick]:
    rng = unit.rng()
    stock = _stock(unit, rng)
    picks: list[_Pick] = []
    with Studio(stock.products, _HELD_PX) as studio, Renderer(stock.skins, _TOTE_PX) as renderer:
        for _ in range(unit.totes):
            picks += _tote_picks(stock, renderer, studio, rng)
    return picks


def _catalogue(seed: int, lot: Sequence[Source]) -> list[tuple[Card, Files]]:
    """Cards and reference files of a few products; some have no photos."""
    entries = photograph([fetch(source) for source in lot], seed)
    made = []
    for entry in entries:
        name = entry.card.item_id
        files = {
            f"Reference_Images/{name}/{number}.jpg": photo
            for number, photo in enumerate(entry.photos, 1)
        }
        made.append((entry.card, {} if _unphotographed(seed, name) else files))
    return made


def _unphotographed(seed: int, item_id: str) -> bool:
    rng = np.random.default_rng([seed, 0x40F, *item_id.encode()])
    return bool(rng.random() < NO_REFERENCE_RATE)


def _manifest(
    pick: _Pick, cards: Mapping[str, Card], off: bool, rng: np.random.Generator
) -> dict[str, Any]:
    """ARMBench's container.json: the tote's content, look-alikes of the item, others."""
    names = list(cards)
    at = names.index(pick.item_id)
    # products of one brand are neighbours in the catalogue
    near = [names[k] for k in (at - 2, at - 1, at + 1, at + 2) if 0 <= k < len(names)]
    others = [names[k] for k in rng.permutation(len(names))[: 2 * MANIFEST_ITEMS]]
    order = [name for name in [*pick.contents, *near, *others] if name != pick.item_id]
    kept = list(dict.fromkeys(order if off else [pick.item_id, *order]))[:MANIFEST_ITEMS]
    return {
        name: {
            "text": cards[name].text,
            "weight": cards[name].weight_kg,
            "dimensions": list(cards[name].dims_m),
            "quantity": pick.contents.get(name, 1),
        }
        for name in (kept[k] for k in rng.permutation(len(kept)))
    }


def _pick_files(
    name: str, pick: _Pick, cards: Mapping[str, Card], unit_seed: Sequence[int]
) -> Files:
    rng = np.random.default_rng([*unit_seed, *name.encode()])
    off = bool(rng.random() < OFF_MANIFEST_RATE)
    annotation = {
        "GT_ID": pick.item_id,
        **pick.annotation,
        "on_manifest": not off,
        "has_reference": not _unphotographed(unit_seed[0], pick.item_id),
    }
    files = {f"Picks/{name}/{file}": content for file, content in pick.files.items()}
    files[f"Picks/{name}/annotation.json"] = json_bytes(annotation)
    files[f"Picks/{name}/container.json"] = json_bytes(_manifest(pick, cards, off, rng))
    return files


def _write_split(
    root: Path, seed: int, split: str, picks: int, jobs: int, meshes: Path | None
) -> tuple[list[str], list[str]]:
    """Write the catalogue and the picks of one split; return pick ids and item ids."""
    count = max(_LEAST_PRODUCTS, -(-picks // _PICKS_A_PRODUCT))
    shelf = sources(split, seed, count, meshes)
    lots = [shelf[start : start + _STOCK] for start in range(0, len(shelf), _STOCK)]
    cards: dict[str, Card] = {}
    with tqdm(total=len(shelf), desc=f"{split} catalogue", unit="item") as bar:
        for card, files in chain.from_iterable(in_order(partial(_catalogue, seed), lots, jobs)):
            cards[card.item_id] = card
            write_files(root, files)
            bar.update()
    # a unit without one visible item is possible, twenty in a row are not
    sizes = (_STOCK, _TOTES_A_UNIT)
    units = [_Unit(split, seed, number, shelf, *sizes) for number in range(picks + 20)]
    made = chain.from_iterable(in_order(_work, units, jobs))
    names: list[str] = []
    items: dict[str, None] = {}
    for number, pick in enumerate(tqdm(islice(made, picks), f"{split} picks", picks, unit="pick")):
        names.append(f"{split}-{number:06d}")
        items[pick.item_id] = None
        write_files(root, _pick_files(names[-1], pick, cards, (seed, SPLITS.index(split))))
    return names, list(items)


def _index(root: Path) -> dict[str, list[str]]:
    """The split file's content, from the notes of the splits that are there."""
    index: dict[str, list[str]] = {}
    for split in SPLITS:
        note = root / f"synthetic-{split}.json"
        facts = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        index[f"{split}set"] = facts.get("picks", [])
        index[f"{split}set-objects"] = facts.get("items", [])
    return index


def write_identification(
    out: Path, seed: int, picks: int, split: str = "all", jobs: int = 1, meshes: Path | None = None
) -> None:
    """Write picks in ARMBench's identification layout.

    Args:
        out: Folder; splits already in it are kept, unless they are asked for again.
        seed: Fixes every byte.
        picks: How many picks, over all splits asked for.
        split: "train", "val", "test", or "all" for 8:1:1.
        jobs: Processes.
        meshes: Folder of OBJ scans that join the products.

    Raises:
        ConfigError: If a number or the split is out of range.
        DatasetError: If a scan cannot be used.
        OutputError: If the disk refuses.
        DependencyError: If MuJoCo is missing.
    """
    for name, count in split_counts(picks, split).items():
        with staged(out) as root:
            made, items = _write_split(root, seed, name, count, jobs, meshes)
            facts = {
                "seed": seed,
                "rates": {"no_reference": NO_REFERENCE_RATE, "off_manifest": OFF_MANIFEST_RATE},
                "manifest_items": MANIFEST_ITEMS,
                "picks": made,
                "items": items,
            }
            (root / f"synthetic-{name}.json").write_bytes(json_bytes(facts))
    with staged(out) as root:
        # ARMBench's own file format; protocol 4 so that any Python 3 reads it
        (root / "train-test-split.pickle").write_bytes(pickle.dumps(_index(out), protocol=4))
