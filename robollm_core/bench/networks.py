# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The networks that are timed: shipped ones, and larger ones with random weights.

The time of a run does not depend on what the weights are. A network that is not
shipped is built from its recipe, exported as `robollm export` does, and kept in
the cache, so that the next measurement starts at once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robollm_core import __version__
from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, ConfigError, DependencyError
from robollm_core.runtime.artifact import Sidecar, load_artifact, locate
from robollm_core.runtime.cache import Entry, cache_folder
from robollm_core.types import EngineSpec, Tensors, TensorSpec

if TYPE_CHECKING:  # a deploy install has neither
    import onnx
    from torch import nn

STAGES = {
    "segmenter": "segmentation",
    "embedder": "identification",
    "classifier": "defects",
}
"""Name of a network to the stage it serves."""
SIZES = ("tiny", "base", "large")
VARIANTS = ("fp16", "bf16", "int8")
"""Precisions that stand in files of their own, `x.fp16.onnx` beside `x.onnx`."""
SHIPPED = "models/tiny"
_BUILD_PATIENCE_S = 1800.0
_SOURCES = (
    "beit3/*.py segmentation/*.py identification/*.py defects/*.py export/onnx.py export/large.py"
).split()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which network.

    Attributes:
        stage: a value of `STAGES`.
        size: one of `SIZES`.
        image_hw: (height, width) in pixels of its input; None for the recipe's.
        models: folder of artifacts that are measured in place of the shipped ones.
        seed: of random weights and pictures.
    """

    stage: str
    size: str
    image_hw: tuple[int, int] | None = None
    models: Path | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A network in files.

    Attributes:
        choice: what was asked for.
        files: precision to artifact; "fp32" is always there.
        recipe: what its torch module is built from.
        spec: inputs and outputs.
        weights: "trained" or "random".
    """

    choice: Choice
    files: Mapping[str, Path]
    recipe: Mapping[str, Any]
    spec: EngineSpec
    weights: str

    @property
    def name(self) -> str:
        """Name of the network, a key of `STAGES`."""
        return next(name for name, stage in STAGES.items() if stage == self.choice.stage)

    @property
    def batch(self) -> int:
        """Images a run; -1 when it is free."""
        return self.spec.inputs[0].shape[0]

    def pictures(self, batch: int) -> Tensors:
        """Seeded noise of the form it takes.

        Args:
            batch: images a run.
        """
        (tensor,) = self.spec.inputs
        rng = np.random.default_rng([self.choice.seed, batch])
        shape = (batch, *tensor.shape[1:])
        return {tensor.name: rng.integers(0, 256, shape, dtype=np.uint8)}


def find_network(choice: Choice, config: RuntimeConfig) -> Network:
    """The artifact of a network, built when it is not there.

    Args:
        choice: which.
        config: says where the cache is.

    Raises:
        ArtifactError: If an artifact is missing or damaged.
        ConfigError: If its recipe does not fit the image.
        DependencyError: If it must be built and torch is not there.
    """
    if choice.models is not None or (choice.size == "tiny" and choice.image_hw is None):
        return _given(choice)
    recipe = _recipe(choice)
    file = _entry(choice, recipe, cache_folder(config)).path
    path = file.with_suffix("") / f"{choice.stage}.onnx"
    with _entry(choice, recipe, cache_folder(config)).lock(_BUILD_PATIENCE_S):
        try:
            _, sidecar = load_artifact(path)
        except ArtifactError:
            sidecar = _build(choice, recipe, path)
    return Network(choice, _variants(path), recipe, sidecar.spec, "random")


def _given(choice: Choice) -> Network:
    folder = choice.models or locate(SHIPPED)
    path, sidecar = load_artifact((folder / f"{choice.stage}.onnx").resolve())
    return Network(choice, _variants(path), sidecar.recipe, sidecar.spec, "trained")


def size_of(models: Path, stage: str) -> str:
    """The size of the encoder of an artifact, as its recipe says; "other" when it does not.

    Raises:
        ArtifactError: If the artifact is missing or damaged.
    """
    recipe = load_artifact((models / f"{stage}.onnx").resolve())[1].recipe
    size = str(recipe.get("encoder", "other"))
    return size if size in SIZES else "other"


def _variants(path: Path) -> dict[str, Path]:
    named = {kind: path.with_suffix(f".{kind}{path.suffix}") for kind in VARIANTS}
    return {"fp32": path} | {kind: file for kind, file in named.items() if file.is_file()}


def _entry(choice: Choice, recipe: Mapping[str, Any], cache: Path) -> Entry:
    facts: dict[str, str | int] = {
        "stage": choice.stage,
        "recipe": repr(sorted(recipe.items())),
        "seed": choice.seed,
        "version": __version__,
        "code": _code(),
    }
    return Entry(cache / "bench", facts, ".onnx")


def _code() -> str:
    """Digest of the modules that a graph comes from."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for pattern in _SOURCES:
        for file in sorted(root.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _recipe(choice: Choice) -> dict[str, Any]:
    """The recipe of a size, for the image asked for, as a checkpoint carries it."""
    _need_torch(choice)
    from robollm_core.training.defects import DefectRecipe
    from robollm_core.training.identification import IdentificationRecipe
    from robollm_core.training.recipe import build_recipe, load_recipe

    values = load_recipe(locate(f"config/recipes/{choice.stage}_{choice.size}.yaml"))
    if choice.stage == "segmentation":
        height, width = choice.image_hw or (values["input_height"], values["input_width"])
        return {**values, "input_height": height, "input_width": width}
    kinds = {"identification": IdentificationRecipe, "defects": DefectRecipe}
    model: dict[str, Any] = build_recipe(kinds[choice.stage], values).settings()
    if choice.image_hw is not None:
        height, width = choice.image_hw
        if height != width:
            raise ConfigError(
                f"the crops of {choice.stage} are square, got {height}x{width}. Give a square "
                "--image, or the stage segmenter alone."
            )
        model["img_size"] = height
    return {"model": model}


def _need_torch(choice: Choice) -> None:
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"a {choice.size} network of {choice.stage} is built here with random weights, which "
            f"needs the Python package {error.name!r}. Use the workshop's install (`make test` "
            "sets it up), or measure --size tiny or --models DIR."
        ) from error


def build_module(stage: str, recipe: Mapping[str, Any], seed: int) -> "nn.Module":
    """The module that is exported, with random weights.

    Args:
        stage: a value of `STAGES`.
        recipe: has "model" for the stages of crops; the detector's sizes otherwise.
        seed: of the weights.

    Raises:
        ConfigError: If the recipe does not fit.
        DependencyError: If torch or, for the detector, mmdetection is not there.
    """
    try:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _module(stage, recipe).eval()
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"building the network of {stage} needs the Python package {error.name!r}. Use the "
            "workshop's install (`make test` sets it up), or leave torch and this size out."
        ) from error


def _module(stage: str, recipe: Mapping[str, Any]) -> "nn.Module":
    if stage == "segmentation":
        from robollm_core.segmentation.deploy import DeployedDetector
        from robollm_core.segmentation.design import design_from
        from robollm_core.segmentation.detector import build_detector

        design = design_from(recipe)
        return DeployedDetector(build_detector(design), design)
    if "model" not in recipe:
        raise ConfigError(
            f"the recipe of this {stage} network does not say what to build. Leave torch out."
        )
    if stage == "defects":
        from robollm_core.defects.model import DefectGraph, build_defects

        return DefectGraph(build_defects(recipe["model"]))
    from robollm_core.identification.model import build_graph

    return build_graph(recipe["model"])


def _build(choice: Choice, recipe: Mapping[str, Any], path: Path) -> Sidecar:
    import onnx
    import torch

    from robollm_core.export.large import write_network
    from robollm_core.export.onnx import OPSET, PRECISION, GraphPlan, build_graph, round_weights
    from robollm_core.export.stages import PLANS

    print(f"building the {choice.size} network of {choice.stage} with random weights ...")
    module = build_module(choice.stage, recipe, choice.seed)
    plan = PLANS[choice.stage]
    if choice.stage == "segmentation":
        shape = (1, int(recipe["input_height"]), int(recipe["input_width"]), 3)
    else:
        edge = int(recipe["model"]["img_size"])
        shape = (2, edge, edge, 3)
    images = torch.zeros(shape, dtype=torch.uint8)
    network = build_graph(
        round_weights(module), GraphPlan({"images": images}, plan.outputs, plan.free_batch)
    )
    sidecar = Sidecar(
        stage=choice.stage,
        spec=spec_of(onnx.load_from_string(bytes(network))),
        precision=PRECISION,
        opset=OPSET,
        recipe={**recipe, "encoder": choice.size},
        rebuild=f"robollm bench engines --size {choice.size} --stage {choice.stage}",
    )
    return write_network(path, network, sidecar)


def derive(network: Network, precision: str) -> Path:
    """The artifact of a built network in another precision, made when it is not there.

    Nobody's answers depend on it, so it passes no gate.

    Args:
        network: with random weights.
        precision: one of `VARIANTS`.

    Raises:
        ArtifactError: If its weights are somebody's: `robollm export` derives those.
        RobollmError: If the tool fails or is not installed.
    """
    origin = network.files["fp32"]
    if network.weights != "random":
        raise ArtifactError(
            f"there is no {precision} artifact beside {origin.name}. Make one with `robollm export "
            f"runtimes --precision {precision}`, and name its folder with --models."
        )
    import onnx

    from robollm_core.export.large import write_network
    from robollm_core.export.precision import convert

    print(f"deriving the {network.choice.size} {network.name} in {precision} ...")
    _, sidecar = load_artifact(origin)
    samples = [network.pictures(max(network.batch, 1))]
    converted = convert(origin.read_bytes(), precision, samples)
    opset = onnx.load_from_string(bytes(converted)).opset_import[0].version
    path = origin.with_suffix(f".{precision}{origin.suffix}")
    write_network(path, converted, replace(sidecar, precision=precision, opset=opset))
    return path


def spec_of(model: "onnx.ModelProto") -> EngineSpec:
    """Inputs and outputs of a graph; -1 for every size that it leaves open."""
    return EngineSpec(
        tuple(map(_tensor, model.graph.input)), tuple(map(_tensor, model.graph.output))
    )


def _tensor(info: "onnx.ValueInfoProto") -> TensorSpec:
    import onnx

    kind = info.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return TensorSpec(info.name, shape, str(dtype))
