# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A cell from a configuration; what is missing or tampered with is named."""

import argparse
import json
import shutil
from pathlib import Path

import pytest

from robollm_core.cell import build_stages, describe, retune
from robollm_core.cli.arguments import add_config_arguments, read_config
from robollm_core.config import Config, update
from robollm_core.errors import ArtifactError, ConfigError

STAGES = ("segmentation", "identification", "defects")


@pytest.fixture
def own_cell(cell_settings, tmp_path):
    """The configuration of a cell whose files may be broken."""
    folder = Path(cell_settings["segmentation.artifact"]).parent
    shutil.copytree(folder, tmp_path / "cell")
    names = {f"{stage}.artifact": str(tmp_path / "cell" / f"{stage}.onnx") for stage in STAGES}
    return update(Config(), {**names, "runtime.threads": 1})


def test_stages_say_which_network_and_runtime_they_use(own_cell):
    told = describe(build_stages(own_cell))
    assert list(told) == list(STAGES)
    sidecar = json.loads(Path(own_cell.defects.artifact).with_suffix(".json").read_text())
    assert told["defects"].startswith(sidecar["sha256"][:12])
    assert "onnxruntime" in told["defects"]


def test_retuned_stages_keep_their_networks(own_cell):
    stages = build_stages(own_cell)
    other = update(own_cell, {"segmentation.score_threshold": 0.1, "defects.threshold": 0.9})
    tuned = retune(stages, other)
    assert describe(tuned) == describe(stages)
    assert tuned.segmentation.config.score_threshold == 0.1
    assert tuned.defects.config.threshold == 0.9
    assert stages.segmentation.config == own_cell.segmentation


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("suffix", [".onnx", ".json"])
def test_a_missing_file_is_named(own_cell, stage, suffix):
    lost = Path(getattr(own_cell, stage).artifact).with_suffix(suffix)
    lost.unlink()
    with pytest.raises(ArtifactError, match=lost.name):
        build_stages(own_cell)


@pytest.mark.parametrize("stage", STAGES)
def test_a_tampered_network_is_refused(own_cell, stage):
    path = Path(getattr(own_cell, stage).artifact)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{stage}.*sha256"):
        build_stages(own_cell)


@pytest.mark.parametrize("stage", STAGES)
def test_a_truncated_network_is_refused(own_cell, stage):
    path = Path(getattr(own_cell, stage).artifact)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=stage):
        build_stages(own_cell)


def test_the_network_of_another_stage_is_refused(own_cell):
    swapped = update(own_cell, {"segmentation.artifact": own_cell.defects.artifact})
    with pytest.raises(ArtifactError, match="expected an artifact of stage 'segmentation'"):
        build_stages(swapped)


def parse(*words):
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return parser.parse_args(words)


def test_references_are_looked_for_beside_the_manifest_unless_set(tmp_path):
    beside = tmp_path / "m.json"
    got = read_config(parse(), beside)
    assert got.identification.reference_root == str(tmp_path)
    chosen = read_config(parse("--set", "identification.reference_root=/photos"), beside)
    assert chosen.identification.reference_root == "/photos"


def test_file_and_assignments_are_laid_over_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("defects: {threshold: 0.3}")
    args = parse("--config", str(tmp_path / "c.yaml"), "--set", "runtime.threads=2")
    got = read_config(args, tmp_path / "m.json")
    assert (got.defects.threshold, got.runtime.threads) == (0.3, 2)
    with pytest.raises(ConfigError, match="unknown configuration key"):
        read_config(parse("--set", "defects.treshold=1"), tmp_path / "m.json")
