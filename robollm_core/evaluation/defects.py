# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Defect detection, judged as it ships: exported graph and the stage's crop.

FPR is nominal images flagged over nominal images. What is measured under the
configured threshold was fixed beforehand; the other thresholds are taken from
the split itself, and the figures say so.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.config import DefectsConfig, RuntimeConfig
from robollm_core.data.armbench_defects import DefectSample, iterate_defects
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.defect_folder import find_defect_folder, iterate_defect_folder
from robollm_core.data.samples import cut
from robollm_core.errors import ArtifactError, ConfigError, DatasetError, ImageError
from robollm_core.evaluation import defects_exhibits as exhibits
from robollm_core.evaluation.defects_blocks import blocks_of
from robollm_core.evaluation.defects_figures import figures_of, protocol_of
from robollm_core.evaluation.defects_judged import Judged, Labels, index_of
from robollm_core.evaluation.defects_official import FILE, predictions_file
from robollm_core.evaluation.networks import find
from robollm_core.evaluation.outcome import Outcome, Request
from robollm_core.evaluation.worst import Worst
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.furniture import check_stage, crop_spec, labels
from robollm_core.types import DEFECT_LABELS, Engine, Float32Array, UInt8Array

OUTLINES = "data/ID with notes: the thing is cut out by its outline or box"
FOLDERS = "a folder a class: images are taken whole, the outlines are not in this layout"

_BATCH = 32

Batch = tuple[list[DefectSample], Float32Array]


def evaluate(request: Request) -> Outcome:
    """Measure a defect network.

    Args:
        request: the data set is a folder in ARMBench's defect layout, or an
            ImageFolder; the stage takes no options.

    Returns:
        Figures, records, pictures, and the file of ARMBench's own script.

    Raises:
        ArtifactError: If the network is missing or not what it should be.
        ConfigError: If an option is given.
        DatasetError: If the data is not as it should be, too much of it is
            broken, or it lacks nominal or defective images.
    """
    if request.options:
        raise ConfigError(f"`evaluate defects` takes no options, got {sorted(request.options)}.")
    network = Network(request, request.config.runtime)
    threshold = request.config.defects.threshold
    worst, ids, truths, parts = Worst(exhibits.GROUPS), [], [], []
    for samples, rows in network.answers():
        for sample, row in zip(samples, rows, strict=True):
            name = sample.picture.path.relative_to(request.dataset).as_posix()
            exhibits.show(worst, sample, name, row, network.spec, threshold)
            ids.append(name)
            truths.append(index_of(sample.label))
        parts.append(rows)
    asked = len(ids) + len(request.broken.entries)
    request.broken.check(asked)
    probabilities = np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)
    judged = Judged(probabilities, np.array(truths, np.int64), threshold, request.seed)
    figures = figures_of(judged)
    protocol = {**protocol_of(judged, request.split), "layout": layout_of(request.dataset)}
    return Outcome(
        figures={**figures, "protocol": protocol},
        records=records_of(ids, judged),
        blocks=blocks_of(figures),
        exhibits=worst.exhibits(),
        files={FILE: predictions_file(judged.probabilities, judged.labels)},
        networks={network.name: network.sidecar.sha256},
        samples=asked,
    )


def summarise(
    probabilities: Float32Array,
    labels: Labels,
    threshold: float = DefectsConfig().threshold,
    seed: int = 0,
) -> dict[str, Any]:
    """The figures of predictions.

    Args:
        probabilities: (N, 3) in the order of `DEFECT_LABELS`.
        labels: (N,) indices into `DEFECT_LABELS`.
        threshold: score from which an image is flagged.
        seed: of the bootstrap.

    Raises:
        DatasetError: If there is no nominal image, or none with a defect.
    """
    return figures_of(Judged(probabilities, labels, threshold, seed))


def records_of(ids: list[str], judged: Judged) -> list[Mapping[str, Any]]:
    """One plain mapping an image: "id", "label", "probabilities", "flagged", "verdict"."""
    return [
        {
            "id": name,
            "label": DEFECT_LABELS[truth],
            # the shortest decimal that gives the float32 back
            "probabilities": [float(str(value)) for value in row],
            "flagged": bool(flagged),
            "verdict": DEFECT_LABELS[said],
        }
        for name, truth, row, flagged, said in zip(
            ids, judged.labels, judged.probabilities, judged.flagged, judged.verdicts, strict=True
        )
    ]


class Network:
    """A defect network and the images it is asked about.

    Attributes:
        name: of its file.
        sidecar: what is known of it.
        spec: how it sees an image.
    """

    def __init__(self, request: Request, runtime: RuntimeConfig) -> None:
        """Load the network.

        Raises:
            ArtifactError: If it is missing, of another stage or of other classes.
        """
        path, self.sidecar = load_artifact(find(request.models, "defects"))
        check_stage(self.sidecar, "defects")
        if labels(self.sidecar) != DEFECT_LABELS:
            raise ArtifactError(
                f"a defect network must have the classes {DEFECT_LABELS} in this order, "
                f"got {labels(self.sidecar)}."
            )
        self.name, self.spec = path.name, crop_spec(self.sidecar)
        self._engine: Engine = load_engine(path, runtime)
        self._request = request

    def answers(self) -> Iterator[Batch]:
        """Probabilities of the images, a batch at a time.

        Yields:
            At most 32 samples and their probabilities, (n, 3) float32 in the order
            of `DEFECT_LABELS`. An image that cannot be read is noted as broken.
        """
        request = self._request
        known = unique(samples_of(request), request.broken)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for batch in _batches(tqdm(known, desc="inspect", mininterval=1.0)):
                crops = list(pool.map(self._cut, batch))
                pairs = [(s, c) for s, c in zip(batch, crops, strict=True) if c is not None]
                if pairs:
                    images = np.stack([crop for _, crop in pairs])
                    rows = self._engine.run({"images": images})["probabilities"]
                    yield [sample for sample, _ in pairs], np.asarray(rows, np.float32)

    def _cut(self, sample: DefectSample) -> UInt8Array | None:
        try:
            return cut(sample.picture, self.spec)
        except (ImageError, DatasetError) as error:
            self._request.broken.add(sample.picture.path, error)
            return None


def samples_of(request: Request) -> Iterator[DefectSample]:
    """The labelled images of a split, one at a time; see `layout_of`."""
    if layout_of(request.dataset) == FOLDERS:
        return iterate_defect_folder(request.dataset, request.split, request.broken)
    return iterate_defects(request.dataset, request.split, request.broken)


def layout_of(root: Path) -> str:
    """`OUTLINES` where there is ARMBench's folder data, else `FOLDERS` if there are such."""
    if not (root / "data").is_dir() and find_defect_folder(root) is not None:
        return FOLDERS
    return OUTLINES


def unique(samples: Iterable[DefectSample], broken: BrokenFiles) -> Iterator[DefectSample]:
    """Each image once; one that is listed again would be counted twice, and is noted."""
    seen = set()
    for sample in samples:
        if sample.picture.path in seen:
            broken.add(sample.picture.path, f"{sample.picture.path} is listed more than once.")
            continue
        seen.add(sample.picture.path)
        yield sample


def _batches(samples: Iterable[DefectSample]) -> Iterator[list[DefectSample]]:
    rest = iter(samples)
    while batch := list(islice(rest, _BATCH)):
        yield batch
