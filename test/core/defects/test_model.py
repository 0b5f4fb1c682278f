# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The defect network: three classes, probabilities that sum to one."""

import torch

from robollm_core.defects.model import DefectGraph, build_defects, load_graph
from robollm_core.types import DEFECT_LABELS

SETTINGS = {"size": "tiny", "img_size": 32}


def test_the_graph_is_the_softmax_of_the_logits_of_the_mean_patch():
    torch.manual_seed(0)
    model = build_defects(SETTINGS).eval()
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        logits, probabilities = model(images), DefectGraph(model)(images)
        mean = model.encoder((images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)[:, 1:].mean(1)
        expected_logits = model.head(model.fc_norm(mean))
    assert logits.shape == (4, len(DEFECT_LABELS))
    torch.testing.assert_close(logits, expected_logits, atol=1e-4, rtol=0)
    expected = logits.double().exp() / logits.double().exp().sum(1, keepdim=True)
    torch.testing.assert_close(probabilities.double(), expected, atol=1e-6, rtol=0)


def test_a_checkpoint_comes_back_as_the_same_network(tmp_path):
    model = build_defects(SETTINGS).eval()
    recipe = {"model": SETTINGS}
    content = {"format": 1, "stage": "defects", "recipe": recipe, "model": model.state_dict()}
    torch.save(content, tmp_path / "x.pt")
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(load_graph(tmp_path / "x.pt")(images), model(images).softmax(1))
