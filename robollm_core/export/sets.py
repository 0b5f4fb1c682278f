# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Small data sets that the export measures and calibrates on, in ARMBench's layouts.

The user names folders, or the simulator makes sets once and the cache keeps them.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robollm_core import __version__
from robollm_core.config import RuntimeConfig
from robollm_core.errors import DatasetError, DependencyError
from robollm_core.runtime.cache import Entry, cache_folder

STAGES = ("segmentation", "identification", "defects")
_PATIENCE_S = 1800.0


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a set is for.

    Attributes:
        name: of its folder.
        option: of the command line that names another set.
        split: of the layout; products of one split are in no other.
        seed: of the simulator; the test sets of the shipped networks have 200.
        sizes: stage to how many pictures or picks.
    """

    name: str
    option: str
    split: str
    seed: int
    sizes: Mapping[str, int]


GATE = Purpose(
    "gate", "--data", "test", 510, {"segmentation": 60, "identification": 300, "defects": 480}
)
"""On which the task metric of a network in fewer bits is held against that in fp32."""

CALIBRATION = Purpose(
    "calibration",
    "--calibration",
    "train",
    511,
    {"segmentation": 24, "identification": 48, "defects": 48},
)
"""From which int8 takes the scales of activations."""


def set_of(purpose: Purpose, stage: str, named: Path | None, config: RuntimeConfig) -> Path:
    """The folder of a set.

    Args:
        purpose: `GATE` or `CALIBRATION`.
        stage: one of `STAGES`.
        named: what the user named: a folder with a set a stage, named after it, or
            the set of one stage; None for a simulated one.
        config: says where the cache is.

    Raises:
        DatasetError: If the folder that was named is not there.
        DependencyError: If a set has to be made and the simulator is not installed.
        CacheError: If the cache cannot be written.
    """
    if named is None:
        return _simulated(purpose, stage, config)
    if not named.is_dir():
        raise DatasetError(
            f"{purpose.option} {named} is no folder; expected a data set in ARMBench's layout, or "
            f"one a stage in {named}/{{{','.join(STAGES)}}}. Leave {purpose.option} out for a "
            "simulated one."
        )
    own = named / stage
    return own if own.is_dir() else named


def _simulated(purpose: Purpose, stage: str, config: RuntimeConfig) -> Path:
    facts: dict[str, str | int] = {
        "purpose": purpose.name,
        "stage": stage,
        "split": purpose.split,
        "seed": purpose.seed,
        "size": purpose.sizes[stage],
        "version": __version__,
    }
    entry = Entry(cache_folder(config) / "sets", facts, ".made")
    folder = entry.path.with_suffix("")
    if entry.valid() and folder.is_dir():
        return folder
    with entry.lock(_PATIENCE_S):
        if not (entry.valid() and folder.is_dir()):
            try:
                _writer(stage)(folder, purpose)
            except ModuleNotFoundError as error:
                raise DependencyError(
                    f"the set for {purpose.option} is made by the simulator, which needs the "
                    f"Python package {error.name!r}. Install it with: pip install '.[sim]', or "
                    f"name a set: {purpose.option} DIR."
                ) from error
            entry.write(json.dumps(facts, sort_keys=True).encode())
    return folder


def _writer(stage: str) -> Callable[[Path, Purpose], object]:
    writers = {
        "segmentation": _write_totes,
        "identification": _write_picks,
        "defects": _write_damage,
    }
    return writers[stage]


def _write_totes(folder: Path, purpose: Purpose) -> None:
    from robollm_core.synthetic.totes import Order, write_segmentation

    count = purpose.sizes["segmentation"]
    order = Order(purpose.seed, count, purpose.split, "mix-object-tote", _jobs())
    write_segmentation(folder, order)


def _write_picks(folder: Path, purpose: Purpose) -> None:
    from robollm_core.synthetic.picks import write_identification

    count = purpose.sizes["identification"]
    write_identification(folder, purpose.seed, count, purpose.split, _jobs())


def _write_damage(folder: Path, purpose: Purpose) -> None:
    from robollm_core.synthetic.damage import write_defects

    write_defects(folder, purpose.seed, purpose.sizes["defects"], purpose.split, _jobs())


def _jobs() -> int:
    return len(os.sched_getaffinity(0))
