# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The detector with adapters: from the task to the graph that is exported."""

import pytest
import torch

pytest.importorskip("mmdet", reason="needs mmdetection; install extra [train]")

from robollm_core.beit3.adapters import is_adapter
from robollm_core.segmentation.deploy import load_graph
from robollm_core.segmentation.detector import build_detector
from robollm_core.training import sites
from robollm_core.training.adapting import adapt, shipped, trainable_share
from robollm_core.training.checkpoint import save_checkpoint
from robollm_core.training.recipe import build_recipe, recipe_values
from robollm_core.training.segmentation import SegmentationRecipe, to_images

RECIPE = {
    "input_height": 64,
    "input_width": 96,
    "channels": 16,
    "finest_stride": 8,
    "anchor_scale": 4.0,
    "rpn_pre": 50,
    "proposals": 20,
    "roi_samples": 1,
    "head_width": 32,
    "mask_width": 8,
    "mask_convs": 1,
    "mask_all_stages": False,
    "detections": 20,
    "adapter_width": 4,
    "adapter_enhancer": 6,
    "adapter_rank": 2,
}


def adapted(recipe, network):
    """The network with adapters as training leaves them."""
    adapt(network.get_submodule("backbone.encoder"), recipe)
    share = trainable_share(network)
    assert 0 < share.trainable < 0.5 * share.total
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad and "backbone" in name:
                assert is_adapter(name) or ".lora_" in name
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return network.eval()


@pytest.mark.parametrize("kind", ["multiway", "lora"])
def test_an_adapted_detector_ships_and_its_site_goes_on_its_base(tmp_path, kind):
    recipe = build_recipe(SegmentationRecipe, {**RECIPE, "adapter": kind})
    torch.manual_seed(0)
    network = build_detector(recipe)
    base = tmp_path / "base.pt"
    plain = recipe_values(build_recipe(SegmentationRecipe, RECIPE))
    content = {"stage": "segmentation", "recipe": plain, "model": network.state_dict()}
    save_checkpoint(base, content)
    adapted(recipe, network)
    best = tmp_path / "best.pt"
    values = recipe_values(recipe)
    save_checkpoint(best, {"stage": "segmentation", "recipe": values, **shipped(network)})

    site = tmp_path / "site.safetensors"
    sites.write_site(site, sites.extract(best))
    assert site.stat().st_size < 0.5 * base.stat().st_size
    merged = tmp_path / "merged.pt"
    save_checkpoint(merged, sites.apply(base, sites.read_site(site)))

    picture = torch.randint(0, 256, (64, 96, 3), dtype=torch.uint8)
    images = to_images([picture.numpy()], torch.device("cpu"))
    with torch.inference_mode():
        expected = network.extract_feat(images)[0]
        features = [load_graph(path).detector.extract_feat(images)[0] for path in (best, merged)]
        untouched = load_graph(base).detector.extract_feat(images)[0]
    assert torch.equal(*features)
    torch.testing.assert_close(features[0], expected, atol=1e-4, rtol=1e-4)
    assert float((features[0] - untouched).abs().max()) > 1e-3


def test_the_encoder_of_the_task_is_frozen_and_its_heads_learn(tmp_path, monkeypatch):
    from robollm_core.training import segmentation

    monkeypatch.setattr(segmentation, "read_split", lambda *unused: ())
    monkeypatch.setattr(segmentation, "open_cache", lambda *unused: ())
    recipe = build_recipe(SegmentationRecipe, {**RECIPE, "adapter": "multiway"})
    task = segmentation.SegmentationTask(recipe, tmp_path, tmp_path)
    for name, parameter in task.module.named_parameters():
        trained = is_adapter(name) or ".backbone." not in name
        assert parameter.requires_grad == trained, name
