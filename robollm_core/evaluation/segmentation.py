# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation, judged as it ships: exported graph, stage, whole-image masks.

Images go by one at a time. Of each only scores, hits and the text of its results
stay, and the masks of the few cases that are shown.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from robollm_core.data.armbench_segmentation import TOTE_CLASS
from robollm_core.data.rle import whole_rle
from robollm_core.data.tote import CLASS_NAME
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.evaluation.networks import find
from robollm_core.evaluation.outcome import Exhibit, Outcome, Request
from robollm_core.evaluation.precision import MAX_DETECTIONS, Found, to_json
from robollm_core.evaluation.segmentation_exhibits import PER_GROUP, Cases
from robollm_core.evaluation.segmentation_figures import subset_figures
from robollm_core.evaluation.segmentation_matching import Sample, match_image
from robollm_core.evaluation.segmentation_peers import PeerResults, ResultsWriter, file_name
from robollm_core.evaluation.segmentation_protocol import PROTOCOL, RESAMPLES
from robollm_core.evaluation.segmentation_report import blocks
from robollm_core.evaluation.segmentation_sets import Listed, Subset, find_subsets
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.segmentation.stage import Segmenter
from robollm_core.types import Frame

RESULTS = "results"
"""Option: COCO results of a peer, a file or a folder, in the place of a network."""


class Source(Protocol):
    """Where detections come from.

    Attributes:
        networks: file name to sha256 of what is measured.
        measured: the subsets it has answers for.
    """

    networks: dict[str, str]
    measured: list[Subset]

    def find(self, subset: Subset, image: Listed) -> tuple[Found, ...]:
        """What is found in an image, however unsure.

        Raises:
            DatasetError: If the image cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One subset, measured."""

    subset: Subset
    samples: list[Sample]
    results: bytes
    cases: Cases


def evaluate(request: Request) -> Outcome:
    """Measure a segmentation network, or the COCO results of a peer.

    Args:
        request: data in ARMBench's segmentation layout, or a folder with images/ and
            an annotations.json, which has no splits. Its options: `RESULTS`.

    Returns:
        "mask_map50" is the AP at IoU 0.5 of the object class on the first subset,
        ARMBench's mixed totes; "subsets" holds all figures of each. Records are of
        masks of the object class, see `precision.to_json`. Files are COCO results.

    Raises:
        ArtifactError: If the network is missing or not what it should be.
        ConfigError: If an option is not known.
        DatasetError: If the data or the results are not what they should be, or too
            much of the data is broken.
    """
    unknown = sorted(set(request.options) - {RESULTS})
    if unknown:
        raise ConfigError(f"segmentation takes the option {RESULTS!r}, not {unknown}.")
    subsets = find_subsets(request.dataset, request.split)
    source = _source(request, subsets)
    measured = [_measure(one, source, request, len(subsets)) for one in source.measured]
    samples = sum(len(one.sizes) for one in source.measured)
    if not samples:
        raise DatasetError(f"{request.dataset} lists no images; choose another --split.")
    # drawn first: a picture that proves unreadable counts as broken, too
    exhibits = _exhibits(measured, request)
    request.broken.check(samples)
    return _outcome(request, source, measured, (samples, exhibits))


class NetworkAnswers:
    """Detections of our own stage, as it ships but for the score threshold."""

    def __init__(self, request: Request, subsets: Sequence[Subset]) -> None:
        """Load the network.

        Raises:
            ArtifactError: If it is missing or not what it should be.
        """
        path, sidecar = load_artifact(find(request.models, "segmentation"))
        config = dataclasses.replace(
            request.config.segmentation, score_threshold=0.0, max_instances=MAX_DETECTIONS
        )
        self._stage = Segmenter(load_engine(path, request.config.runtime), sidecar, config)
        self.networks = {path.name: sidecar.sha256}
        self.measured = list(subsets)

    def find(self, subset: Subset, image: Listed) -> tuple[Found, ...]:
        """What the stage finds; anything that is no tote is an object."""
        size = (image.tote.height, image.tote.width)
        return tuple(
            Found(
                whole_rle(one, size),
                one.score,
                category=TOTE_CLASS if one.label.lower() == TOTE_CLASS else CLASS_NAME,
            )
            for one in self._stage.segment(Frame(image.tote.read()))
        )


def _source(request: Request, subsets: Sequence[Subset]) -> Source:
    if RESULTS in request.options:
        return PeerResults(Path(request.options[RESULTS]), subsets)
    return NetworkAnswers(request, subsets)


def _measure(subset: Subset, source: Source, request: Request, subsets: int) -> _Measured:
    """Show every image of a subset to the source."""
    config = request.config.segmentation
    cases = Cases(config, max(PER_GROUP // subsets, 1))
    results = ResultsWriter(subset.categories)
    samples = []
    images = subset.read(request.broken)
    for image in tqdm(images, desc=subset.name, unit="image", total=len(subset.sizes)):
        try:
            found = source.find(subset, image)
        except DatasetError as error:
            request.broken.add(image.tote.path, error)
            continue
        sample, overlaps = match_image(image, found, subset.classes)
        samples.append(sample)
        results.add(image, found)
        cases.look(subset.name, image, overlaps)
    # pycocotools takes images in the order of their numbers, and so breaks ties of scores
    samples.sort(key=lambda sample: _place(sample.key))
    return _Measured(subset, samples, results.content(), cases)


def _place(key: int | str) -> tuple[bool, int | str]:
    return isinstance(key, str), key


def _exhibits(measured: Sequence[_Measured], request: Request) -> tuple[Exhibit, ...]:
    shown = [one for part in measured for one in part.cases.exhibits(request.broken)]
    groups = list(dict.fromkeys(one.group for one in shown))
    return tuple(sorted(shown, key=lambda one: groups.index(one.group)))


def _outcome(
    request: Request,
    source: Source,
    measured: Sequence[_Measured],
    counted: tuple[int, tuple[Exhibit, ...]],
) -> Outcome:
    samples, exhibits = counted
    figures = {
        one.subset.name: subset_figures(
            one.samples, one.subset.classes, request.config.segmentation, request.seed
        )
        for one in measured
    }
    simulated = (request.dataset / f"synthetic-{request.split}.json").is_file()
    return Outcome(
        _section(request, figures),
        tuple(_record(one.subset.name, sample) for one in measured for sample in one.samples),
        blocks(figures, {one.subset.name: one.samples for one in measured}, simulated),
        exhibits,
        {file_name(one.subset.name): one.results for one in measured},
        source.networks,
        samples,
    )


def _section(request: Request, figures: Mapping[str, Any]) -> dict[str, Any]:
    first = next(iter(figures))
    return {
        "mask_map50": figures[first]["mask"]["ap50"],
        "of": first,
        "class": CLASS_NAME,
        "protocol": PROTOCOL,
        "pycocotools": version("pycocotools"),
        "bootstrap": {"seed": request.seed, "resamples": RESAMPLES, "unit": "images"},
        "subsets": figures,
    }


def _record(subset: str, sample: Sample) -> dict[str, Any]:
    return {
        "id": f"{subset}/{sample.name}",
        "subset": subset,
        "instances": sample.instances,
        **to_json(sample.records["mask"][CLASS_NAME, "all"]),
    }
