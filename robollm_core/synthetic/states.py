# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A rendered cell on disk: the states of its totes one after the other, with their picks.

Rendering is slow and playing is not: whoever plays a cell reads it from here and
needs no simulator. The folder also holds the reference images of its manifests.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.errors import DatasetError

FOLDER = "states"
"""Below the folder of the cell; `references` lies beside it."""
INDEX = "states.json"
FORMAT = 1
TOTE = "tote"
HELD_CAMERAS = ("tote_wall", "on_arm_low", "far_tray")
"""The pick cameras: across the tote, up from beside the arm, down on the tray."""


@dataclass(frozen=True, slots=True, eq=False)
class CellState:
    """A tote between two picks.

    Attributes:
        tote: JPEG of the tote camera.
        manifest: what the tote holds, form robollm.container_manifest/1.
        instances: what is true of each item that is seen, as ground truth has it.
        pick: what is picked next: pick_id, roi, instance, item_ids (two after a
            multi-pick), defect, and regions (where it is held, by camera; may be
            left out); None for nothing.
        held: JPEG of each of `HELD_CAMERAS` after that pick; empty without one.
    """

    tote: bytes
    manifest: dict[str, Any]
    instances: list[dict[str, Any]]
    pick: dict[str, Any] | None
    held: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A rendered cell.

    Attributes:
        seed: that it was rendered with.
        states: in order; those of one tote follow each other.
    """

    seed: int
    states: tuple[CellState, ...]


def picture_name(number: int, camera: str) -> str:
    """Path of a picture below the folder of the cell."""
    return f"{FOLDER}/{number:04d}.{camera}.jpg"


def state_files(number: int, state: CellState) -> dict[str, bytes]:
    """The pictures of a state by their path below the folder of the cell."""
    pictures = {TOTE: state.tote, **state.held}
    return {picture_name(number, camera): jpeg for camera, jpeg in pictures.items()}


def index_tree(seed: int, states: list[CellState]) -> dict[str, Any]:
    """What the index file says of the states."""
    told = [
        {"manifest": each.manifest, "instances": each.instances, "pick": each.pick}
        for each in states
    ]
    return {"format": FORMAT, "seed": seed, "states": told}


def rendered(folder: Path) -> tuple[int, int] | None:
    """Seed and number of states of the cell in a folder; None when there is none.

    Raises:
        DatasetError: If there is an index that cannot be read.
    """
    if not (folder / FOLDER / INDEX).exists():
        return None
    tree = _index(folder)
    return tree["seed"], len(tree["states"])


def read_states(folder: Path) -> Recording:
    """Read a rendered cell.

    Args:
        folder: of the cell, as `robollm synth cell` writes it.

    Raises:
        DatasetError: If there is none, or a part of it is missing or wrong.
    """
    tree = _index(folder)
    try:
        states = tuple(_state(folder, number, each) for number, each in enumerate(tree["states"]))
    except OSError as error:
        raise DatasetError(f"a picture of the cell in {folder} is missing: {error}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise _wrong(folder, f"{type(error).__name__}: {error}") from error
    if not states:
        raise _wrong(folder, "no state")
    return Recording(tree["seed"], states)


def _state(folder: Path, number: int, tree: Mapping[str, Any]) -> CellState:
    pick = None if tree["pick"] is None else dict(tree["pick"])
    cameras = HELD_CAMERAS if pick else ()
    if pick is not None:
        missing = {"pick_id", "roi", "item_ids", "defect"} - set(pick)
        if missing:
            raise KeyError(*sorted(missing))
    return CellState(
        tote=(folder / picture_name(number, TOTE)).read_bytes(),
        manifest=dict(tree["manifest"]),
        instances=list(tree["instances"]),
        pick=pick,
        held={name: (folder / picture_name(number, name)).read_bytes() for name in cameras},
    )


def _index(folder: Path) -> dict[str, Any]:
    path = folder / FOLDER / INDEX
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"there is no rendered cell in {folder}: {error}. Make one with "
            f"`robollm synth cell --out {folder}`."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _wrong(folder, str(error)) from error
    fits = isinstance(tree, dict) and isinstance(tree.get("seed"), int)
    if not (fits and tree.get("format") == FORMAT and isinstance(tree.get("states"), list)):
        raise _wrong(folder, f"not an object with format {FORMAT}, seed and states")
    return dict(tree)


def _wrong(folder: Path, why: str) -> DatasetError:
    return DatasetError(
        f"the cell in {folder} cannot be read ({why}). Remove {folder / FOLDER} and make it again "
        "with `robollm synth cell`."
    )
