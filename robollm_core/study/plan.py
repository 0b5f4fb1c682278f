# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which runs a study is made of: arms (what is compared) x conditions x seeds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from robollm_core.errors import ConfigError

CLEAN = "clean"

SMALL: Mapping[str, Any] = {
    "steps": 90,
    "optimizer": "muon",
    "rate": 8e-4,
    "warmup": 0.05,
    "floor": 0.02,
    "ema": 0.98,
    "precision": "bf16",
    "device": "cpu",
    "threads": 1,
    "workers": 1,
    "validate_every": 1.0,
    "save_minutes": 1e6,
    "tensorboard": False,
    "encoder": "tiny",
    "image_px": 64,
    "cache_px": 76,
    "crop_mode": "pad",
    "crop_blank": True,
    "crop_margin": 0.05,
}
"""What all runs share: crops of 64 px and one thread, so that a run takes about half a minute.

They are judged once, at the end: there is no best checkpoint that could have been chosen.
"""

PICKS: Mapping[str, Any] = {
    "batch_items": 16,
    "group": 4,
    "references": 1,
    "disguise": 0.0,  # a disguised picture has no class, which two of the objectives need
    "val_picks": 400,
    "cluster_times": 1,  # each time looks at all pictures, which costs as much as the steps
}
CROPS: Mapping[str, Any] = {"batch": 64, "val_images": 400, "disguise": 0.0}

OBJECTIVES = ("infonce", "infonce_rows", "lacvit", "clce", "scl_rhe", "triplet", "cluster")
NOISE = (0.05, 0.1, 0.2)
SHARES = (1.0, 0.8, 0.5, 0.2)
ADAPTERS = {"full": "", "head": "head", "multiway": "multiway", "lora": "lora"}
PRETEXTS = ("random", "masked", "views", "distil")


@dataclass(frozen=True, slots=True)
class Run:
    """One training of a study.

    Attributes:
        arm: what is compared.
        condition: under which circumstances.
        seed: of the run; arms of one seed share data, first weights and random
            numbers. The look-alikes in a batch follow what each network has learned.
        recipe: keys of the identification recipe.
        pretext: keys of the encoder recipe of the run before it; empty for none.
    """

    arm: str
    condition: str
    seed: int
    recipe: Mapping[str, Any]
    pretext: Mapping[str, Any] = field(default_factory=dict)

    def key(self, *sources: str) -> str:
        """Name of the run: a hash of its recipes and of what they read.

        Args:
            sources: fingerprints of the data and of the weights it starts from.
        """
        text = json.dumps([dict(self.recipe), dict(self.pretext), *sources], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Study:
    """A comparison.

    Attributes:
        name: of the verb's argument and of the page.
        question: what it asks, one sentence.
        arms: in the order of the tables; the first is the one the others are compared with.
        conditions: in the order of the tables.
        runs: all of them.
        timed: whether time and memory are compared too, which forbids runs side by side.
        rivals: two arms, neither the first, that are compared with each other too.
        keeps: whether the networks of clean runs are kept, to look at their embeddings.
    """

    name: str
    question: str
    arms: tuple[str, ...]
    conditions: tuple[str, ...]
    runs: tuple[Run, ...]
    timed: bool = False
    keeps: bool = False
    rivals: tuple[str, ...] = ()


def build_study(
    name: str, *, seeds: int, init: str, changes: Mapping[str, Any], quick: bool = False
) -> Study:
    """Plan a study.

    Args:
        name: a key of `STUDIES`.
        seeds: runs of every arm under every condition, with the seeds 0, 1, ...
        init: checkpoint that all runs start from, "" for random weights.
        changes: recipe keys that differ from `SMALL` and `PICKS`, in all runs.
        quick: two arms, two conditions and few steps, to try the road.

    Raises:
        ConfigError: If there is no such study, or fewer than two seeds.
    """
    if name not in STUDIES:
        raise ConfigError(f"no study {name!r}; there are {', '.join(STUDIES)}.")
    if seeds < 2:
        raise ConfigError(f"an interval needs at least 2 seeds, got {seeds}.")
    if quick:
        changes = {"steps": 6, "val_picks": 40, "batch_items": 8, **changes}
    base = {**SMALL, **PICKS, "init": init, **changes}
    study = STUDIES[name](base, range(2 if quick else seeds))
    return _shortened(study) if quick else study


def _shortened(study: Study) -> Study:
    arms, conditions = study.arms[:2], study.conditions[:2]
    runs = tuple(r for r in study.runs if r.arm in arms and r.condition in conditions)
    rivals = study.rivals if set(study.rivals) <= set(arms) else ()
    return replace(study, arms=arms, conditions=conditions, runs=runs, rivals=rivals)


def _objectives(base: Mapping[str, Any], seeds: Sequence[int]) -> Study:
    conditions: dict[str, dict[str, Any]] = {CLEAN: {}}
    for kind in ("uniform", "lookalike"):
        for chance in NOISE:
            conditions[f"{kind} {chance:.0%}"] = {
                "label_noise": chance,
                "label_noise_kind": kind,
            }
    arms = {name: {"objective": name} for name in OBJECTIVES}
    return Study(
        "objectives",
        "Which objective identifies best, and how does each bear wrong labels?",
        tuple(arms),
        tuple(conditions),
        _cross(base, arms, conditions, seeds),
        keeps=True,
    )


def _maps(base: Mapping[str, Any], seeds: Sequence[int]) -> Study:
    arms = {name: {"objective": name} for name in OBJECTIVES}
    return Study(
        "maps",
        "How does each objective lay out the items?",
        tuple(arms),
        (CLEAN,),
        _cross(base, arms, {CLEAN: {}}, seeds),
        keeps=True,
    )


def _share(base: Mapping[str, Any], seeds: Sequence[int]) -> Study:
    arms = {name: {"objective": name} for name in ("infonce", "lacvit")}
    conditions = {f"{share:.0%} items": {"train_share": share} for share in SHARES}
    return Study(
        "share",
        "What do more training items bring?",
        tuple(arms),
        tuple(conditions),
        _cross(base, arms, conditions, seeds),
    )


def _adapters(base: Mapping[str, Any], seeds: Sequence[int]) -> Study:
    arms = {name: {"adapter": kind} for name, kind in ADAPTERS.items()}
    return Study(
        "adapters",
        "What do adapters on a frozen encoder cost and save against full fine-tuning?",
        tuple(arms),
        (CLEAN,),
        _cross(base, arms, {CLEAN: {}}, seeds),
        timed=True,
    )


def _pretraining(base: Mapping[str, Any], seeds: Sequence[int]) -> Study:
    """Every arm starts from random weights, whatever the `init` of the other studies."""
    runs = []
    taken = {key: base[key] for key in SMALL if key in base}
    for arm in PRETEXTS:
        for seed in seeds:
            pretext = {} if arm == "random" else {**taken, **CROPS, "objective": arm, "seed": seed}
            if pretext:
                pretext["steps"] = 3 * int(base["steps"])
            runs.append(Run(arm, CLEAN, seed, {**base, "init": "", "seed": seed}, pretext))
    return Study(
        "pretraining",
        "Does generative or contrastive pre-training on unlabelled crops help more?",
        PRETEXTS,
        (CLEAN,),
        tuple(runs),
        rivals=("views", "masked"),
    )


def _cross(
    base: Mapping[str, Any],
    arms: Mapping[str, Mapping[str, Any]],
    conditions: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
) -> tuple[Run, ...]:
    """Seed by seed, so that a study that is broken off has whole seeds."""
    return tuple(
        Run(arm, condition, seed, {**base, **given, **circumstances, "seed": seed})
        for seed in seeds
        for condition, circumstances in conditions.items()
        for arm, given in arms.items()
    )


STUDIES = {
    "objectives": _objectives,
    "share": _share,
    "adapters": _adapters,
    "pretraining": _pretraining,
    "maps": _maps,
}
