# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The identification network: unit embeddings, a fusion that starts as the mean."""

import pytest
import torch

from robollm_core.errors import CheckpointError, ConfigError, ShapeError
from robollm_core.identification.model import Fusion, build_identification, load_graph

SETTINGS = {"size": "tiny", "img_size": 32, "embedding": 64}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_identification(SETTINGS).eval()


def images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)


def test_embedding_is_the_projected_norm_of_the_mean_patch(model):
    with torch.inference_mode():
        embedding, feature = model(images(3))
        pixels = images(3).permute(0, 3, 1, 2).double() / 255
        tokens = model.encoder(((pixels - 0.5) / 0.5).float())
        mean = tokens[:, 1:].mean(1).double()
    mean = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, correction=0) + 1e-5).sqrt()[:, None]
    projected = mean @ model.projection.weight.double().T
    torch.testing.assert_close(feature.double(), mean, atol=1e-4, rtol=0)
    expected = projected / projected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(embedding.double(), expected, atol=1e-5, rtol=0)
    assert embedding.shape == (3, 64)


def test_fusion_starts_as_the_mean_of_the_views_and_can_leave_it():
    torch.manual_seed(0)
    fusion = Fusion(width=8, inner=40)
    views = torch.randn(5, 3, 8)
    torch.testing.assert_close(fusion(views), views.mean(1), atol=1e-5, rtol=0)
    # some inner units start silent: they must still be able to learn
    (fusion(views) ** 2).sum().backward()
    assert bool((fusion.fc2.weight.grad[:, 16:] != 0).any(0).all())


def test_three_equal_views_answer_as_one(model):
    with torch.inference_mode():
        embedding, feature = model(images(2))
        fused = model.fuse(feature[:, None].repeat(1, 3, 1))
    torch.testing.assert_close(fused, embedding, atol=1e-5, rtol=0)


def test_two_views_are_refused(model):
    with pytest.raises(ShapeError, match="3"):
        model.fuse(torch.zeros(1, 2, 256))


def test_a_fusion_too_narrow_for_the_mean_is_refused():
    with pytest.raises(ConfigError, match="512"):
        build_identification({**SETTINGS, "fusion": 100})


def test_a_checkpoint_without_a_description_is_refused(tmp_path, model):
    content = {"format": 1, "stage": "identification", "recipe": {}, "model": model.state_dict()}
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match='branch "model"'):
        load_graph(tmp_path / "x.pt")
    torch.save(
        {**content, "recipe": {"model": {"size": "huge", "img_size": 32}}}, tmp_path / "x.pt"
    )
    with pytest.raises(CheckpointError, match="no encoder size 'huge'"):
        load_graph(tmp_path / "x.pt")
    torch.save({**content, "recipe": {"model": {**SETTINGS, "embedding": 65}}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"projection\.weight \(64, 256\)"):
        load_graph(tmp_path / "x.pt")
