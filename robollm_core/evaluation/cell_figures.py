# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a whole cell.

Instances of one frame share its light, its heap and its manifest, so they are not
independent: the figures carry intervals that draw whole frames anew. Wilson's over
instances stand beside them, for comparison; they are too narrow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robollm_core.evaluation.cell import MIN_IOU
from robollm_core.evaluation.cell_verdicts import NONE, FrameVerdicts, Verdict
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.intervals import grouped_mean, grouped_proportion, proportion
from robollm_core.evaluation.latency import STAGES, percentiles
from robollm_core.types import DEFECT_LABELS

_NOMINAL = "nominal"

Trial = Callable[[Verdict], bool | None]
"""Whether a thing is a hit; None where it is no trial."""


def _named(hit: Callable[[Verdict], bool]) -> Trial:
    return lambda v: hit(v) if v.found and v.on_manifest else None


def _inspected(hit: Callable[[Verdict], bool], truth: Callable[[str], bool] = bool) -> Trial:
    return lambda v: hit(v) if v.found and v.defect_truth and truth(v.defect_truth) else None


RATES: Mapping[str, tuple[Trial, str]] = {
    "all_right": (
        lambda v: v.all_right,
        "found, right item (none of these, where it is not on the manifest) and right defect "
        "verdict / all instances",
    ),
    "found": (lambda v: v.found, "found / all instances"),
    "found_and_named": (lambda v: v.item_right, "found and right item / all instances"),
    "named_right": (
        _named(lambda v: v.named == v.item),
        "right item / instances found whose item is on the manifest",
    ),
    "named_wrong": (
        _named(lambda v: v.named not in (NONE, v.item)),
        "another item of the manifest / the same",
    ),
    "named_none": (_named(lambda v: v.named == NONE), "none of these / the same"),
    "none_of_these": (
        lambda v: v.named == NONE if v.found and v.on_manifest is False else None,
        "none of these / instances found whose item is not on the manifest",
    ),
    "defect_right": (
        _inspected(lambda v: v.defect == v.defect_truth),
        "right one of three verdicts / instances found",
    ),
    "defect_recall": (
        _inspected(lambda v: v.defect != _NOMINAL, lambda truth: truth != _NOMINAL),
        "flagged / defective instances found",
    ),
    "defect_fpr": (
        _inspected(lambda v: v.defect != _NOMINAL, lambda truth: truth == _NOMINAL),
        "flagged / sound instances found",
    ),
}
"""Name to what counts, and to the same in words."""


def figures_of(frames: Sequence[FrameVerdicts], seed: int) -> dict[str, Any]:
    """All figures but the protocol.

    Args:
        frames: those that were answered, at least one.
        seed: of the bootstrap.

    Returns:
        The rates of `RATES` and "false_instances_per_frame", with intervals over
        frames; in "over_instances" the rates with Wilson's; those without a trial
        are left out; "counts", "confusion" of
        the defect verdicts, "manifest_items" and "latency_ms".
    """
    verdicts = [verdict for frame in frames for verdict in frame.verdicts]
    false = [frame.false for frame in frames if frame.false is not None]
    rates = {name: _rate(trial, verdicts, seed) for name, (trial, _) in RATES.items()}
    # a rate of no trials would be read as 0
    rates = {name: both for name, both in rates.items() if both[0]["n"]}
    figures: dict[str, Any] = {name: over_frames for name, (over_frames, _) in rates.items()}
    if false:
        figures["false_instances_per_frame"] = grouped_mean(false, seed=seed)
    return {
        **figures,
        "over_instances": {name: over_instances for name, (_, over_instances) in rates.items()},
        "counts": _counts(frames, verdicts),
        "confusion": _confusion(verdicts),
        "manifest_items": _spread([frame.items for frame in frames if frame.items is not None]),
        "latency_ms": latency(frames),
    }


def _rate(trial: Trial, verdicts: Sequence[Verdict], seed: int) -> tuple[Figure, Figure]:
    trials = [(hit, v.frame) for v in verdicts for hit in (trial(v),) if hit is not None]
    hits, groups = [hit for hit, _ in trials], [frame for _, frame in trials]
    return grouped_proportion(hits, groups, seed=seed), proportion(hits)


def _counts(frames: Sequence[FrameVerdicts], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How many there are of everything, and what became of the things."""
    return {
        "frames": len(frames),
        "frames_fully_labelled": sum(frame.false is not None for frame in frames),
        "answers": sum(frame.answers for frame in frames),
        "instances": len(verdicts),
        "on_manifest": _fate([v for v in verdicts if v.on_manifest]),
        "off_manifest": _fate([v for v in verdicts if v.on_manifest is False]),
        "without_manifest_or_item": _fate([v for v in verdicts if v.on_manifest is None]),
    }


def _fate(verdicts: Sequence[Verdict]) -> dict[str, int]:
    found = [v for v in verdicts if v.found]
    none = sum(v.named == NONE for v in found)
    right = sum(v.named == v.item and v.on_manifest is True for v in found)
    return {
        "instances": len(verdicts),
        "not_found": len(verdicts) - len(found),
        "named_right": right,
        "named_wrong": len(found) - none - right,
        "none_of_these": none,
    }


def _confusion(verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """True to said defect to instances found."""
    return {
        truth: {
            said: sum(v.defect_truth == truth and v.defect == said for v in verdicts)
            for said in DEFECT_LABELS
        }
        for truth in DEFECT_LABELS
    }


def _spread(values: Sequence[int]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "min": min(values),
        "mean": round(sum(values) / len(values), 3),
        "max": max(values),
    }


def latency(frames: Sequence[FrameVerdicts]) -> dict[str, dict[str, float]]:
    """Percentiles of every stage, milliseconds."""
    return {
        stage: {
            name: round(value, 3)
            for name, value in percentiles([f.stage_secs[stage] * 1e3 for f in frames]).items()
        }
        for stage in STAGES
    }


def protocol_of(source: str, threshold: float, seed: int) -> dict[str, Any]:
    """What the figures are, in words.

    Args:
        source: who says what the frames show.
        threshold: of the defect stage.
        seed: of the bootstrap.
    """
    return {
        "truth": source,
        "found": f"an instance overlaps it with an IoU of at least {MIN_IOU} (of masks; of boxes "
        "where the truth is a box, as in pick events), one instance a thing, the best first",
        "rates": {name: words for name, (_, words) in RATES.items()},
        "gallery": "the items that the manifest in force still holds (quantity above 0)",
        "class_set": list(DEFECT_LABELS),
        "defect_threshold": threshold,
        "thresholds": "those of the configuration; none was taken from this bag",
        "false_instances_per_frame": "instances that cover no thing, of frames in which "
        "everything is labelled",
        "intervals": "95 %: percentiles of 1000 bootstrap draws of whole frames, because the "
        "instances of a frame are not independent; in over_instances Wilson's as if they were, "
        "which is too narrow. Frames that show one heap again resemble each other as well, which "
        "no interval here takes into account",
        "left_out": "frames that cannot be decoded are listed and left out, not counted as missed",
        "latency": "wall time on the machine that ran this, its references embedded before; a "
        "fact about that machine, not a figure to compare",
        "seed": seed,
    }
