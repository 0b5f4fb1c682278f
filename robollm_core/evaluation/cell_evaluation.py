# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A whole bag through `perceive`, thing by thing against what it says is true."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tqdm import tqdm

from robollm_core.cell import build_stages
from robollm_core.config import update, with_references
from robollm_core.data.bag import BagReader, ImageEvent
from robollm_core.data.site_labels import PICKED, TRUTH, FrameLabels, Moment
from robollm_core.data.site_scan import LeftOut, Scan, scan_bags
from robollm_core.errors import BagError, ConfigError, DatasetError, ImageError, ManifestError
from robollm_core.evaluation import cell_exhibits as exhibits
from robollm_core.evaluation.cell_blocks import blocks_of
from robollm_core.evaluation.cell_figures import figures_of, protocol_of
from robollm_core.evaluation.cell_verdicts import FrameVerdicts, judge
from robollm_core.evaluation.networks import find
from robollm_core.evaluation.outcome import Outcome, Request
from robollm_core.evaluation.worst import Worst
from robollm_core.identification.stage import prepare_whole
from robollm_core.pipeline import Stages, perceive
from robollm_core.runtime.artifact import load_artifact

STAGES = ("segmentation", "identification", "defects")
IMAGE_TOPIC = "image_topic"
"""The one option: which images, where a bag has several topics of them."""


def measure(request: Request) -> Outcome:
    """Measure the whole cell on a bag.

    Args:
        request: the data set is a bag, the models a folder with the three networks;
            relative references start beside the bag, unless the configuration says
            another folder; the option "image_topic" names the images.

    Returns:
        Figures, one record a thing, and pictures; a sample is a labelled frame.

    Raises:
        ArtifactError: If a network is missing, damaged or of another stage.
        BagError: If the bag cannot be read, or neither a ground truth nor a pick
            event says what a frame shows.
        ConfigError: If an option is unknown.
        DatasetError: If too many frames cannot be used.
    """
    _check(request)
    stages, networks = load_stages(request)
    left_out = LeftOut()
    topic = str(request.options.get(IMAGE_TOPIC, ""))
    (scan,) = scan_bags([request.dataset], topic, left_out)
    source, labels = labels_of(scan, left_out)
    worst = Worst(exhibits.GROUPS)
    frames = list(Replayed(request, scan, labels, stages).judged(worst))
    request.broken.check(len(labels))
    if not frames:
        raise DatasetError(f"no frame of {request.dataset} could be used.")
    figures = figures_of(frames, request.seed)
    protocol = protocol_of(source, request.config.defects.threshold, request.seed)
    return Outcome(
        figures={**figures, "left_out": left_out.tree(), "protocol": protocol},
        records=[verdict.record() for frame in frames for verdict in frame.verdicts],
        blocks=blocks_of(figures),
        exhibits=worst.exhibits(),
        networks=networks,
        samples=len(labels),
    )


def _check(request: Request) -> None:
    unknown = sorted(set(request.options) - {IMAGE_TOPIC})
    if unknown:
        raise ConfigError(f"`evaluate cell` takes the option {IMAGE_TOPIC}, got {unknown}.")
    if request.models.suffix == ".onnx":
        raise ConfigError(
            f"a cell has three networks: expected a folder with {', '.join(STAGES)}, got the "
            f"network {request.models}."
        )


def load_stages(request: Request) -> tuple[Stages, Mapping[str, str]]:
    """The three stages of a folder of networks.

    Returns:
        The stages, and the sha256 of each network by file name.

    Raises:
        ArtifactError: If a network is missing, damaged or of another stage.
        RuntimeUnavailableError: If the runtime or the device is not there.
    """
    found = {stage: find(request.models, stage) for stage in STAGES}
    paths = {f"{stage}.artifact": str(path) for stage, path in found.items()}
    stages = build_stages(update(with_references(request.config, request.dataset), paths))
    return stages, {path.name: load_artifact(path)[1].sha256 for path in found.values()}


def labels_of(scan: Scan, left_out: LeftOut) -> tuple[str, Mapping[Moment, FrameLabels]]:
    """What a bag says of its frames: its ground truth, or, without one, its pick events.

    Args:
        scan: of the bag.
        left_out: takes labels of frames that are not in the bag, and frames without.

    Returns:
        Who says it, and the labels of frames that are in the bag.

    Raises:
        BagError: If nothing says what a frame shows.
    """
    for source in (TRUTH, PICKED):
        own = scan.labels.get(source, {})
        labels = {moment: own[moment] for moment in scan.frames if moment in own}
        if not any(each.instances for each in labels.values()):
            continue
        for moment in own.keys() - labels.keys():
            left_out.add("label of a frame that is not in the bag", _name(moment))
        for moment in scan.frames.keys() - own.keys():
            left_out.add("frame without a label", _name(moment))
        return source, labels
    raise BagError(
        f"{scan.bag} does not say what its frames show: expected a topic ending in ground_truth, "
        "or pick/event messages of phase pre_pick with item_id and roi that name frames of "
        f"{scan.image_topic}. Left out: {left_out.brief()}."
    )


def _name(moment: Moment) -> str:
    return f"{moment.camera}/{moment.stamp_ns}"


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A bag on its way through the cell, one frame at a time.

    Attributes:
        request: takes broken frames.
        scan: of the bag.
        labels: what frames show; others are passed by.
        stages: the cell.
    """

    request: Request
    scan: Scan
    labels: Mapping[Moment, FrameLabels]
    stages: Stages

    def judged(self, worst: Worst) -> Iterator[FrameVerdicts]:
        """Answer the labelled frames and compare.

        Args:
            worst: takes pictures of what is wrong.

        Yields:
            One comparison a frame, in the order of the bag. A frame that cannot be
            decoded, whose references cannot be read or whose truth does not fit is
            noted as broken.
        """
        number = 0
        for moment, event in self._events():
            try:
                yield self._judge(number, moment, event, worst)
                number += 1
            except (ImageError, ManifestError, DatasetError) as error:
                self.request.broken.add(_name(moment), error)

    def _events(self) -> Iterator[tuple[Moment, ImageEvent]]:
        seen: set[Moment] = set()
        with BagReader(self.scan.bag, self.scan.image_topic) as bag:
            bar = tqdm(total=len(self.labels), desc="perceive", unit="frame", mininterval=1.0)
            for event in bag.events():
                if isinstance(event, ImageEvent):
                    moment = Moment(event.camera, event.stamp_ns)
                    if moment in self.labels and moment not in seen:
                        seen.add(moment)
                        yield moment, event
                        bar.update()
            bar.close()

    def _judge(self, number: int, moment: Moment, event: ImageEvent, worst: Worst) -> FrameVerdicts:
        labels = self.labels[moment]
        manifest = self.scan.manifest(moment, labels)
        frame = event.decode()
        if manifest is not None:
            prepare_whole(self.stages.identification, manifest)
        result = perceive(frame, manifest, self.stages)
        judged = judge(number, result, labels, manifest)
        exhibits.show(worst, frame, labels, result, judged)
        return judged
