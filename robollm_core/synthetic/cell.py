# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A running cell: totes come, items are picked out of them one by one, totes go.

`live_cell` gives the frames of a cell without end and without time; a bag
writer, or a node that plays camera, puts the time on.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.errors import ConfigError
from robollm_core.images import decode_image
from robollm_core.synthetic.breakage import breakable, damaged
from robollm_core.synthetic.damage import LEAST_CHANGE, change
from robollm_core.synthetic.lens import Exposure, expose, random_exposure
from robollm_core.synthetic.products import Product, catalogue_seeds, make_product
from robollm_core.synthetic.references import Card, photograph
from robollm_core.synthetic.render import Int32Array, Renderer, Rendering
from robollm_core.synthetic.scene import Scene, Stock, build_tote, make_stock
from robollm_core.synthetic.staging import Files, json_bytes, region, staged, write_files
from robollm_core.synthetic.totes import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PX

CAMERA = "tote_camera"
FRAME_PX = (480, 640)
FRAME_NS = 500_000_000
START_NS = 1_767_225_600_000_000_000
"""Stamp of the first frame: the beginning of 2026."""
FLOOR: Mapping[str, float] = {"found": 0.5, "recall_at_1": 0.6}
"""What a cell must reach on a bag for its run to count as a success."""
MANIFEST_ITEMS = 20
UNLISTED_RATE = 0.3
"""Share of the totes that hold one product which is not on the manifest."""

_STOCK, _DAMAGED, _TOTES_A_STOCK = 24, 4, 4
_FEWEST, _MOST, _LEFT_OVER = 7, 14, 2
_CELL_CATALOGUES = 1 << 19
_EASY_PICK = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class CellFrame:
    """One frame of the tote camera and what is true at its moment.

    Attributes:
        jpeg: the picture.
        manifest: JSON text, form robollm.container_manifest/1; None when
            nothing has changed since the frame before.
        truth: camera and instances, each with item_id, defect, bbox and rle.
        pick: what is picked right after this frame; None for nothing.
    """

    jpeg: bytes
    manifest: str | None
    truth: dict[str, Any]
    pick: dict[str, Any] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Goods:
    """Products of a few totes: whole ones, then damaged twins of some of them."""

    stock: Stock
    cards: Mapping[str, Card]
    twin: Mapping[int, int]
    damages: Mapping[int, str]


@dataclass(slots=True, eq=False)
class _Container:
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


def _make_goods(products: list[Product], entries: Mapping[str, Card], rng: Any) -> _Goods:
    whole = len(products)
    twin: dict[int, int] = {}
    damages: dict[int, str] = {}
    weak = [number for number in range(whole) if breakable(products[number])]
    for number in rng.permutation(weak)[:_DAMAGED]:
        broken, damages[len(products)] = damaged(products[number], rng)
        twin[len(products)] = int(number)
        products.append(broken)
    return _Goods(make_stock(rng, products), entries, twin, damages)


def _stocked(folder: Path, seed: int, number: int) -> _Goods:
    """The goods of the totes number * 4 and after; writes their reference images."""
    lots = catalogue_seeds("test", _CELL_CATALOGUES + seed, (number + 1) * _STOCK)
    products = [make_product(each) for each in lots[number * _STOCK :]]
    cards: dict[str, Card] = {}
    files: Files = {}
    for entry in photograph(products, seed):
        cards[entry.card.item_id] = entry.card
        for view, photo in enumerate(entry.photos, 1):
            files[f"references/{entry.card.item_id}/{view}.jpg"] = photo
    write_files(folder, files)
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


def _arrive(goods: _Goods, renderer: Renderer, rng: np.random.Generator, name: str) -> _Container:
    """Let a tote come that is neither nearly empty nor heaped."""
    scene = build_tote(rng, goods.stock, "mixed", FRAME_PX)
    while not _FEWEST <= len(scene.items) <= _MOST:
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
    return _Container(name, scene, full, listed, list(range(len(scene.items))))


def _manifest(container: _Container, goods: _Goods) -> str:
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


def _look(
    container: _Container, renderer: Renderer, twin: Mapping[int, int]
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


def _instances(
    container: _Container, goods: _Goods, marks: Int32Array, looks: tuple[Rendering, Rendering]
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


def _choose(container: _Container, instances: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The highest of the items that lie free, else the freest; None when none is seen."""
    free = [each for each in instances if each["visible_fraction"] >= _EASY_PICK]
    if not free:
        return max(instances, key=lambda each: each["visible_fraction"], default=None)
    placements = container.scene.placements
    return max(free, key=lambda each: placements[each["instance"]].position_m[2])


def _empty(container: _Container, goods: _Goods, renderer: Renderer) -> Iterator[CellFrame]:
    """Pick until next to nothing is left."""
    seeds = np.random.default_rng(container.scene.exposure.seed)
    manifest: str | None = _manifest(container, goods)
    while len(container.left) > _LEFT_OVER:
        looks = _look(container, renderer, goods.twin)
        setting = replace(container.scene.exposure, seed=int(seeds.integers(1 << 40)))
        jpeg, marks = expose(looks[0], setting)
        instances = _instances(container, goods, marks, looks)
        chosen = _choose(container, instances)
        pick = None
        if chosen is not None:
            pick = {
                "schema": "robollm.pick_event/1",
                "pick_id": f"{container.name}-{container.version:03d}",
                "phase": "pre_pick",
                "container_id": container.name,
                "manifest_version": container.version,
                "min_views": 1,
                "roi": dict(zip(("x", "y", "w", "h"), chosen["bbox"], strict=True)),
                "item_id": chosen["item_id"],
            }
        yield CellFrame(jpeg, manifest, {"camera": CAMERA, "instances": instances}, pick)
        if chosen is None:
            return
        container.left.remove(chosen["instance"])
        container.version += 1
        manifest = _manifest(container, goods)


def live_cell(folder: Path, seed: int) -> Iterator[CellFrame]:
    """Frames of a simulated cell, without end.

    Args:
        folder: Reference images are written below it, before the first
            manifest that names them is given.
        seed: Fixes every byte.

    Raises:
        ConfigError: If the seed is out of range.
        DependencyError: If MuJoCo is missing.
        OSError: If the folder cannot be written.
    """
    if not 0 <= seed < _CELL_CATALOGUES:
        raise ConfigError(f"--seed of a cell must be in 0 .. {_CELL_CATALOGUES - 1}, got {seed}.")
    number = 0
    while True:
        goods = _stocked(folder, seed, number // _TOTES_A_STOCK)
        with Renderer(goods.stock.skins, FRAME_PX) as renderer:
            for _ in range(_TOTES_A_STOCK):
                rng = np.random.default_rng([seed, number, 0xCE11])
                container = _arrive(goods, renderer, rng, f"T-{seed:05d}-{number:04d}")
                yield from _empty(container, goods, renderer)
                number += 1


def _stamp(stamp_ns: int) -> dict[str, int]:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return {"sec": sec, "nanosec": nanosec}


def _pick_event(pick: Mapping[str, Any], stamp_ns: int) -> dict[str, Any]:
    view = {"camera": CAMERA, "stamp": _stamp(stamp_ns), "role": "pick", "match": "exact"}
    # a name made from the pick, so that the same seed gives the same event
    event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, str(pick["pick_id"])))
    return {**pick, "event_id": event_id, "views": [view]}


def _image(jpeg: bytes, stamp_ns: int, raw: bool) -> Any:
    header = rostypes.header(stamp_ns, CAMERA)
    if not raw:
        data = np.frombuffer(jpeg, np.uint8)
        return rostypes.make(rostypes.COMPRESSED, header=header, format="jpeg", data=data)
    pixels = decode_image(jpeg, "the rendered frame")
    height, width = pixels.shape[:2]
    return rostypes.make(
        rostypes.IMAGE, header=header, height=height, width=width, encoding="rgb8",
        is_bigendian=0, step=3 * width, data=pixels.reshape(-1),
    )  # fmt: skip


def _write_frames(path: Path, frames: Iterator[CellFrame], raw: bool) -> dict[str, int]:
    """Write the frames to a bag; returns how much of everything there was."""
    image = f"/{CAMERA}/image" if raw else f"/{CAMERA}/image/compressed"
    manifests, picks, truths = "/container/manifest", "/pick/event", "/ground_truth"
    topics = (
        Topic(manifests, rostypes.STRING, latched=True),
        Topic(image, rostypes.IMAGE if raw else rostypes.COMPRESSED),
        Topic(truths, rostypes.STRING),
        Topic(picks, rostypes.STRING),
    )
    counts = dict.fromkeys(("frames", "manifests", "picks", "instances", "damaged"), 0)
    with BagWriter(path, topics) as bag:

        def say(topic: str, stamp_ns: int, tree: Any) -> None:
            text = tree if isinstance(tree, str) else json.dumps(tree, separators=(",", ":"))
            bag.write(topic, stamp_ns, rostypes.make(rostypes.STRING, data=text))

        for number, frame in enumerate(frames):
            stamp_ns = START_NS + number * FRAME_NS
            if frame.manifest is not None:
                say(manifests, stamp_ns - FRAME_NS // 4, frame.manifest)
                counts["manifests"] += 1
            bag.write(image, stamp_ns, _image(frame.jpeg, stamp_ns, raw))
            say(truths, stamp_ns, {"stamp_ns": stamp_ns, **frame.truth})
            if frame.pick is not None:
                say(picks, stamp_ns + FRAME_NS // 4, _pick_event(frame.pick, stamp_ns))
                counts["picks"] += 1
            seen = frame.truth["instances"]
            counts["frames"] += 1
            counts["instances"] += len(seen)
            counts["damaged"] += sum(each["defect"] != "nominal" for each in seen)
    return counts


def write_bag(out: Path, seed: int, *, images: int = 40, raw: bool = False) -> None:
    """Write the bag of a running cell, its reference images and its sidecar.

    Args:
        out: Folder, or the .mcap file in it (cell.mcap when it is not named);
            the sidecar has the bag's name, reference images lie in `references`.
        seed: Fixes every byte.
        images: Frames.
        raw: sensor_msgs/Image instead of CompressedImage (JPEG).

    Raises:
        ConfigError: If a number is out of range.
        OutputError: If the disk refuses; nothing half-written is kept.
        DependencyError: If MuJoCo is missing.
    """
    if images < 1:
        raise ConfigError(f"--images must be at least 1, got {images}.")
    folder, name = (out.parent, out.stem) if out.suffix == ".mcap" else (out, "cell")
    with staged(folder) as root:
        frames = islice(live_cell(root, seed), images)
        bar = tqdm(frames, "cell", images, unit="frame")
        counts = _write_frames(root / f"{name}.mcap", iter(bar), raw)
        facts = {
            "seed": seed,
            **counts,
            "command": f"robollm synth bag --out {name}.mcap --seed {seed} --images {images}",
            "floor": dict(FLOOR),
        }
        (root / f"{name}.json").write_bytes(json_bytes(facts))
