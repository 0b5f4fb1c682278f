# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the runtimes are held to, and whether they kept it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robollm_core.bench.machine import has_amx

CPU_RATIO = 3.0
"""The best CPU runtime over torch eager fp32: Base embedder, one crop."""
CPU_PEAK_FRACTION = 0.5
"""Of the bf16 peak: Base embedder, 8 crops."""
GPU_PEAK_FRACTION = 0.5
"""Of the fp16 peak: Base embedder, 64 crops."""
GPU_CROP_MS = 1.0
"""Base embedder, one crop, fp16."""
GPU_FRAME_MS = 15.0
"""Base segmenter at 1024 pixels."""
PUBLISHED = (
    "RoboLLM's paper gives 7.3 ms an image for its Base network on an RTX 3060: another card, "
    "so no comparison"
)

_Rows = Sequence[Mapping[str, Any]]
_TORCH = ("torch", "torch-compile")


@dataclass(frozen=True, slots=True)
class _Target:
    """What is judged: the best of some rows against a limit."""

    name: str
    limit: float
    highest: bool
    of: Mapping[str, Any]
    figure: Callable[[Mapping[str, Any]], float | None]


def _figure(key: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda row: row.get(key)


_EMBEDDER = {"size": "base", "stage": "embedder"}
CPU = (
    _Target(
        "times torch eager fp32, Base embedder, batch 1, best CPU runtime",
        CPU_RATIO,
        True,
        {**_EMBEDDER, "batch": 1},
        _figure("ratio_to_torch"),
    ),
    _Target(
        "share of the measured bf16 peak, Base embedder, batch 8",
        CPU_PEAK_FRACTION,
        True,
        {**_EMBEDDER, "batch": 8, "precision": "bf16"},
        _figure("peak_fraction"),
    ),
)
CUDA = (
    _Target(
        "share of the measured fp16 peak, Base embedder, batch 64",
        GPU_PEAK_FRACTION,
        True,
        {**_EMBEDDER, "batch": 64, "precision": "fp16"},
        _figure("peak_fraction"),
    ),
    _Target(
        "ms, Base embedder, batch 1, fp16",
        GPU_CROP_MS,
        False,
        {**_EMBEDDER, "batch": 1, "precision": "fp16"},
        _figure("ms"),
    ),
    _Target(
        "ms, Base segmenter at 1024x1024",
        GPU_FRAME_MS,
        False,
        {"size": "base", "stage": "segmenter", "batch": 1, "image_hw": [1024, 1024]},
        _figure("ms"),
    ),
)


def judge(rows: _Rows, machine: Mapping[str, Any], device: str) -> list[dict[str, Any]]:
    """Hold rows against the targets of a device.

    Args:
        rows: of `engines.measure`.
        machine: of `machine.facts`.
        device: "cpu" or "cuda".

    Returns:
        For each target "name", "limit", "value" (None when no row is about it),
        "by" (runtime and precision of the best), "kept" (True, False; None when not
        measured) and "binding": whether missing it is a failure, which is so on a
        CPU with AMX alone.
    """
    binding = device == "cpu" and has_amx(dict(machine))
    return [_judge(target, rows, binding) for target in (CPU if device == "cpu" else CUDA)]


def _judge(target: _Target, rows: _Rows, binding: bool) -> dict[str, Any]:
    mine = [
        (value, f"{row['runtime']} {row['precision']}")
        for row in rows
        if target.of.items() <= row.items() and row["runtime"] not in _TORCH
        if (value := target.figure(row)) is not None
    ]
    told = {"name": target.name, "limit": target.limit, "binding": binding}
    told["sense"] = "at least" if target.highest else "at most"
    if not mine:
        return {**told, "value": None, "by": "", "kept": None}
    value, name = max(mine) if target.highest else min(mine)
    kept = value >= target.limit if target.highest else value <= target.limit
    return {**told, "value": value, "by": name, "kept": kept}


def all_kept(targets: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no binding target was missed; one that was not measured is not missed."""
    return not any(target["binding"] and target["kept"] is False for target in targets)


def sentence(target: Mapping[str, Any]) -> str:
    """A target as a line of text."""
    says = {True: "kept", False: "not kept", None: "not measured"}[target["kept"]]
    value = "" if target["value"] is None else f", {target['value']:.3g} by {target['by']}"
    weight = "" if target["binding"] else " (does not bind on this machine)"
    return f"{target['name']}: {target['sense']} {target['limit']:g}{value}: {says}{weight}"
