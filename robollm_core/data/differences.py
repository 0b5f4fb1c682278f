# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What two bags of answers to the same frames say differently, beyond tolerances."""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from robollm_core.data.seen import Answers, Moment, Ranked, Seen, scores_of
from robollm_core.errors import BagError

PARTS = ("defects", "masks", "picks")
"""What a bag may lack, and a comparison leave out."""
SAME_THING = 0.5
"""Two boxes of at least this overlap (IoU) are taken for the same instance."""


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What counts as equal.

    Attributes:
        box_px: an edge of a box may be off by this, pixels.
        score: a score may be off by this; of scores above 1 by this share.
        mask_iou: overlap that the masks of an instance must reach.
        margin: of two candidates whose scores are closer than this either may lead.
    """

    box_px: float = 0.5
    score: float = 1e-3
    mask_iou: float = 0.99
    margin: float = 2e-3


@dataclass(frozen=True, slots=True)
class Change:
    """One difference beyond the tolerances.

    Attributes:
        where: the frame or the pick event.
        what: "missing frame", "extra frame", "missing instance", "extra instance",
            "box", "score", "mask", "class", "name", "verdict", "probability",
            "missing pick", "extra pick", "pick answer", "pick score", "pick state", or
            "missing topic" and "extra topic" for what one bag does not hold at all.
        detail: one line.
    """

    where: str
    what: str
    detail: str


@dataclass(slots=True)
class Comparison:
    """What came of it.

    Attributes:
        frames: (of A, of B, of both).
        changes: in the order of A.
        ties: instances whose two best candidates changed places within the margin.
        largest: "box_px" and "score", the largest difference seen; "mask_iou", the
            smallest overlap.
        ignored: what was not compared, as asked.
    """

    frames: tuple[int, int, int] = (0, 0, 0)
    changes: list[Change] = field(default_factory=list)
    ties: int = 0
    largest: dict[str, float] = field(
        default_factory=lambda: {"box_px": 0.0, "score": 0.0, "mask_iou": 1.0}
    )
    ignored: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many changes of each kind."""
        kinds: dict[str, int] = {}
        for change in self.changes:
            kinds[change.what] = kinds.get(change.what, 0) + 1
        return kinds

    def tree(self) -> dict[str, Any]:
        """As JSON."""
        names = ("a", "b", "both")
        return {
            "equal": not self.changes,
            "frames": dict(zip(names, self.frames, strict=True)),
            "counts": self.counts(),
            "ties": self.ties,
            "largest": self.largest,
            "ignored": list(self.ignored),
            "changes": [asdict(change) for change in self.changes],
        }


def compare(
    a: Answers, b: Answers, tolerances: Tolerances, ignored: Collection[str] = ()
) -> Comparison:
    """Hold the answers of B against those of A.

    Args:
        a: what is expected.
        b: what came.
        tolerances: what counts as equal.
        ignored: of `PARTS`, what is not compared.

    Raises:
        BagError: If neither bag answers a frame, so that there is nothing to compare.
    """
    if not a.frames and not b.frames:
        raise BagError(f"neither {a.path} nor {b.path} answers a frame: nothing to compare.")
    return _Comparer(a, b, tolerances, frozenset(ignored)).result()


class _Comparer:
    """Two bags side by side."""

    def __init__(
        self, a: Answers, b: Answers, tolerances: Tolerances, ignored: frozenset[str]
    ) -> None:
        self._a, self._b, self._allowed = a, b, tolerances
        self._both = (a.has & b.has) - ignored
        self._classes = a.classes | b.classes
        self._found = Comparison(ignored=tuple(sorted(ignored)))
        for name in sorted((a.has ^ b.has) - ignored):
            what, bag = ("missing", a) if name in a.has else ("extra", b)
            self._add(name, f"{what} topic", f"only {bag.path} has {name}")

    def result(self) -> Comparison:
        a, b = self._a.frames, self._b.frames
        self._found.frames = (len(a), len(b), len(a.keys() & b.keys()))
        for bag, other in ((self._a, self._b), (self._b, self._a)):
            for moment in dict.fromkeys(bag.again):
                # one of the two answers could not be compared
                self._add(str(moment), "extra frame", f"answered again in {bag.path}")
            missing = bag is self._a
            for moment in bag.frames:
                if moment not in other.frames:
                    what = "missing frame" if missing else "extra frame"
                    self._add(str(moment), what, f"only in {bag.path}")
        for moment, seen in a.items():
            if moment in b:
                self._frame(moment, seen, b[moment])
        if "picks" in self._both:
            self._picks()
        return self._found

    def _add(self, where: str, what: str, detail: str) -> None:
        self._found.changes.append(Change(where, what, detail))

    def _frame(self, moment: Moment, a: Seen, b: Seen) -> None:
        pairs = list(_pairs(a, b))
        for label, seen, taken in (
            ("missing instance", a, {i for i, _ in pairs}),
            ("extra instance", b, {j for _, j in pairs}),
        ):
            for index in range(len(seen.boxes)):
                if index not in taken:
                    box = seen.boxes[index].tolist()
                    self._add(str(moment), label, f"{_first(seen.said[index])} at {box}")
        for i, j in pairs:
            where = f"{moment}, instance {i}"
            self._box(where, a.boxes[i], b.boxes[j])
            self._identity(where, a.said[i], b.said[j])
            if "defects" in self._both:
                self._verdict(where, a.verdicts[i : i + 1], b.verdicts[j : j + 1])
        if "masks" in self._both:
            self._masks(moment, a, b, pairs)

    def _box(self, where: str, a: Any, b: Any) -> None:
        off = float(np.abs(a - b).max())
        self._found.largest["box_px"] = max(self._found.largest["box_px"], off)
        if off > self._allowed.box_px:
            self._add(where, "box", f"{a.tolist()} became {b.tolist()}, {off:g} px off")

    def _identity(self, where: str, a: Ranked, b: Ranked) -> None:
        (name_a, class_a, ranks_a), (name_b, class_b, ranks_b) = map(self._parts, (a, b))
        if class_a != class_b:
            self._add(where, "class", f"{class_a!r} became {class_b!r}")
        if name_a != name_b:
            lead = min(_lead(ranks_a), _lead(ranks_b))
            if name_a and name_b and lead < self._allowed.margin:
                self._found.ties += 1
            else:
                self._add(where, "name", f"{name_a or 'none'} became {name_b or 'none'}")
        self._scores(where, "score", a, b)

    def _parts(self, said: Ranked) -> tuple[str, str, Ranked]:
        """Item accepted or "", class of the instance, candidates; as the node sends them."""
        if not said:
            return "", "", ()
        if said[0][0] in self._classes:
            return "", said[0][0], said[1:]
        return said[0][0], said[-1][0], said[:-1]

    def _verdict(self, where: str, a: tuple[Ranked, ...], b: tuple[Ranked, ...]) -> None:
        if len(a) != len(b):
            self._add(where, "verdict", "only one of the bags has its verdict")
            return
        for one, other in zip(a, b, strict=True):
            # never a tie: where the threshold lies, the bag does not say
            if _first(one) != _first(other):
                self._add(where, "verdict", f"{_first(one)} became {_first(other)}")
            self._scores(where, "probability", one, other)

    def _scores(self, where: str, what: str, a: Ranked, b: Ranked) -> None:
        left, right = scores_of(a), scores_of(b)
        for name in (name for name in left if name in right):
            off = abs(left[name] - right[name]) / max(1.0, abs(left[name]))
            self._found.largest["score"] = max(self._found.largest["score"], off)
            # written so that a score that is not a number is a change
            if not off <= self._allowed.score:
                self._add(where, what, f"{name}: {left[name]:.6g} became {right[name]:.6g}")

    def _masks(self, moment: Moment, a: Seen, b: Seen, pairs: list[tuple[int, int]]) -> None:
        if a.labels is None or b.labels is None or a.size != b.size:
            self._add(str(moment), "mask", f"label image of {a.size} became {b.size}")
            return
        left, right = a.label_image(), b.label_image()
        for i, j in pairs:
            one, other = left == i + 1, right == j + 1
            union = int(np.count_nonzero(one | other))
            iou = int(np.count_nonzero(one & other)) / union if union else 1.0
            self._found.largest["mask_iou"] = min(self._found.largest["mask_iou"], iou)
            if iou < self._allowed.mask_iou:
                self._add(f"{moment}, instance {i}", "mask", f"the masks overlap by {iou:.4f}")

    def _picks(self) -> None:
        a, b = self._a.picks, self._b.picks
        for key in dict.fromkeys((*a, *b)):
            where = f"pick event {key[0]}, {key[1]} {key[2]}"
            if key not in b or key not in a:
                what = "missing pick" if key not in b else "extra pick"
                self._add(where, what, "answered in one bag only")
                continue
            if [_first(said) for said in a[key]] != [_first(said) for said in b[key]]:
                told = [", ".join(map(_first, said[key])) for said in (a, b)]
                self._add(where, "pick answer", f"{told[0]} became {told[1]}")
            for one, other in zip(a[key], b[key], strict=False):
                self._scores(where, "pick score", one, other)
        for event in dict.fromkeys((*self._a.states, *self._b.states)):
            states = [bag.states.get(event, "no answer") for bag in (self._a, self._b)]
            if states[0] != states[1]:
                self._add(f"pick event {event}", "pick state", " became ".join(states))


def _first(said: Ranked) -> str:
    return said[0][0] if said else "nothing"


def _lead(ranks: Ranked) -> float:
    return ranks[0][1] - ranks[1][1] if len(ranks) > 1 else float("inf")


def _pairs(a: Seen, b: Seen) -> Iterator[tuple[int, int]]:
    """The same instances in both, best overlap first; equal scores may have swapped places."""
    overlaps = _iou(a, b)
    left, right = np.nonzero(overlaps >= SAME_THING)
    order = np.lexsort((np.abs(left - right), -overlaps[left, right]))
    used_a, used_b = set[int](), set[int]()
    for i, j in zip(left[order].tolist(), right[order].tolist(), strict=True):
        if i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            yield i, j


def _iou(a: Seen, b: Seen) -> Any:
    one, other = a.boxes[:, None], b.boxes[None]
    edges = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.prod(np.clip(edges, 0, None), axis=-1)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (one, other)]
    whole = areas[0] + areas[1] - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
