# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Writes tote pictures with instance masks in ARMBench's segmentation layout.

`<out>/<subset>/images/*.jpg` and `<out>/<subset>/{train,val,test}.json` (COCO),
with the seed in `<out>/synthetic-<split>.json`, for the subsets `mix-object-tote`,
`zoomed-out-tote-transfer-set` and `same-object-transfer-set`.

Pictures are made in runs that share a stock of products. A run depends on its
own number alone, so the files are the same for any number of processes.
"""

import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from robollm_core.errors import ConfigError, OutputError
from robollm_core.files import write_file
from robollm_core.synthetic.lens import expose
from robollm_core.synthetic.products import SPLITS, Product, catalogue_seeds, make_product
from robollm_core.synthetic.render import Int32Array, Renderer
from robollm_core.synthetic.scans import load_scans
from robollm_core.synthetic.scene import (
    TOTE_INSTANCE,
    Kind,
    Scene,
    build_tote,
    film_of,
    make_stock,
)
from robollm_core.synthetic.staging import json_bytes
from robollm_core.types import BoolArray

SUBSETS: Mapping[str, Kind] = {
    "mix-object-tote": "mixed",
    "zoomed-out-tote-transfer-set": "zoomed",
    "same-object-transfer-set": "same",
}
CATEGORIES = (
    {"id": 1, "name": "Object", "supercategory": "item"},
    {"id": 2, "name": "Tote", "supercategory": "container"},
)
IMAGE_HW = (480, 640)
MIN_VISIBLE_PX, MIN_VISIBLE_FRACTION = 30, 0.05
_RUN_IMAGES, _RUN_PRODUCTS = 24, 48
_SHADOW_PX = 512  # shadows are softened afterwards; a finer map would only cost time
_SPLIT_SPAN, _SUBSET_SPAN, _SEED_SPAN = 1 << 44, 1 << 42, 1 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """What `write_segmentation` is to make.

    Attributes:
        seed: same seed, same bytes, for any `jobs`.
        images: mixed totes; see `split_counts` and `subset_counts`.
        split: "train", "val", "test" or "all".
        subset: key of `SUBSETS` or "all".
        jobs: processes.
        meshes: folder of OBJ scans to add to the products.
    """

    seed: int
    images: int
    split: str = "all"
    subset: str = "all"
    jobs: int = 1
    meshes: Path | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """Some pictures that share a stock.

    Attributes:
        folder: where the JPEG files go.
        split: of the pictures.
        kind: of the scenes.
        first: scene seed of the first picture.
        numbers: of the pictures in their split.
        products: seeds of the stock.
        meshes: folder of OBJ scans, None for none.
    """

    folder: str
    split: str
    kind: Kind
    first: int
    numbers: tuple[int, ...]
    products: tuple[int, ...]
    meshes: str | None


@dataclass(frozen=True, slots=True)
class _Picture:
    file_name: str
    scene_seed: int
    annotations: list[dict[str, Any]]
    cpu_secs: float


def scene_seed(split: str, subset: str, seed: int, number: int) -> int:
    """Seed of one picture; the ranges of splits and subsets do not meet.

    Args:
        split: One of `SPLITS`.
        subset: Key of `SUBSETS`.
        seed: Of the data set, taken modulo 2**20.
        number: Of the picture in its split, below 2**20.
    """
    base = SPLITS.index(split) * _SPLIT_SPAN + list(SUBSETS).index(subset) * _SUBSET_SPAN
    return base + (seed % _SEED_SPAN) * _SEED_SPAN + number


def split_counts(images: int, split: str) -> dict[str, int]:
    """Pictures of each split: all in one, or 8:1:1 with at least one each from 3 on.

    Raises:
        ConfigError: If the split is unknown or there is no picture to make.
    """
    if images < 1:
        raise ConfigError(f"--images must be at least 1, got {images}.")
    if split in SPLITS:
        return {split: images}
    if split != "all":
        raise ConfigError(f"--split must be all, {', '.join(SPLITS)}; got {split!r}.")
    if images < 3:
        raise ConfigError(
            f"--split all needs at least 3 images, one a split, got {images}. Ask for more, "
            "or name one split."
        )
    few = max(1, round(images / 10))
    return {"train": images - 2 * few, "val": few, "test": few}


def visible_mask(instances: Int32Array, instance: int) -> BoolArray:
    """(H, W) bool, True where the pixel shows the instance."""
    return np.asarray(instances == instance, np.bool_)


def _annotation(mask: BoolArray, category: int) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    box = [int(v) for v in coco_mask.toBbox(rle)]
    return {
        "category_id": category,
        "iscrowd": 0,
        "area": int(np.count_nonzero(mask)),
        "bbox": box,
        "segmentation": {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode()},
    }


def annotate(
    scene: Scene,
    products: Sequence[Product],
    seen: Int32Array,
    full_px: Sequence[int],
    hit: Int32Array,
) -> list[dict[str, Any]]:
    """COCO annotations of a picture, without ids.

    Args:
        scene: What was drawn.
        products: The stock the scene's items index.
        seen: (H, W) instance numbers of the picture.
        full_px: Pixels each item would cover alone.
        hit: (H, W) instance numbers before the lens bent the picture.

    Returns:
        Items in the order of the scene, then the tote. Items that show fewer
        than `MIN_VISIBLE_PX` pixels or less than `MIN_VISIBLE_FRACTION` of
        themselves are left out.
    """
    result = []
    for instance, item in enumerate(scene.items):
        mask = visible_mask(seen, instance)
        fraction = np.count_nonzero(hit == instance) / max(full_px[instance], 1)
        if np.count_nonzero(mask) < MIN_VISIBLE_PX or fraction < MIN_VISIBLE_FRACTION:
            continue
        entry = _annotation(mask, 1)
        entry["item_id"] = products[item].item_id
        entry["visible_fraction"] = round(min(float(fraction), 1.0), 4)
        result.append(entry)
    tote = visible_mask(seen, TOTE_INSTANCE)
    if tote.any():
        result.append(_annotation(tote, 2))
    return result


def _stock_products(run: _Run) -> list[Product]:
    products = [make_product(seed) for seed in run.products]
    if run.meshes is not None:
        rng = np.random.default_rng([run.first, 5])
        products += load_scans(Path(run.meshes), run.split, rng)
    return products


def _make_run(run: _Run) -> list[_Picture]:
    """Make the pictures of a run and write their JPEG files."""
    cv2.setNumThreads(1)
    started = time.process_time()
    stock = make_stock(np.random.default_rng([run.first, 4]), _stock_products(run))
    pictures = []
    with Renderer(stock.skins, IMAGE_HW, _SHADOW_PX) as renderer:
        for offset, number in enumerate(run.numbers):
            seed = run.first + offset
            scene = build_tote(np.random.default_rng(seed), stock, run.kind, IMAGE_HW)
            rendering = renderer.render(
                scene.placements, scene.camera, scene.lights, scene.ambient, scene.soft_px
            )
            items = scene.placements[: len(scene.items)]
            full = [renderer.silhouette_px(placement, scene.camera) for placement in items]
            jpeg, seen = expose(rendering, scene.exposure, film_of(scene, stock.products))
            name = f"{run.split}-{number:06d}.jpg"
            (Path(run.folder) / name).write_bytes(jpeg)
            entries = annotate(scene, stock.products, seen, full, rendering.instances)
            now = time.process_time()
            pictures.append(_Picture(name, seed, entries, now - started))
            started = now
    return pictures


def _plan(folder: Path, order: Order, subset: str, split: str, count: int) -> list[_Run]:
    seed = order.seed
    runs = -(-count // _RUN_IMAGES)
    # each subset has products of its own: catalogues of different seeds do not meet
    catalogue = seed * len(SUBSETS) + list(SUBSETS).index(subset)
    seeds = catalogue_seeds(split, catalogue, runs * _RUN_PRODUCTS)
    return [
        _Run(
            folder=str(folder),
            split=split,
            kind=SUBSETS[subset],
            first=scene_seed(split, subset, seed, run * _RUN_IMAGES),
            numbers=tuple(range(run * _RUN_IMAGES, min((run + 1) * _RUN_IMAGES, count))),
            products=seeds[run * _RUN_PRODUCTS : (run + 1) * _RUN_PRODUCTS],
            meshes=None if order.meshes is None else str(order.meshes),
        )
        for run in range(runs)
    ]


def _work(runs: Sequence[_Run], jobs: int) -> Iterator[list[_Picture]]:
    if jobs == 1:
        yield from map(_make_run, runs)
        return
    # graphics contexts do not survive a fork
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(_make_run, runs)
        except BrokenProcessPool as error:
            raise OutputError(
                "A worker process died while drawing totes, most likely for lack of memory. "
                "Use fewer --jobs."
            ) from error


def _coco(pictures: Sequence[_Picture], subset: str, seed: int) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        images.append(
            {
                "id": number + 1,
                "file_name": picture.file_name,
                "height": IMAGE_HW[0],
                "width": IMAGE_HW[1],
                "scene_seed": picture.scene_seed,
            }
        )
        for entry in picture.annotations:
            annotations.append({"id": len(annotations) + 1, "image_id": number + 1, **entry})
    return {
        "info": {"description": f"robollm synthetic totes, {subset}, seed {seed}"},
        "licenses": [{"id": 1, "name": "Apache-2.0"}],
        "categories": list(CATEGORIES),
        "images": images,
        "annotations": annotations,
    }


def _write_split(out: Path, order: Order, subset: str, split: str, count: int) -> float:
    """Make one COCO file and its pictures, whole or not at all; returns processor seconds."""
    images = out / subset / "images"
    images.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{split}-", dir=out / subset))
    try:
        runs = _plan(staging, order, subset, split, count)
        pictures: list[_Picture] = []
        with tqdm(total=count, desc=f"{subset} {split}", unit="image") as bar:
            for made in _work(runs, order.jobs):
                pictures += made
                bar.update(len(made))
        text = json.dumps(_coco(pictures, subset, order.seed), separators=(",", ":"))
        (staging / "split.json").write_text(text, encoding="utf-8")
        for picture in pictures:
            (staging / picture.file_name).replace(images / picture.file_name)
        (staging / "split.json").replace(out / subset / f"{split}.json")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sum(picture.cpu_secs for picture in pictures)


def subset_counts(images: int, subset: str) -> dict[str, int]:
    """Pictures of each subset: the transfer sets get a tenth of the mixed totes, at least 3.

    Raises:
        ConfigError: If the subset is unknown.
    """
    if subset in SUBSETS:
        return {subset: images}
    if subset != "all":
        raise ConfigError(f"--subset must be all, {', '.join(SUBSETS)}; got {subset!r}.")
    mixed, *transfer = SUBSETS
    return {mixed: images, **dict.fromkeys(transfer, max(3, images // 10))}


def write_segmentation(out: Path, order: Order) -> float:
    """Write tote pictures in ARMBench's segmentation layout.

    Args:
        out: Folder; splits already in it are replaced, others are kept.
        order: What to make.

    Returns:
        Pictures a second and core.

    Raises:
        ConfigError: If the order is out of range.
        DatasetError: If a mesh cannot be read.
        DependencyError: If MuJoCo or its graphics library is missing.
        OutputError: If the folder cannot be written.
    """
    if order.seed < 0 or order.jobs < 1:
        raise ConfigError(
            f"--seed must be at least 0 and --jobs at least 1, got {order.seed}, {order.jobs}."
        )
    total, seconds = 0, 0.0
    try:
        for subset, count in subset_counts(order.images, order.subset).items():
            for split, number in split_counts(count, order.split).items():
                seconds += _write_split(out, order, subset, split, number)
                write_file(out / f"synthetic-{split}.json", json_bytes({"seed": order.seed}))
                total += number
    except OSError as error:
        raise OutputError(
            f"Cannot write totes to {out}: {error}. Nothing half-written was kept of the split "
            "at hand; free some space or choose another --out."
        ) from error
    return total / max(seconds, 1e-9)
