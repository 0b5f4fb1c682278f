# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The verb train: what it asks for, and the mmengine configuration it can write."""

from pathlib import Path

import pytest

from robollm_core.cli.main import main

RECIPES = Path(__file__).parents[3] / "config" / "recipes"


def test_dump_config_writes_a_configuration_mmengine_reads(tmp_path):
    mmengine = pytest.importorskip("mmengine")
    out = tmp_path / "cascade.py"
    recipe = str(RECIPES / "segmentation_tiny.yaml")
    assert main(["train", "segmentation", "--recipe", recipe, "--dump-config", str(out)]) == 0
    model = mmengine.Config.fromfile(out).model
    assert model.type == "CascadeRCNN"
    assert [head.num_classes for head in model.roi_head.bbox_head] == [1, 1, 1]


def test_dump_config_of_another_stage_is_refused(tmp_path, capsys):
    recipe = str(RECIPES / "defects_tiny.yaml")
    out = tmp_path / "x.py"
    assert main(["train", "defects", "--recipe", recipe, "--dump-config", str(out)]) == 2
    assert "segmentation" in capsys.readouterr().err
    assert not out.exists()


def test_a_recipe_of_another_stage_is_refused(tmp_path, capsys):
    recipe = str(RECIPES / "defects_tiny.yaml")
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main(["train", "identification", "--recipe", recipe, *words]) == 2
    assert "is a recipe for 'defects'" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["data", "out"])
def test_a_missing_folder_is_named(missing, tmp_path, capsys):
    recipe = str(RECIPES / "defects_tiny.yaml")
    words = {"data": str(tmp_path), "out": str(tmp_path / "run")}
    del words[missing]
    given = [word for name, value in words.items() for word in (f"--{name}", value)]
    assert main(["train", "defects", "--recipe", recipe, *given]) == 2
    assert f"--{missing}" in capsys.readouterr().err
