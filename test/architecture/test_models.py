# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped networks are those of the index, sound, and start."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from robollm_core.config import RuntimeConfig
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import installed, load_engine

ROOT = Path(__file__).parents[2]
INDEX = yaml.safe_load((ROOT / "models/index.yaml").read_text(encoding="utf-8"))
MODELS = INDEX["models"]
SCHEMA = json.loads((ROOT / "config/schema/model_index.schema.json").read_text(encoding="utf-8"))


def test_index_follows_its_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(INDEX, SCHEMA)


def test_schema_refuses_an_unknown_key() -> None:
    with pytest.raises(jsonschema.ValidationError, match="speed"):
        jsonschema.validate({"format": 1, "models": [{**MODELS[0], "speed": 1}]}, SCHEMA)


def test_every_network_is_listed() -> None:
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "models").rglob("*.onnx")}
    assert {model["artifact"] for model in MODELS} == shipped


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["artifact"])
@pytest.mark.parametrize(
    ("runtime", "told"),
    [("onnx", " CPUExecutionProvider"), ("openvino", " CPU "), ("auto", "auto")],
)
def test_network_is_sound_and_starts(model: dict[str, Any], runtime: str, told: str) -> None:
    if runtime != "auto" and runtime not in installed():
        pytest.skip(f"{runtime} is not installed")
    path, sidecar = load_artifact(ROOT / model["artifact"])
    assert sidecar.stage == model["stage"]
    assert told in load_engine(path, RuntimeConfig(runtime, threads=1)).description


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["artifact"])
def test_card_and_recipe_are_there(model: dict[str, Any]) -> None:
    assert (ROOT / model["card"]).is_file()
    assert (ROOT / model["recipe"]).is_file()


def test_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
