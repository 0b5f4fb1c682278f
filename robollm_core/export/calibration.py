# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs from which a network in few bits takes its scales."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from robollm_core.data.armbench_defects import iterate_defects
from robollm_core.data.armbench_identification import VIEWS, read_identification
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Picture, cut
from robollm_core.errors import DatasetError, ImageError
from robollm_core.evaluation.segmentation_sets import find_subsets
from robollm_core.export.samples import Scene, frames, triples
from robollm_core.images import CropSpec
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.furniture import crop_spec
from robollm_core.types import Engine, Tensors, UInt8Array

SPLITS = ("train", "val")
"""Where calibration may look, the first that is there; never where networks are measured."""

COUNTS = {"segmentation": 24, "identification": 96, "identification_fusion": 48, "defects": 96}
"""At most so many pictures, crops or picks are looked at."""

_BATCH = 8

Found = TypeVar("Found")


def calibration_samples(
    sidecar: Sidecar, folder: Path, embedder: tuple[Engine, Sidecar] | None = None
) -> list[Tensors]:
    """Inputs of a network from a data set.

    Args:
        sidecar: of the network.
        folder: data set in ARMBench's layout of its stage, with a split of `SPLITS`.
        embedder: for a fusion network, the network whose features it fuses.

    Raises:
        DatasetError: If the set is missing, empty, of another layout, or too much of
            it is broken.
    """
    broken = BrokenFiles()
    limit = COUNTS[sidecar.stage]
    if sidecar.stage == "segmentation":
        found = _totes(sidecar, folder, broken)
    elif sidecar.stage == "identification_fusion":
        assert embedder is not None, "a fusion network fuses features of another"
        spec = crop_spec(embedder[1])
        images = _cut(_views(folder, broken, limit), spec, broken)
        found = triples(embedder[0], images)
    else:
        pictures = _PICTURES[sidecar.stage](folder, broken, limit)
        images = _cut(pictures, crop_spec(sidecar), broken)
        name = sidecar.spec.inputs[0].name
        found = [{name: images[i : i + _BATCH]} for i in range(0, len(images), _BATCH)]
    broken.check(max(limit, len(broken.entries)))
    return found


def _totes(sidecar: Sidecar, folder: Path, broken: BrokenFiles) -> list[Tensors]:
    def read(split: str) -> list[Scene]:
        listed = find_subsets(folder, split)[0].read(broken)
        return [Scene(one.tote.read(), ()) for one in islice(listed, COUNTS["segmentation"])]

    return frames(sidecar, _first(folder, "segmentation", read))


def _crops(folder: Path, broken: BrokenFiles, limit: int) -> list[Picture]:
    """Picks and references, about as many, since one network sees both."""

    def read(split: str) -> list[Picture]:
        samples = read_identification(folder, split, broken)
        queries = [pick.views[VIEWS[0]] for pick in samples.picks if VIEWS[0] in pick.views]
        references = [own[0] for own in samples.references.values()]
        half = max(limit // 2, limit - len(references))
        return queries[:half] + references[: limit - half]

    return _first(folder, "identification", read)


def _views(folder: Path, broken: BrokenFiles, limit: int) -> list[Picture]:
    """The three views of picks, pick by pick."""

    def read(split: str) -> list[Picture]:
        picks = read_identification(folder, split, broken).picks
        whole = [pick for pick in picks if all(view in pick.views for view in VIEWS)]
        return [pick.views[view] for pick in whole[:limit] for view in VIEWS]

    return _first(folder, "identification with all three views", read)


def _defects(folder: Path, broken: BrokenFiles, limit: int) -> list[Picture]:
    def read(split: str) -> list[Picture]:
        return [one.picture for one in islice(iterate_defects(folder, split, broken), limit)]

    return _first(folder, "defects", read)


_PICTURES = {"identification": _crops, "defects": _defects}


def _first(folder: Path, what: str, read: Callable[[str], list[Found]]) -> list[Found]:
    """What the first split holds that holds anything."""
    reasons = []
    for split in SPLITS:
        try:
            if found := read(split):
                return found
        except DatasetError as error:
            reasons.append(str(error))
    why = f" {reasons[0]}" if reasons else ""
    raise DatasetError(
        f"{folder} holds nothing to calibrate with: expected the split {' or '.join(SPLITS)} of "
        f"ARMBench's layout for {what}.{why} Name another folder with --calibration, or leave it "
        "out for a simulated set."
    )


def _cut(pictures: Iterable[Picture], spec: CropSpec, broken: BrokenFiles) -> UInt8Array:
    crops = list(_readable(pictures, spec, broken))
    if not crops:
        first = broken.entries[0]
        raise DatasetError(f"no picture of the calibration set can be read: {first.reason}")
    return np.stack(crops)


def _readable(
    pictures: Iterable[Picture], spec: CropSpec, broken: BrokenFiles
) -> Iterator[UInt8Array]:
    for picture in pictures:
        try:
            yield cut(picture, spec)
        except (ImageError, DatasetError) as error:
            broken.add(picture.path, error)
