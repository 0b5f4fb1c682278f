# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which part of a site's recordings trains, which chooses, which measures.

What is divided are scenes, never frames: two frames of one container show the
same things.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from robollm_core.errors import ConfigError, DatasetError

SPLITS = ("train", "val", "test")
DIVIDE_BY = ("container", "item")


def check_shares(val_share: float, test_share: float) -> None:
    """Refuse shares that leave nothing to train, unless everything is to measure.

    Raises:
        ConfigError: If val has nothing, one is negative, or train has less than a tenth;
            val 0 and test 1 are allowed.
    """
    if (val_share, test_share) == (0.0, 1.0):
        return
    if not (val_share > 0.0 and test_share >= 0.0 and val_share + test_share <= 0.9):
        raise ConfigError(
            "--val-share must be above 0, --test-share at least 0, and both together at most "
            f"0.9, or 0 and 1 to put everything into test; got {val_share} and {test_share}."
        )


def divide(
    scenes: Mapping[str, Sequence[str]], by: str, shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Give each scene to a split.

    Args:
        scenes: name of a scene to the item ids of its samples.
        by: "container", each scene alone: an item may be in several splits, as
            in a site where the same goods come back; or "item", scenes that
            share an item together, so that no item is in two splits.
        shares: split to its share of the samples; a split of share 0 gets none, and
            where test has all of it, train does.
        seed: of the draw.

    Returns:
        Scene to split. A split stops taking scenes when it has its share; train
        has the rest; each split with a share gets at least one.

    Raises:
        DatasetError: If there are fewer scenes, or groups, than splits.
    """
    if shares["test"] == 1.0:
        return dict.fromkeys(scenes, "test")
    groups = _groups(scenes) if by == "item" else [[name] for name in sorted(scenes)]
    parts = [name for name in SPLITS[1:] if shares[name] > 0]
    if len(groups) <= len(parts):
        what = "groups of scenes without a common item" if by == "item" else "containers"
        raise DatasetError(
            f"{1 + len(parts)} splits need as many {what}, the recordings have {len(groups)}. "
            "Record more, "
            + ("use --split-by container, " if by == "item" else "")
            + "or leave the test split out with --test-share 0."
        )
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    weights = [max(1, sum(len(scenes[name]) for name in group)) for group in order]
    chosen: dict[str, str] = {}
    at = 0
    for turn, part in enumerate(parts):
        kept = len(parts) - turn  # one for each split that comes after, train included
        taken = 0
        while taken == 0 or (
            taken + weights[at] / 2 < shares[part] * sum(weights) and at < len(order) - kept
        ):
            chosen |= dict.fromkeys(order[at], part)
            taken += weights[at]
            at += 1
    return chosen | {name: "train" for group in order[at:] for name in group}


def _groups(scenes: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Scenes that are linked by common items, directly or through others."""
    group = {name: {name} for name in sorted(scenes)}
    owner: dict[str, str] = {}
    for name in group:
        for item in scenes[name]:
            first = owner.setdefault(item, name)
            if group[first] is not group[name]:
                merged = group[first] | group[name]
                group |= dict.fromkeys(merged, merged)
    return [list(names) for names in sorted({tuple(sorted(m)) for m in group.values()})]
