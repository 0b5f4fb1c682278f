# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint of any known layout into `x.safetensors` and its sidecar `x.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from robollm_core.beit3.build import SIZES, build
from robollm_core.beit3.checkpoint import (
    Checkpoint,
    check_fit,
    check_format,
    fresh_norm,
    is_own,
    read_checkpoint,
)
from robollm_core.beit3.containers import (
    FORMAT,
    SAFETENSORS,
    file_digest,
    read_safetensors,
    read_torch,
)
from robollm_core.beit3.encoder import Encoder
from robollm_core.beit3.layouts import BEIT3_CLASSIFIER, NATIVE, PREFIX, TIMM
from robollm_core.beit3.translate import Translation, translate
from robollm_core.defects.model import build_defects
from robollm_core.errors import CheckpointError, ConfigError, OutputError
from robollm_core.files import replacing
from robollm_core.identification.model import build_graph

OWN = "robollm"
_KEPT = ("stage", "recipe", "origin", "step", "metrics", "precision")
_TRAINING_STATE = "state of the training, not of the network"
_NO_FINAL_NORM = "the file's encoder ends without a norm; a network that has one starts it anew"


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """A checkpoint ready to be written, and what became of each entry of its file.

    Attributes:
        tensors: what is written, under our names.
        meta: what the sidecar says: "layout", "size", "stage", "scoring", "recipe", ...
        title: what the file is, for people.
        used: name in the file to our name.
        dropped: name in the file to the reason.
        missing: our name to the reason why it is not there.
        file: name of the source.
        sha256: of the source.
    """

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any]
    title: str
    used: Mapping[str, str]
    dropped: Mapping[str, str]
    missing: Mapping[str, str]
    file: str
    sha256: str

    @property
    def parameters(self) -> int:
        """How many numbers are written."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def encoder_parameters(self) -> int:
        """How many of them are the encoder's."""
        return sum(t.numel() for n, t in self.tensors.items() if n.startswith(PREFIX))

    def report(self) -> dict[str, Any]:
        """Every entry of the file and what became of it, for JSON."""
        return {
            "source": {"file": self.file, "sha256": self.sha256},
            **{name: value for name, value in self.meta.items() if name != "recipe"},
            "parameters": self.parameters,
            "used": dict(self.used),
            "dropped": dict(self.dropped),
            "missing": dict(self.missing),
        }


def convert(source: Path) -> Conversion:
    """Read a checkpoint and account for all of it.

    Args:
        source: a file of a layout in `beit3.layouts`, or a checkpoint of ours.

    Raises:
        CheckpointError: If it cannot be read safely, is of no known layout or
            size, is incomplete, or holds an entry that is not explained.
    """
    digest = file_digest(source) if source.exists() else ""
    if source.suffix == SAFETENSORS and source.with_suffix(".json").exists():
        return _own(read_checkpoint(source), {})
    others: dict[str, Any] = {}
    if source.suffix == SAFETENSORS:
        tensors, _ = read_safetensors(source)
    else:
        tensors, others = read_torch(source, mapped=True)
    if "format" in others or is_own(tensors):
        return _own(_own_checkpoint(tensors, others, source, digest), others)
    return _foreign(translate(tensors, str(source)), others, source, digest)


def _own_checkpoint(
    tensors: Mapping[str, Tensor], others: Mapping[str, Any], source: Path, digest: str
) -> Checkpoint:
    if "format" not in others:
        raise CheckpointError(
            f"{source} holds the weights of a network of this package without saying which. "
            "Convert the best.pt of the run."
        )
    check_format(others, source)
    if "optimizer" in others:
        raise CheckpointError(
            f"{source} is for going on with a training. Convert best.pt beside it: it holds the "
            "network that was judged best."
        )
    meta = {"layout": OWN, "scoring": NATIVE} | {k: others[k] for k in _KEPT if k in others}
    return Checkpoint(tensors, meta, source.name, digest)


def _own(checkpoint: Checkpoint, others: Mapping[str, Any]) -> Conversion:
    _check_network(checkpoint)
    size = (checkpoint.recipe.get("model") or {}).get("size", "")
    known = {"format", *_KEPT}
    return Conversion(
        tensors=checkpoint.tensors,
        meta={"size": size, **checkpoint.meta},
        title="a checkpoint of this package",
        used={name: name for name in checkpoint.tensors},
        dropped={name: _TRAINING_STATE for name in others if name not in known},
        missing={},
        file=checkpoint.file,
        sha256=checkpoint.sha256,
    )


def _foreign(
    found: Translation, others: Mapping[str, Any], source: Path, digest: str
) -> Conversion:
    if not found.size or not found.image_px:
        sizes = ", ".join(SIZES)
        depth, width, ffn = found.dimensions
        raise CheckpointError(
            f"{source} looks like {found.layout.title}, but its encoder has {depth} blocks of "
            f"width {width} with {ffn} inside, and positions of {found.image_px or 'no square of'} "
            f"pixels. The sizes are {sizes}; is the file whole?"
        )
    checkpoint = Checkpoint(found.tensors, found.meta(), source.name, digest)
    missing = _missing_norm(found)
    _check_network(checkpoint)
    layout = found.layout
    seen = {"size_px": found.image_px, "mode": "squash", "interpolation": "bicubic"}
    colours = {"mean": list(layout.mean), "std": list(layout.std)}
    return Conversion(
        tensors=found.tensors,
        meta={**checkpoint.meta, "preprocessing": {**seen, **colours}},
        title=layout.title,
        used=found.used,
        dropped={**found.dropped, **dict.fromkeys(others, _TRAINING_STATE)},
        missing=dict.fromkeys(missing, _NO_FINAL_NORM),
        file=source.name,
        sha256=digest,
    )


def _missing_norm(found: Translation) -> tuple[str, ...]:
    if found.has_final_norm or found.layout not in (BEIT3_CLASSIFIER, TIMM):
        return ()
    return (PREFIX + "norm.weight", PREFIX + "norm.bias")


def _check_network(checkpoint: Checkpoint) -> None:
    """Compare the weights with the network they are to fill, which is not allocated."""
    settings = checkpoint.recipe.get("model")
    stage, tensors = checkpoint.meta.get("stage"), dict(checkpoint.tensors)
    if not isinstance(settings, dict) or stage == "segmentation":
        return  # the segmenter's network is mmdetection's; it is compared when it is built
    try:
        with torch.device("meta"):
            network = _network(str(stage), settings)
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.file}: {error}") from error
    if isinstance(network, Encoder):
        encoder = {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)}
        if checkpoint.meta.get("layout") in (BEIT3_CLASSIFIER.name, TIMM.name):
            encoder = fresh_norm(network.width) | encoder
        tensors = encoder
    check_fit(network, tensors, checkpoint.file)


def _network(stage: str, settings: Mapping[str, Any]) -> nn.Module:
    if stage == "identification":
        return build_graph(settings)
    if stage == "defects":
        return build_defects(settings)
    return build(settings["size"], settings["img_size"])


def write(conversion: Conversion, out: Path) -> dict[str, Any]:
    """Write the weights and their sidecar, whole or not at all.

    Args:
        conversion: what `convert` made.
        out: a name that ends in .safetensors; the sidecar ends in .json.

    Returns:
        The sidecar.

    Raises:
        OutputError: If the name is no such name or taken by an artifact, or
            writing fails; a pair that was there before stays, unless the last
            rename itself fails, then neither stays.
    """
    beside = out.with_suffix(".json")
    if out.suffix != SAFETENSORS:
        raise OutputError(f"the output must end in {SAFETENSORS}, got {out}.")
    if out.with_suffix(".onnx").exists():
        raise OutputError(
            f"{beside} is the sidecar of {out.with_suffix('.onnx').name}; choose another name."
        )
    tensors = {name: tensor.contiguous() for name, tensor in conversion.tensors.items()}
    placed = False
    try:
        with replacing(beside) as sidecar_part:
            with replacing(out) as part:
                _save(tensors, part)
                tree = _sidecar(conversion, file_digest(part))
                sidecar_part.write_text(_json(tree, conversion.file))
            placed = True
    except OutputError:
        if placed:  # weights beside another's sidecar would be refused anyway
            out.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)
        raise
    return tree


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OutputError(f"cannot write {path}: {error}. Nothing of it is kept.") from error


def _sidecar(conversion: Conversion, digest: str) -> dict[str, Any]:
    meta = dict(conversion.meta)
    meta.setdefault("source", {"file": conversion.file, "sha256": conversion.sha256})
    counts = ("used", "dropped", "missing")
    meta.setdefault("keys", {name: len(getattr(conversion, name)) for name in counts})
    meta.setdefault("recipe", {})
    return {"format": FORMAT, "sha256": digest, "parameters": conversion.parameters, **meta}


def _json(tree: Mapping[str, Any], file: str) -> str:
    try:
        return json.dumps(tree, indent=2, sort_keys=True) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: its recipe cannot be written as JSON: {error}.") from error
