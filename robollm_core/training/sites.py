# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Sites: adapter and heads of one place, carried apart from the backbone they belong to.

`x.safetensors` holds tensors alone, `x.json` beside it says what they are and
which backbone they want. A resident network changes its site without a look at
the tensors of its backbone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from robollm_core.beit3.adapters import AdapterShape, BlockAdapter, attach, detach, is_adapter
from robollm_core.beit3.checkpoint import Checkpoint, read_checkpoint
from robollm_core.beit3.encoder import Encoder
from robollm_core.errors import CheckpointError, ConfigError
from robollm_core.files import write_file
from robollm_core.training.adapting import (
    KINDS,
    TARGETS,
    attach_lora,
    backbone,
    base_sha256,
    detach_lora,
    factor_parameter,
    find_encoder,
    shipped,
)
from robollm_core.training.warm import warm_start

FORMAT = 1
_PREFIXES = ("encoder.", "backbone.encoder.")
_LIMIT = 1 << 20
_KEYS = {
    "stage": str,
    "kind": str,
    "sizes": dict,
    "base_sha256": str,
    "recipe": dict,
    "source_checkpoint": dict,
    "sha256": str,
    "parameters": dict,
}


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """What one place adds to a backbone.

    Attributes:
        stage: of the network.
        kind: "multiway" or "lora".
        sizes: width, enhancer and alpha of a MultiWay-Adapter; rank and alpha of LoRA.
        base_sha256: of the backbone it was trained on, see `adapting.base_sha256`.
        recipe: of the run.
        tensors: adapter and heads, under the names of the network.
        source_checkpoint: "file" and "sha256" it was taken from.
    """

    stage: str
    kind: str
    sizes: Mapping[str, Any]
    base_sha256: str
    recipe: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    source_checkpoint: Mapping[str, str]

    def parameters(self) -> dict[str, int]:
        """How many numbers the adapter and the heads hold."""
        adapter = sum(t.numel() for name, t in self.tensors.items() if _is_adapted(name))
        return {
            "adapter": adapter,
            "heads": sum(t.numel() for t in self.tensors.values()) - adapter,
        }


def extract(checkpoint: Path) -> Site:
    """Take adapter and heads out of the best.pt of an adapted run.

    Raises:
        CheckpointError: If it cannot be read, or its run had no adapter.
    """
    found = read_checkpoint(checkpoint)
    prefix = next((p for p in _PREFIXES if any(n.startswith(p) for n in found.tensors)), "")
    heads = {name: t for name, t in found.tensors.items() if not name.startswith(prefix or "\0")}
    stage = str(found.meta.get("stage", "unknown"))
    source = {"file": found.file, "sha256": found.sha256}
    kind, sizes, base, tensors = _adapter_of(found, prefix)
    return Site(stage, kind, sizes, base, found.recipe, {**heads, **tensors}, source)


def _adapter_of(
    found: Checkpoint, prefix: str
) -> tuple[str, dict[str, Any], str, dict[str, Tensor]]:
    adapters = {name: tensor for name, tensor in found.tensors.items() if is_adapter(name)}
    if adapters:
        branch = found.recipe.get("model")
        sizes = _checked(found.file, branch.get("adapter") if isinstance(branch, dict) else None)
        return "multiway", sizes, base_sha256(backbone(found.tensors, prefix)), adapters
    entry = found.meta.get("adapter")
    if not isinstance(entry, dict):
        raise CheckpointError(
            f"{found.file} has no adapter: its run trained the whole network. Give the best.pt "
            'of a run whose recipe has adapter "multiway" or "lora".'
        )
    try:
        sizes = {"rank": int(entry["rank"]), "alpha": float(entry["alpha"])}
        return "lora", sizes, str(entry["base_sha256"]), dict(entry["tensors"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f'{found.file}: "adapter" must hold rank, alpha, base_sha256 and tensors ({error!r}). '
            "Take the file from the run again."
        ) from error


def _checked(file: str, branch: Any) -> dict[str, Any]:
    try:
        return AdapterShape.from_json(branch).to_json()
    except ConfigError as error:
        raise CheckpointError(
            f"{file} has adapters its recipe does not describe: {error}"
        ) from error


def write_site(path: Path, site: Site) -> None:
    """Write tensors and sidecar.

    Args:
        path: `x.safetensors`; `x.json` is written beside it.
        site: what to write.

    Raises:
        CheckpointError: If the name does not end in .safetensors.
        OutputError: If a file cannot be written.
    """
    _check_name(path)
    data = save({name: tensor.contiguous() for name, tensor in site.tensors.items()})
    note = {
        "format": FORMAT,
        "stage": site.stage,
        "kind": site.kind,
        "sizes": dict(site.sizes),
        "base_sha256": site.base_sha256,
        "parameters": site.parameters(),
        "recipe": dict(site.recipe),
        "source_checkpoint": dict(site.source_checkpoint),
        "sha256": _sha256(data),
    }
    write_file(path, data)
    write_file(path.with_suffix(".json"), (json.dumps(note, indent=2) + "\n").encode())


def read_site(path: Path) -> Site:
    """Read a site and check it against its sidecar.

    Raises:
        CheckpointError: If a file is missing, damaged or of no known format.
    """
    _check_name(path)
    beside = path.with_suffix(".json")
    try:
        data = path.read_bytes()
        with beside.open("rb") as file:
            note = _parse(file.read(_LIMIT + 1))
        if _sha256(data) != note["sha256"]:
            raise ValueError("its sha256 differs from that of its sidecar: changed or damaged")
        tensors = load(data)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} with {beside.name} is no site of `robollm adapter extract`: {error}. Fetch "
            "both files again."
        ) from error
    return Site(
        stage=note["stage"],
        kind=note["kind"],
        sizes=note["sizes"],
        base_sha256=note["base_sha256"],
        recipe=note["recipe"],
        tensors=tensors,
        source_checkpoint=note["source_checkpoint"],
    )


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > _LIMIT:
        raise ValueError(f"the sidecar is over {_LIMIT} bytes; it never is")
    note = json.loads(data.decode("utf-8"))
    if not isinstance(note, dict) or note.pop("format", None) != FORMAT:
        raise ValueError(f'the sidecar must be a JSON object with "format": {FORMAT}')
    if note.keys() != _KEYS.keys():
        raise ValueError(f"the sidecar must have the keys {sorted(_KEYS)}, got {sorted(note)}")
    for key, kind in _KEYS.items():
        if type(note[key]) is not kind:
            raise ValueError(f"{key} must be of type {kind.__name__}, it is {note[key]!r}")
    if note["kind"] not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, it is {note['kind']!r}")
    return note


def apply(base: Path, site: Site) -> dict[str, Any]:
    """Put a site on a backbone.

    Args:
        base: checkpoint or artifact with the backbone, of any stage.
        site: of `read_site`.

    Returns:
        A checkpoint that `robollm export` takes; `training.checkpoint` writes it.

    Raises:
        CheckpointError: If the backbone is another than the site's.
    """
    network = build_plain(site)
    _, encoder = find_encoder(network)
    origin = warm_start(network, encoder, "", base)
    swap(network, site)
    runs = [dict(run) for run in origin]
    return {"stage": site.stage, "recipe": dict(site.recipe), "origin": runs, **shipped(network)}


def build_plain(site: Site) -> nn.Module:
    """The network of a site's recipe with random weights and without adapters.

    Raises:
        CheckpointError: If the recipe does not describe one.
    """
    branch = site.recipe.get("model")
    settings = {**branch} if isinstance(branch, dict) else {}
    settings.pop("adapter", None)
    try:
        return _build(site, settings)
    except ConfigError as error:
        raise CheckpointError(f"the recipe of the site describes no network: {error}") from error


def _build(site: Site, settings: Mapping[str, Any]) -> nn.Module:
    if site.stage == "segmentation":
        from robollm_core.segmentation.design import design_from
        from robollm_core.segmentation.detector import build_detector

        return build_detector(design_from(site.recipe))
    if site.stage == "defects":
        from robollm_core.defects.model import build_defects

        return build_defects(settings)
    if site.stage == "identification":
        from robollm_core.identification.model import build_identification

        return build_identification(settings)
    raise ConfigError(f"no stage {site.stage!r} is adapted.")


def swap(network: nn.Module, site: Site, *, base: str = "") -> None:
    """Give a resident network another site; its backbone is not touched.

    Args:
        network: plain or with any adapter on; afterwards ready to answer.
        site: of the same stage, with the same heads.
        base: hash of the network's backbone where it is known, which saves
            computing it; "" computes it.

    Raises:
        CheckpointError: If the site is of another backbone or has other heads or
            adapters than the network takes; the network is then unchanged.
    """
    prefix, encoder = find_encoder(network)
    own = base or base_sha256(backbone(encoder.state_dict()))
    if own != site.base_sha256:
        raise CheckpointError(
            f"the site was trained on the backbone {site.base_sha256}, this one is {own}. Give "
            "the checkpoint its run started from."
        )
    _check_tensors(network, encoder, prefix, site)
    detach(encoder)
    detach_lora(encoder)
    if site.kind == "multiway":
        attach(encoder, _shape(site))
    else:
        attach_lora(encoder, _rank(site), site.sizes["alpha"])
    _fill(network, site.tensors)
    network.eval()


def describe(site: Site) -> str:
    """What a site is, a line each for stage, adapter, heads, backbone and source."""
    counts = site.parameters()
    sizes = ", ".join(f"{name} {value}" for name, value in site.sizes.items())
    source = site.source_checkpoint
    return "\n".join(
        (
            f"stage    {site.stage}",
            f"adapter  {site.kind} ({sizes}), {counts['adapter']:,} parameters",
            f"heads    {counts['heads']:,} parameters",
            f"base     {site.base_sha256}",
            f"from     {source.get('file', '')} {source.get('sha256', '')}".rstrip(),
        )
    )


def _shape(site: Site) -> AdapterShape:
    try:
        return AdapterShape.from_json(site.sizes)
    except ConfigError as error:
        raise CheckpointError(f"the sidecar of the site is wrong: {error}") from error


def _rank(site: Site) -> int:
    rank, alpha = site.sizes.get("rank"), site.sizes.get("alpha")
    if type(rank) is not int or rank < 1 or type(alpha) is not float or not 0.0 < alpha < 1e6:
        raise CheckpointError(f"the sidecar of a LoRA site needs rank and alpha: {site.sizes}.")
    return rank


def _check_tensors(network: nn.Module, encoder: Encoder, prefix: str, site: Site) -> None:
    heads = {n: t.shape for n, t in network.state_dict().items() if not n.startswith(prefix)}
    wanted = {**heads, **{prefix + n: s for n, s in _adapter_shapes(encoder, site).items()}}
    given = {name: tensor.shape for name, tensor in site.tensors.items()}
    differing = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
    broken = sorted(n for n, t in site.tensors.items() if not bool(t.isfinite().all()))
    if differing or broken:
        name = (differing or broken)[0]
        raise CheckpointError(
            f"the site does not fit {type(network).__name__}: {len(differing)} tensors differ and "
            f"{len(broken)} are not finite, the first is {name}: wanted "
            f"{_text(wanted.get(name))}, got {_text(given.get(name))}. Extract it from a run of "
            "the same stage and sizes."
        )


def _text(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def _adapter_shapes(encoder: Encoder, site: Site) -> dict[str, torch.Size]:
    if site.kind == "multiway":
        with torch.device("meta"):
            one = BlockAdapter(encoder.width, _shape(site), 0.0).state_dict()
        blocks = range(encoder.shape.depth)
        return {f"blocks.{i}.adapter.{n}": t.shape for i in blocks for n, t in one.items()}
    rank, shapes = _rank(site), {}
    for name, layer in encoder.named_modules():
        if TARGETS.fullmatch(name):
            rows, columns = layer.weight.shape
            shapes[f"{name}.lora_A"] = torch.Size((rank, columns))
            shapes[f"{name}.lora_B"] = torch.Size((rows, rank))
    return shapes


@torch.no_grad()
def _fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    own = network.state_dict()  # shares its tensors with the network
    for name, tensor in tensors.items():
        own[factor_parameter(name) if ".lora_" in name else name].copy_(tensor)


def _is_adapted(name: str) -> bool:
    return is_adapter(name) or ".lora_" in name


def _check_name(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise CheckpointError(f"the file of a site must end in .safetensors, got {path}.")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
