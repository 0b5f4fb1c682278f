# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Turns the recordings of a site into data sets in the layouts that training reads."""

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.data.bag import BagReader, ImageEvent
from robollm_core.data.site_files import SiteFiles
from robollm_core.data.site_labels import (
    ANSWERS,
    CORRECTED,
    PICKED,
    SOURCES,
    TRUTH,
    FrameLabels,
    Moment,
    answer_labels,
    read_labels,
)
from robollm_core.data.site_scan import Labels, LeftOut, Scan, choose_labels, scan_bags
from robollm_core.data.site_split import SPLITS, check_shares, divide
from robollm_core.data.site_views import read_views
from robollm_core.errors import ConfigError, DatasetError, ImageError, OutputError

SUMMARY = "summary.json"
_BLOCK_NS = 60 * 10**9
"""Frames without a container are a scene as long as they are of the same minute."""

_OWN_LABELS = (
    "Labels of the source 'answers' are the network's own. Training on them repeats its "
    "mistakes, and figures on them do not say how often it is right."
)


@dataclass(frozen=True, slots=True)
class SiteOrder:
    """What to make of which recordings.

    Attributes:
        bags: .mcap or .db3 files or rosbag2 folders.
        image_topic: needed where a bag has several.
        labels: file of corrected labels, None without.
        answers: bags of answers.
        trust_answers: cosine from which an answer is a label; None for never.
        references: where relative paths of manifests start, None for the
            folder each bag lies in.
        val_share, test_share: of the samples; 0 and 1 put everything into test.
        split_by: "container" or "item", see `site_split.divide`.
        seed: of the division.
    """

    bags: tuple[Path, ...]
    image_topic: str = ""
    labels: Path | None = None
    answers: tuple[Path, ...] = ()
    trust_answers: float | None = None
    references: Path | None = None
    val_share: float = 0.2
    test_share: float = 0.2
    split_by: str = "container"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without reading.

        Raises:
            ConfigError: If shares leave nothing to train, or answers are given
                and not trusted, or trusted and not given.
        """
        check_shares(self.val_share, self.test_share)
        if self.answers and self.trust_answers is None:
            raise ConfigError(
                "answers of the network are no labels. Correct them (`robollm dataset "
                "draft-labels`, then --labels), or say --trust-answers MIN_SCORE."
            )
        if self.trust_answers is not None and not self.answers:
            raise ConfigError("--trust-answers needs --answers, a bag of `robollm replay`.")


def write_site(order: SiteOrder, out: Path) -> dict[str, Any]:
    """Write the data sets of a site: picks, totes and defects, and summary.json.

    Args:
        order: what to read and how to divide it.
        out: a folder that is not there yet, or is empty.

    Returns:
        The content of summary.json.

    Raises:
        BagError: If no bag can be read, or one of answers cannot.
        DatasetError: If the labels are not of their form, nothing is labelled,
            nothing is left, or there are too few scenes to divide.
        OutputError: If `out` holds something or cannot be written; nothing
            half-written is left.
    """
    left_out = LeftOut()
    given = _given(order)
    with _whole_folder(out) as root:
        scans = scan_bags(order.bags, order.image_topic, left_out)
        labels = choose_labels(scans, given, left_out)
        files = SiteFiles(root, left_out)
        for number, (scan, own) in enumerate(zip(scans, labels, strict=True), 1):
            _write_bag(f"{number:02d}", scan, own, order.references, files)
        scenes = files.written.scenes()
        if not scenes:
            raise DatasetError(f"no sample is left of the recordings: {left_out.brief()}.")
        shares = {"val": order.val_share, "test": order.test_share}
        split_of = _divide(scenes, order, shares)
        counts = files.splits(split_of)
        summary = {
            "format": 1,
            "bags": [{"file": s.bag.name, "frames": len(s.frames)} for s in scans],
            **_sources(labels),
            "kept": {
                kind: sum(own[kind] for own in counts.values()) for kind in counts["train"]
            },
            "items": {"picked": len({i for own in scenes.values() for i in own}),
                      "with_references": len(files.referenced)},
            "left_out": left_out.tree(),
            "split": {"by": order.split_by, "seed": order.seed, **counts,
                      "items_of_train_seen_again": _again(scenes, split_of)},
        }  # fmt: skip
        (root / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _given(order: SiteOrder) -> dict[str, Labels]:
    given: dict[str, Labels] = {}
    if order.labels is not None:
        given[CORRECTED] = read_labels(order.labels)
    if order.trust_answers is not None:
        trusted: dict[Moment, FrameLabels] = {}
        for path in order.answers:
            trusted |= answer_labels(path, order.trust_answers)
        given[ANSWERS] = trusted
    return given


def _write_bag(
    number: str, scan: Scan, labels: Labels, references: Path | None, files: SiteFiles
) -> None:
    manifests = {moment: scan.manifest(moment, own) for moment, own in labels.items()}
    folder = references or scan.bag.resolve().parent
    for used in {id(m): m for m in manifests.values() if m is not None}.values():
        files.references(used, folder)
    whole = {m: scan.viewed[m] for m, own in labels.items()
             if m in scan.viewed and own.source in (TRUTH, PICKED)}  # fmt: skip
    by_pick = {pick.pick_id: moment for moment, pick in whole.items()}
    for pick, photos in read_views(scan.bag, list(whole.values())):
        files.item_references(pick.item_id, pick.references, folder)
        files.pick(number, pick, photos, manifests[by_pick[pick.pick_id]])
    for moment, event in _frames(scan, labels.keys() - whole.keys()):
        name = f"{number}-{re.sub('[^A-Za-z0-9._-]', '_', moment.camera)}-{moment.stamp_ns}"
        try:
            image = event.decode().image_rgb
        except ImageError as error:
            files.left_out.add("frame that cannot be decoded", f"{scan.bag}: {error}")
            continue
        manifest = manifests[moment]
        block = f"{number}/{moment.stamp_ns // _BLOCK_NS}"
        scene = manifest.container_id if manifest is not None else block
        files.frame(name, image, labels[moment], scene, manifest)


def _frames(scan: Scan, labelled: Set[Moment]) -> Iterator[tuple[Moment, ImageEvent]]:
    """The labelled frames, each once."""
    waiting = set(labelled)
    with BagReader(scan.bag, scan.image_topic) as reader:
        for event in reader.events():
            if isinstance(event, ImageEvent):
                moment = Moment(event.camera, event.stamp_ns)
                if moment in waiting:
                    waiting.remove(moment)
                    yield moment, event


def _sources(labels: Sequence[Mapping[Moment, FrameLabels]]) -> dict[str, Any]:
    """How many frames each source has labelled, and a warning where the network did."""
    used = [frame.source for own in labels for frame in own.values()]
    counts = {name: used.count(name) for name in SOURCES if name in used}
    return {"labels": counts, **({"warning": _OWN_LABELS} if ANSWERS in counts else {})}


def _divide(
    scenes: Mapping[str, Sequence[str]], order: SiteOrder, shares: Mapping[str, float]
) -> dict[str, str]:
    """Divide the scenes that have picks, so that each split gets some; the others train.

    Where everything measures, they do as well.
    """
    picked = {name: own for name, own in scenes.items() if own} or scenes
    chosen = divide(picked, order.split_by, shares, order.seed)
    rest = "test" if order.test_share == 1.0 else "train"
    return chosen | {name: rest for name in scenes if name not in chosen}


def _again(scenes: Mapping[str, Sequence[str]], split_of: Mapping[str, str]) -> dict[str, int]:
    """How many items of the training split are in each other one."""
    items: dict[str, set[str]] = {split: set() for split in SPLITS}
    for scene, own in scenes.items():
        items[split_of[scene]] |= set(own)
    return {split: len(items["train"] & items[split]) for split in SPLITS[1:]}


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder beside `out` that becomes `out` when the block ends without an error."""
    draft = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} is there and not empty; name another --out.")
        draft.mkdir(parents=True)
        yield draft
        if out.is_dir():
            out.rmdir()
        draft.rename(out)
    except OSError as error:
        raise OutputError(
            f"cannot write {out}: {error}. Nothing of it is kept; free some space or name "
            "another --out."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
