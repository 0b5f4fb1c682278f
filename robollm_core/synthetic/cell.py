# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A running cell: totes come, items are picked out of them one by one, totes go.

`live_cell` gives the frames of a cell without end and without time; a bag
writer, or a node that plays camera, puts the time on. `write_states` renders
them for a player, with what the pick cameras see.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
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
from robollm_core.synthetic.containers import (
    CELL_CATALOGUES,
    FRAME_PX,
    Container,
    Goods,
    arrive,
    look,
    manifest_text,
    stocked,
    truths,
)
from robollm_core.synthetic.held import MULTI_PICK_RATE, Held, held_views
from robollm_core.synthetic.lens import expose
from robollm_core.synthetic.render import Renderer
from robollm_core.synthetic.staging import Files, json_bytes, staged, write_files, write_whole
from robollm_core.synthetic.states import FOLDER, INDEX, CellState, index_tree, state_files
from robollm_core.synthetic.studio import Studio

CAMERA = "tote_camera"
FRAME_NS = 500_000_000
START_NS = 1_767_225_600_000_000_000
"""Stamp of the first frame: the beginning of 2026."""
FLOOR: Mapping[str, float] = {"found": 0.57, "recall_at_1": 0.8}
"""What a cell must reach on a bag for its run to count as a success.

Just below what the shipped tiny models reach: raise it with every better model.
"""

_TOTES_A_STOCK, _LEFT_OVER = 4, 2
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
        grip: the instances that this pick lifts, the one meant first.
        held: what each pick camera sees after the pick, when they were asked for.
    """

    jpeg: bytes
    manifest: str | None
    truth: dict[str, Any]
    pick: dict[str, Any] | None
    grip: tuple[dict[str, Any], ...] = ()
    held: Held = field(default_factory=Held)


def _choose(container: Container, instances: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The highest of the items that lie free, else the freest; None when none is seen."""
    free = [each for each in instances if each["visible_fraction"] >= _EASY_PICK]
    if not free:
        return max(instances, key=lambda each: each["visible_fraction"], default=None)
    placements = container.scene.placements
    return max(free, key=lambda each: placements[each["instance"]].position_m[2])


def _lift(
    chosen: dict[str, Any], instances: list[dict[str, Any]], rng: np.random.Generator
) -> tuple[dict[str, Any], ...]:
    """What comes up with the chosen item: now and then a second one."""
    others = [each for each in instances if each is not chosen]
    if not others or rng.random() >= MULTI_PICK_RATE:
        return (chosen,)
    return chosen, others[int(rng.integers(len(others)))]


def _empty(
    container: Container, goods: Goods, renderer: Renderer, studio: Studio | None = None
) -> Iterator[CellFrame]:
    """Pick until next to nothing is left; with a studio, look at what was picked too."""
    seeds = np.random.default_rng(container.scene.exposure.seed)
    manifest: str | None = manifest_text(container, goods)
    while len(container.left) > _LEFT_OVER:
        looks = look(container, renderer, goods.twin)
        setting = replace(container.scene.exposure, seed=int(seeds.integers(1 << 40)))
        jpeg, marks = expose(looks[0], setting)
        instances = truths(container, goods, marks, looks)
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
        grip: tuple[dict[str, Any], ...] = () if chosen is None else (chosen,)
        held = Held()
        if chosen is not None and studio is not None:
            # dice of their own: a cell is the same with and without pick cameras
            rng = np.random.default_rng([container.scene.exposure.seed, container.version, 0x4E1D])
            grip = _lift(chosen, instances, rng)
            items = [container.scene.items[each["instance"]] for each in grip]
            held = held_views(goods.stock.products, items, studio, rng)
        truth = {"camera": CAMERA, "instances": instances}
        yield CellFrame(jpeg, manifest, truth, pick, grip, held)
        if chosen is None:
            return
        for each in grip:
            container.left.remove(each["instance"])
        container.version += 1
        manifest = manifest_text(container, goods)


def live_cell(
    folder: Path,
    seed: int,
    write: Callable[[Path, Files], None] = write_whole,
    *,
    held: bool = False,
) -> Iterator[CellFrame]:
    """Frames of a simulated cell, without end.

    Args:
        folder: Reference images are written below it, before the first
            manifest that names them is given.
        seed: Fixes every byte.
        write: Writes the reference images; `write_files` is enough, and quicker,
            when `folder` is staged.
        held: Whether the pick cameras look at each pick, and some lift two items.

    Raises:
        ConfigError: If the seed is out of range.
        DependencyError: If MuJoCo is missing.
        OutputError: If the folder cannot be written; no image is left half-written.
    """
    if not 0 <= seed < CELL_CATALOGUES:
        raise ConfigError(f"--seed of a cell must be in 0 .. {CELL_CATALOGUES - 1}, got {seed}.")
    number = 0
    while True:
        goods = stocked(folder, seed, number // _TOTES_A_STOCK, write)
        with ExitStack() as stack:
            studio = stack.enter_context(Studio(goods.stock.products, FRAME_PX)) if held else None
            renderer = stack.enter_context(Renderer(goods.stock.skins, FRAME_PX))
            for _ in range(_TOTES_A_STOCK):
                rng = np.random.default_rng([seed, number, 0xCE11])
                container = arrive(goods, renderer, rng, f"T-{seed:05d}-{number:04d}")
                yield from _empty(container, goods, renderer, studio)
                number += 1


def _state(frame: CellFrame) -> CellState:
    pick = None
    if frame.pick is not None:
        # on the gripper a damage may show that the tote's camera does not see
        single = "package_defect" if frame.grip[0]["damage"] else "nominal"
        pick = {
            "pick_id": frame.pick["pick_id"],
            "roi": frame.pick["roi"],
            "instance": frame.grip[0]["instance"],
            "item_ids": [each["item_id"] for each in frame.grip],
            "defect": single if len(frame.grip) == 1 else "multi_pick",
            "regions": dict(frame.held.regions),
        }
    manifest = json.loads(frame.manifest or "null")
    return CellState(frame.jpeg, manifest, frame.truth["instances"], pick, frame.held.jpegs)


def write_states(
    out: Path, seed: int, count: int, tell: Callable[[int], None] = lambda done: None
) -> None:
    """Render a cell for `robollm_core.synthetic.states.read_states`.

    Args:
        out: Folder; its reference images lie in `references`. Another cell's
            states in it are replaced.
        seed: Fixes every byte.
        count: How many states of totes, at least 1.
        tell: Is told how many are done, after each.

    Raises:
        ConfigError: If a number is out of range.
        OutputError: If the disk refuses; nothing half-written is kept.
        DependencyError: If MuJoCo is missing.
    """
    if count < 1:
        raise ConfigError(f"--states must be at least 1, got {count}.")
    with staged(out) as root:
        states = []
        for frame in islice(live_cell(root, seed, write_files, held=True), count):
            states.append(_state(frame))
            write_files(root, state_files(len(states) - 1, states[-1]))
            tell(len(states))
        write_files(root, {f"{FOLDER}/{INDEX}": json_bytes(index_tree(seed, states))})
        # pictures move one by one; an index never stands over those of another cell
        (out / FOLDER / INDEX).unlink(missing_ok=True)


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
    manifests, picks, truth = "/container/manifest", "/pick/event", "/ground_truth"
    topics = (
        Topic(manifests, rostypes.STRING, latched=True),
        Topic(image, rostypes.IMAGE if raw else rostypes.COMPRESSED),
        Topic(truth, rostypes.STRING),
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
            say(truth, stamp_ns, {"stamp_ns": stamp_ns, **frame.truth})
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
        frames = islice(live_cell(root, seed, write_files), images)
        bar = tqdm(frames, "cell", images, unit="frame")
        counts = _write_frames(root / f"{name}.mcap", iter(bar), raw)
        facts = {
            "seed": seed,
            **counts,
            "command": f"robollm synth bag --out {name}.mcap --seed {seed} --images {images}"
            + (" --raw" if raw else ""),
            "floor": dict(FLOOR),
        }
        (root / f"{name}.json").write_bytes(json_bytes(facts))
