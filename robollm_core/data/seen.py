# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The answers of a bag, of any node and any number of cameras, small enough to keep them all."""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.data import rostypes
from robollm_core.data.bag import find_topics, read_topics
from robollm_core.errors import BagError
from robollm_core.types import OBJECT_LABEL, UInt8Array

Ranked = tuple[tuple[str, float], ...]
"""(class_id, score), the answer first."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame: the name in its header and its stamp, in nanoseconds."""

    frame_id: str
    stamp_ns: int

    def __str__(self) -> str:
        """As it is printed."""
        return f"{self.frame_id} at {self.stamp_ns} ns"


@dataclass(slots=True, eq=False)
class Seen:
    """One answered frame.

    Attributes:
        boxes: (N, 4) float64, x0 y0 x1 y1 in pixels.
        said: what each instance is.
        verdicts: whether each is sound; empty when the bag does not say.
        labels: the label image, compressed; None when the bag does not hold it.
        size: (height, width) of the label image.
    """

    boxes: npt.NDArray[np.float64]
    said: tuple[Ranked, ...]
    verdicts: tuple[Ranked, ...] = ()
    labels: bytes | None = None
    size: tuple[int, int] = (0, 0)

    def label_image(self) -> UInt8Array:
        """The label image, (H, W) uint8: 0 is background, i + 1 is instance i."""
        assert self.labels is not None
        return np.frombuffer(zlib.decompress(self.labels), np.uint8).reshape(self.size)


@dataclass(slots=True, eq=False)
class Answers:
    """All answers of a bag.

    Attributes:
        path: the bag.
        frames: by moment, in the order they were recorded.
        again: frames that were answered twice; the last answer counts.
        classes: names that say what kind of thing an instance is, not which item.
        picks: answers to pick events by (event, topic, number of the answer).
        states: how each pick event ended.
        has: which of "defects", "masks", "picks" the bag holds.
    """

    path: Path
    frames: dict[Moment, Seen] = field(default_factory=dict)
    again: list[Moment] = field(default_factory=list)
    classes: frozenset[str] = frozenset({OBJECT_LABEL})
    picks: dict[tuple[str, str, int], tuple[Ranked, ...]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    has: frozenset[str] = frozenset()


def read_seen(path: Path, node: str = "") -> Answers:
    """Read all that a perception node said.

    Args:
        path: a bag of answers, of `robollm replay` or `recorder`.
        node: full name of the node, such as "/left/perception"; needed when the bag
            holds answers of several.

    Raises:
        BagError: If the bag cannot be read, holds no answers, or those of several
            nodes and none is named.
    """
    try:
        return _read(path, node)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BagError(f"{path} holds no answers of a perception node: {error!r}.") from error


def _read(path: Path, node: str) -> Answers:
    own = _node(path, node)
    answers = Answers(path)
    masks: dict[Moment, tuple[bytes, tuple[int, int]]] = {}
    verdicts: dict[Moment, tuple[Ranked, ...]] = {}
    topics = {
        f"{own}/detections": rostypes.DETECTIONS,
        f"{own}/defects": rostypes.DETECTIONS,
        f"{own}/masks": rostypes.IMAGE,
        f"{own}/label_info": rostypes.LABEL_INFO,
    }
    kinds = set()
    for topic, _, message in read_topics(path, topics):
        kind = topic.rpartition("/")[2]
        kinds.add(kind)
        if kind == "label_info":
            answers.classes |= {each.class_name for each in message.class_map}
            continue
        moment = Moment(str(message.header.frame_id), rostypes.stamp_ns(message))
        if kind == "masks":
            masks[moment] = _packed(message)
        elif kind == "defects":
            verdicts[moment] = _ranked(message)
        else:
            answers.again += [moment] if moment in answers.frames else []
            answers.frames[moment] = Seen(_boxes(message), _ranked(message))
    for moment, seen in answers.frames.items():
        seen.verdicts = verdicts.get(moment, ())
        seen.labels, seen.size = masks.get(moment, (None, (0, 0)))
    _read_picks(answers)
    found = {name for name in ("defects", "masks") if name in kinds}
    answers.has = frozenset(found | ({"picks"} if answers.picks or answers.states else set()))
    return answers


def _node(path: Path, node: str) -> str:
    found = find_topics(path, "detections", rostypes.DETECTIONS)
    names = [topic.rpartition("/")[0] for topic in found]
    if node:
        names = [name for name in names if name == f"/{node.strip('/')}"]
    if len(names) == 1:
        return names[0]
    if names:
        raise BagError(
            f"{path} holds answers of several nodes: {', '.join(names)}. Choose one with --node."
        )
    what = f"of {node} " if node else ""
    raise BagError(f"{path} holds no answers {what}(no topic .../detections). Is it an input bag?")


def _read_picks(answers: Answers) -> None:
    path, counted = answers.path, dict[tuple[str, str], int]()
    topics = {
        topic: rostypes.DETECTIONS
        for ending in ("pick/identity", "pick/defects")
        for topic in find_topics(path, ending, rostypes.DETECTIONS)
    }
    for topic, _, message in read_topics(path, topics):
        key = (str(message.header.frame_id), topic.rpartition("/")[2])
        number = counted[key] = counted.get(key, 0) + 1
        answers.picks[key[0], key[1], number] = _ranked(message)
    statuses = find_topics(path, "pick/status", rostypes.STRING)
    for _, _, message in read_topics(path, dict.fromkeys(statuses, rostypes.STRING)):
        tree = json.loads(message.data)
        if tree.get("final", True):
            answers.states[str(tree["event_id"])] = str(tree["state"])


def _packed(message: Any) -> tuple[bytes, tuple[int, int]]:
    height, width = int(message.height), int(message.width)
    rows = np.asarray(message.data, np.uint8).reshape(height, message.step)[:, :width]
    # label images are almost all of a bag, and shrink to a hundredth
    return zlib.compress(np.ascontiguousarray(rows).tobytes(), 1), (height, width)


def _boxes(message: Any) -> npt.NDArray[np.float64]:
    boxes = [list(_edges(each.bbox)) for each in message.detections]
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _edges(box: Any) -> Iterator[float]:
    x, y = box.center.position.x, box.center.position.y
    yield from (x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2, y + box.size_y / 2)


def _ranked(message: Any) -> tuple[Ranked, ...]:
    return tuple(
        tuple((str(h.hypothesis.class_id), float(h.hypothesis.score)) for h in each.results)
        for each in message.detections
    )


def scores_of(ranked: Ranked) -> Mapping[str, float]:
    """The score of each name; of a name that is twice the first."""
    return dict(reversed(ranked))
