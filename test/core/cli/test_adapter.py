# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm adapter` and what comes after it: one checkpoint, one artifact."""

import re

import numpy as np
import pytest
import torch

from robollm_core.beit3.adapters import AdapterShape, attach, is_adapter
from robollm_core.cli.main import main
from robollm_core.config import RuntimeConfig
from robollm_core.defects.model import build_defects, load_graph
from robollm_core.identification.model import build_identification
from robollm_core.runtime.factory import load_engine
from robollm_core.training.adapting import attach_lora, shipped
from robollm_core.training.checkpoint import load_checkpoint, save_checkpoint
from robollm_core.training.warm import warm_start

SETTINGS = {"size": "tiny", "img_size": 32}
CROP = {"size_px": 32, "mode": "pad", "blank": True, "margin": 0.0}
ADAPTER = AdapterShape(width=8, enhancer=12, alpha=0.5)
BUILD = {"defects": build_defects, "identification": build_identification}
KINDS = pytest.mark.parametrize("kind", ["multiway", "lora"])


def write(path, stage, model, content):
    recipe = {"model": model, "crop": CROP}
    save_checkpoint(path, {"stage": stage, "recipe": recipe, **content})
    return str(path)


@pytest.fixture
def files(tmp_path, kind, stage="defects"):
    """A base and the best.pt of a site on it, as training writes both."""
    torch.manual_seed(0)
    network = BUILD[stage](SETTINGS)
    base = write(tmp_path / "base.pt", stage, SETTINGS, {"model": network.state_dict()})
    model = SETTINGS
    if kind == "multiway":
        attach(network.encoder, ADAPTER)
        model = {**SETTINGS, "adapter": ADAPTER.to_json()}
    else:
        attach_lora(network.encoder, 4, 0.5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if is_adapter(name) or ".lora_" in name or not name.startswith("encoder."):
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return base, write(tmp_path / "best.pt", stage, model, shipped(network))


@KINDS
def test_what_was_extracted_and_applied_is_the_network_that_was_trained(
    files, tmp_path, kind, capsys
):
    base, best = files
    site, merged = tmp_path / "site_a.safetensors", tmp_path / "merged.pt"
    assert main(["adapter", "extract", best, "--out", str(site)]) == 0
    assert site.stat().st_size < 0.05 * (tmp_path / "base.pt").stat().st_size
    assert main(["adapter", "info", str(site)]) == 0
    told = capsys.readouterr().out
    assert f"adapter  {kind}" in told and "stage    defects" in told
    assert main(["adapter", "apply", base, str(site), "--out", str(merged)]) == 0
    assert "robollm export defects" in capsys.readouterr().out
    trained, joined = load_checkpoint(tmp_path / "best.pt", ""), load_checkpoint(merged, "defects")
    assert trained["recipe"] == joined["recipe"]
    assert trained["model"].keys() == joined["model"].keys()
    assert all(torch.equal(trained["model"][n], joined["model"][n]) for n in trained["model"])
    again = tmp_path / "again.safetensors"
    assert main(["adapter", "extract", str(merged), "--out", str(again)]) == 0
    assert again.read_bytes() == site.read_bytes()


@KINDS
def test_an_adapted_network_exports_and_its_artifact_agrees(files, tmp_path, kind):
    base, best = files
    site, merged = str(tmp_path / "s.safetensors"), str(tmp_path / "merged.pt")
    out = tmp_path / "defects.onnx"
    assert main(["adapter", "extract", best, "--out", site]) == 0
    assert main(["adapter", "apply", base, site, "--out", merged]) == 0
    assert main(["export", "defects", "--checkpoint", merged, "--out", str(out)]) == 0
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    answer = load_engine(out, RuntimeConfig("onnx")).run({"images": pixels})["probabilities"]
    with torch.inference_mode():
        expected = load_graph(tmp_path / "best.pt")(torch.from_numpy(pixels)).numpy()
        plain = load_graph(tmp_path / "base.pt")(torch.from_numpy(pixels)).numpy()
    assert np.abs(answer - expected).max() < 0.02  # weights are stored in half precision
    assert np.abs(answer - plain).max() > 0.02


@pytest.mark.parametrize("kind", ["multiway"])
def test_identification_with_adapters_exports_both_networks(tmp_path, kind):
    torch.manual_seed(0)
    settings = {**SETTINGS, "embedding": 16, "adapter": ADAPTER.to_json()}
    network = build_identification(settings)
    checkpoint = write(tmp_path / "best.pt", "identification", settings, shipped(network))
    out = tmp_path / "identification.onnx"
    assert main(["export", "identification", "--checkpoint", checkpoint, "--out", str(out)]) == 0
    assert out.with_name("identification_fusion.onnx").exists()


@KINDS
def test_a_wrong_base_writes_nothing(files, tmp_path, kind, capsys):
    _, best = files
    torch.manual_seed(7)
    content = {"model": build_defects(SETTINGS).state_dict()}
    other = write(tmp_path / "other.pt", "defects", SETTINGS, content)
    site, merged = str(tmp_path / "s.safetensors"), tmp_path / "merged.pt"
    assert main(["adapter", "extract", best, "--out", site]) == 0
    assert main(["adapter", "apply", other, site, "--out", str(merged)]) == 2
    message = capsys.readouterr().err
    assert "was trained on the backbone" in message
    assert len(re.findall("[0-9a-f]{64}", message)) == 2
    assert not merged.exists()


def test_an_artifact_is_a_base_for_what_was_trained_from_it(tmp_path):
    torch.manual_seed(0)
    trained = build_defects(SETTINGS)
    with torch.no_grad():  # an untrained network has equal tensors, which a graph stores once
        for parameter in trained.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    content = {"model": trained.state_dict()}
    base, artifact = write(tmp_path / "base.pt", "defects", SETTINGS, content), tmp_path / "d.onnx"
    assert main(["export", "defects", "--checkpoint", base, "--out", str(artifact)]) == 0
    network = build_defects(SETTINGS)
    warm_start(network, network.encoder, "defects", artifact)
    attach(network.encoder, ADAPTER)
    model = {**SETTINGS, "adapter": ADAPTER.to_json()}
    best = write(tmp_path / "best.pt", "defects", model, shipped(network))
    site, merged = str(tmp_path / "s.safetensors"), tmp_path / "merged.pt"
    assert main(["adapter", "extract", best, "--out", site]) == 0
    assert main(["adapter", "apply", str(artifact), site, "--out", str(merged)]) == 0
    assert load_checkpoint(merged, "")["origin"][0]["file"] == "d.onnx"
    # the checkpoint has weights the artifact rounded, so it is another backbone
    assert main(["adapter", "apply", base, site, "--out", str(merged)]) == 2


@pytest.mark.parametrize("kind", ["multiway"])
def test_names_that_mislead_are_refused(files, tmp_path, kind, capsys):
    base, best = files
    assert main(["adapter", "extract", best, "--out", str(tmp_path / "site.pt")]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    site = str(tmp_path / "s.safetensors")
    assert main(["adapter", "extract", best, "--out", site]) == 0
    assert main(["adapter", "apply", base, site, "--out", str(tmp_path / "x.onnx")]) == 2
    assert "must end in .pt" in capsys.readouterr().err
    assert main(["adapter", "extract", base, "--out", site]) == 2
    assert "trained the whole network" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["extract", "a.pt"],
        ["extract", "a.pt", "b.pt", "--out", "c.safetensors"],
        ["apply", "a.safetensors", "--out", "c.pt"],
        ["info", "a.safetensors", "--out", "c.pt"],
    ],
)
def test_words_that_do_not_fit_are_answered_with_the_usage(words, capsys):
    assert main(["adapter", *words]) == 2
    assert f"expected: robollm adapter {words[0]}" in capsys.readouterr().err
