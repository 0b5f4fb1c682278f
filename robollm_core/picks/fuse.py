# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One answer out of the views of a pick.

Identity: the mean, item by item, of what the views score. It takes any number of
views in any order, which the fusion network, trained on three fixed ones, does not,
and it is the best of what was tried. Recall at 1 on the simulator's test set (923
picks, manifests of 16 to 20, views PickRGB + OnArmLow + ToteWall, the item cut out by
its annotation): one view 0.81 / 0.84 / 0.78; their mean score 0.887, the mean of shares
0.886, of embeddings 0.875, the best view alone 0.850, the fusion network 0.869. With
two views the mean score leads as well. With instances as the tiny segmenter finds them (200
picks) the two views of the held item reach 0.765, and joined by the one before the grasp, which
alone reaches 0.53 on these close-ups, 0.795.

Shares are shy: at the learned temperature, and with three views, the mean share of the answer is
0.70 where 0.89 are right. They rank answers; they are no rate.

Defects: a view that sees a defect is believed, for the others may not show that
side; the class probabilities are the mean over the views that flag one, or over all
when none does. The views of a post_pick speak alone here: that two items hang on
the gripper is no fact of the tote, where every item touches another. A verdict is as good
as the outline: on 300 held views of the simulator's test set the tiny networks flag 0.57 of
the multi-picks and 0.08 of the sound picks when the outline is given, but 0.15 and 0.14 on
the central instance of the tiny segmenter, which has learned totes and takes one item of two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robollm_core.picks.look import WIDE, Scoring, ViewAnswer
from robollm_core.settings import IdentificationConfig
from robollm_core.types import DEFECT_LABELS, DefectReport

UNKNOWN = "unknown"
_NOMINAL = DEFECT_LABELS.index("nominal")


@dataclass(frozen=True, slots=True)
class PickIdentity:
    """Which item was picked.

    Attributes:
        item_id: the accepted answer, "" for unknown.
        candidates: (item_id, raw score, share) best first, at most
            identification.top_k; the raw score is a mean cosine, or a mean dot product
            of a network in released scoring; the shares of all compared items, a
            softmax at the learned temperature, sum to 1.
    """

    item_id: str = ""
    candidates: tuple[tuple[str, float, float], ...] = ()

    def hypotheses(self) -> tuple[tuple[str, float], ...]:
        """(class_id, score) with scores in [0, 1], the answer first.

        Unknown scores what the best candidate leaves, 0 when nothing was compared.
        """
        known = tuple((item_id, share) for item_id, _, share in self.candidates)
        if self.item_id:
            return known
        left = 1.0 - known[0][1] if known else 0.0
        return ((UNKNOWN, left), *known)


def fuse_identity(
    own: Sequence[ViewAnswer],
    before: Sequence[ViewAnswer],
    config: IdentificationConfig,
    scoring: Scoring,
) -> PickIdentity:
    """Put views together.

    Args:
        own: views of the event; those that show nothing do not count.
        before: views of the pre_pick of the same pick, which join those of a post_pick.
        config: thresholds, compared with the fused score as with that of one view.
        scoring: of the network.

    Returns:
        Unknown when no view of the event shows anything, when none was compared
        with an item, or when a threshold is not reached.
    """
    items = list(dict.fromkeys(name for view in own for name, _ in view.candidates))
    if not items:
        return PickIdentity()
    rows = [_Row.of(view) for view in (*own, *before) if view.candidates]
    means = np.array([_mean(name, rows) for name in items])
    order = np.argsort(-means, kind="stable")
    apart = np.exp(scoring.scale * (means - means.max()) / scoring.unit)
    shares = apart / apart.sum()
    candidates = tuple((items[i], float(means[i]), float(shares[i])) for i in order)
    lead = means[order[0]] - means[order[1]] if len(order) > 1 else np.inf
    accepted = (
        means[order[0]] / scoring.unit >= config.min_similarity
        and lead / scoring.unit >= config.min_margin
    )
    return PickIdentity(candidates[0][0] if accepted else "", candidates[: config.top_k])


@dataclass(frozen=True, slots=True)
class _Row:
    """What a view scores, and at most what it scores items that it does not list."""

    scores: dict[str, float]
    rest: float | None

    @classmethod
    def of(cls, view: ViewAnswer) -> "_Row":
        # a shorter list is whole: what it lacks was no candidate, and the view has no say on it
        whole = len(view.candidates) < WIDE
        return cls(dict(view.candidates), None if whole else view.candidates[-1][1])


def _mean(name: str, rows: Sequence[_Row]) -> float:
    found = [score for row in rows if (score := row.scores.get(name, row.rest)) is not None]
    return sum(found) / len(found)


def fuse_defects(views: Sequence[ViewAnswer]) -> DefectReport | None:
    """Put the verdicts of views together; None when no view shows anything."""
    reports = [view.defect for view in views if view.defect is not None]
    if not reports:
        return None
    flagged = [report for report in reports if report.label != DEFECT_LABELS[_NOMINAL]]
    rows = np.array([report.probabilities for report in flagged or reports], np.float64)
    multi_pick, nominal, package = rows.mean(axis=0).tolist()
    flaws = [multi_pick, -1.0, package]
    label = DEFECT_LABELS[int(np.argmax(flaws)) if flagged else _NOMINAL]
    return DefectReport((multi_pick, nominal, package), label, min(max(1.0 - nominal, 0.0), 1.0))


def defect_hypotheses(report: DefectReport | None) -> tuple[tuple[str, float], ...]:
    """(class_id, score): the verdict first, the others by falling probability."""
    if report is None:
        return ((UNKNOWN, 0.0),)
    pairs = list(zip(DEFECT_LABELS, report.probabilities, strict=True))
    return tuple(sorted(pairs, key=lambda pair: (pair[0] != report.label, -pair[1])))
