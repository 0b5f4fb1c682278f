# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: everything that decides a training run, as one flat, checked table."""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from robollm_core.beit3.adapters import AdapterShape
from robollm_core.errors import ConfigError
from robollm_core.images import CropSpec

GATE_KEYS = ("gate_fp16", "gate_bf16", "gate_int8", "gate_drop")
"""Recipe keys that the export reads, see `GateRecipe`."""


@dataclass(frozen=True)
class LoopRecipe:
    """What every run of `training.loop` needs.

    Attributes:
        seed: all random choices follow from it and the step number.
        steps: optimiser steps of a run without a time budget.
        epochs: draws of as many samples as there are, instead of steps; 0 for steps.
        accumulate: batches whose gradients make one step, in the mean.
        patience: stop after so many validations without gain; 0 never stops early.
        optimizer: "adamw", or "muon" for the matrices of the blocks.
        rate: peak learning rate.
        warmup: fraction of the run with a rising rate.
        floor: final rate as a fraction of the peak.
        weight_decay: of matrices.
        layer_decay: rate factor from one block to the block below it.
        clip: largest gradient norm.
        ema: decay of the running mean of the weights, which is what ships.
        precision: "fp32", "bf16" (autocast to bfloat16), or "auto", which is bf16
            where the hardware has it.
        activation_checkpointing: compute the activations of the encoder's blocks
            once more in the backward pass instead of keeping them.
        tensorboard: write the log for TensorBoard too, beside log.csv.
        device: "cpu" or "cuda".
        threads: torch threads, 0 leaves torch's choice.
        validate_every: fraction of the run between two validations.
        save_minutes: minutes between two checkpoints, besides those at validations.
    """

    seed: int = 0
    steps: int = 2000
    epochs: int = 0
    accumulate: int = 1
    patience: int = 0
    optimizer: str = "adamw"
    rate: float = 1e-3
    warmup: float = 0.05
    floor: float = 0.02
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "fp32"
    activation_checkpointing: bool = False
    tensorboard: bool = True
    device: str = "cpu"
    threads: int = 0
    validate_every: float = 0.1
    save_minutes: float = 3.0

    def __post_init__(self) -> None:
        """Refuse counts that no run can have.

        Raises:
            ConfigError: If one is out of range.
        """
        least = {"steps": 1, "epochs": 0, "accumulate": 1, "patience": 0}
        least |= {name: 0 for name in GATE_KEYS if hasattr(self, name)}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ConfigError(f"{name} must be at least {limit}, got {getattr(self, name)}.")
        if not 0.0 < self.validate_every <= 1.0:
            raise ConfigError(
                f"validate_every is a fraction of the run, in (0, 1], got {self.validate_every}."
            )


@dataclass(frozen=True)
class AdapterRecipe:
    """How a run of any stage adapts a frozen encoder.

    Attributes:
        adapter: "multiway" or "lora" trains adapters and heads on a frozen encoder,
            "head" the heads alone; "" trains everything.
        adapter_width: bottleneck of MultiWay-Adapter's New Knowledge Extractor.
        adapter_enhancer: bottleneck of its Alignment Enhancer, 0 for none.
        adapter_rank: rank of LoRA.
        adapter_alpha: factor of what an adapter of either kind adds.
    """

    adapter: str = ""
    adapter_width: int = 64
    adapter_enhancer: int = 128
    adapter_rank: int = 8
    adapter_alpha: float = 1.0

    def adapter_shape(self) -> AdapterShape:
        """Sizes of a MultiWay-Adapter.

        Raises:
            ConfigError: If one is out of range.
        """
        return AdapterShape(self.adapter_width, self.adapter_enhancer, self.adapter_alpha)


@dataclass(frozen=True)
class GateRecipe:
    """How near the shipped network has to stay in other precisions; training ignores it.

    Attributes:
        gate_fp16, gate_bf16, gate_int8: largest distance from fp32: the share of
            detections without a partner, 1 - cosine of an embedding, or the
            difference of a probability. 0 for that of the stage,
            `export.gate.DISTANCES`.
        gate_drop: largest loss of a metric, 0 for `export.gate.DROP`, one point.
    """

    gate_fp16: float = 0.0
    gate_bf16: float = 0.0
    gate_int8: float = 0.0
    gate_drop: float = 0.0


@dataclass(frozen=True)
class CropRecipe(LoopRecipe):
    """What the runs on cached crops share.

    Attributes:
        encoder: size of the BEiT-3 encoder: tiny, base or large.
        image_px: edge of the crops the network sees.
        drop_path: stochastic depth of the last block.
        cache_px: edge of the cached crops; larger, so that random crops lose nothing.
        crop_mode: "pad" keeps the aspect ratio, "squash" does not.
        crop_blank: grey out what is outside the mask.
        crop_margin: fraction of the longer box side added around the box.
        keep_patches: fraction of the patches a training step looks at.
        full_from: progress from which all patches are looked at.
        workers: threads that augment.
        init: checkpoint or artifact to start from, the encoder's of another stage
            or a whole network of the same; "" for a random start.
        strength: of the augmentation, 0 none to 1 full.
    """

    encoder: str = "tiny"
    image_px: int = 128
    drop_path: float = 0.0
    cache_px: int = 152
    crop_mode: str = "pad"
    crop_blank: bool = True
    crop_margin: float = 0.05
    keep_patches: float = 1.0
    full_from: float = 1.0
    workers: int = 1
    init: str = ""
    strength: float = 1.0

    def settings(self) -> dict[str, Any]:
        """The "model" branch that the exporter builds the network from."""
        return {"size": self.encoder, "img_size": self.image_px, "drop_path": self.drop_path}

    def crop_spec(self) -> CropSpec:
        """The crop the exported network wants; goes into its sidecar."""
        return self._spec(self.image_px)

    def cache_spec(self) -> CropSpec:
        """The same crop at the size of the cache."""
        return self._spec(self.cache_px)

    def _spec(self, size_px: int) -> CropSpec:
        return CropSpec(
            size_px=size_px, mode=self.crop_mode, blank=self.crop_blank, margin=self.crop_margin
        )


R = TypeVar("R", bound=LoopRecipe)


def build_recipe(kind: type[R], values: Mapping[str, Any]) -> R:
    """Check a mapping against the fields of a recipe.

    Args:
        kind: the recipe class.
        values: field name to value; missing fields take their default. A key
            "stage" is ignored here, the command line has looked at it.

    Returns:
        The recipe.

    Raises:
        ConfigError: If a key is unknown, or a value has the wrong type.
    """
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name == "stage":
            continue
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise ConfigError(f"unknown recipe key {name!r}.{hint} Known keys: {', '.join(known)}.")
        checked[name] = _typed(name, value, hints[name])
    return kind(**checked)


def _typed(name: str, value: Any, kind: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
        raise ConfigError(f"recipe key {name} must be a {kind.__name__}, got {value!r}.")
    return value


def recipe_values(recipe: LoopRecipe) -> dict[str, Any]:
    """The recipe as plain scalars, with the crop spec as the exporter reads it."""
    values = asdict(recipe)
    if isinstance(recipe, CropRecipe):
        values["crop"] = recipe.crop_spec().to_json()
        values["model"] = recipe.settings()
    # LoRA is folded into the weights that ship, so that network has no adapter
    if isinstance(recipe, AdapterRecipe) and recipe.adapter == "multiway":
        branch = values.get("model", {})
        values["model"] = {**branch, "adapter": recipe.adapter_shape().to_json()}
    return values


def load_recipe(path: Path, assignments: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a recipe file and apply `--set key=value` texts.

    Args:
        path: YAML file, one mapping.
        assignments: "key=value" or "a.b=value"; the value is read as YAML.

    Returns:
        The mapping, not checked against a recipe class yet.

    Raises:
        ConfigError: If the file or an assignment cannot be read.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {path} must be a mapping, got {type(values).__name__}.")
    for text in assignments:
        _assign(values, text)
    return values


def read_assignments(assignments: tuple[str, ...]) -> dict[str, Any]:
    """What `--set key=value` texts say, on their own.

    Raises:
        ConfigError: If one cannot be read.
    """
    values: dict[str, Any] = {}
    for text in assignments:
        _assign(values, text)
    return values


def _assign(values: dict[str, Any], text: str) -> None:
    name, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set takes key=value, got {text!r}.")
    *branches, leaf = name.strip().split(".")
    node = values
    for branch in branches:
        node = node.setdefault(branch, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {text}: {branch} is not a branch of the recipe.")
    try:
        node[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not YAML: {error}") from error
