# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training on a part of the patches."""

import pytest
import torch

from robollm_core.beit3.encoder import Encoder, EncoderShape, normalise
from robollm_core.errors import ShapeError
from robollm_core.training.sparse import choose_patches, pooled_sparse


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderShape(depth=2, width=16, heads=2, ffn=32, image_hw=(64, 64))).eval()


def images(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, generator=generator)


def test_all_patches_give_the_whole_answer(encoder):
    batch = images()
    kept = choose_patches(batch, 1.0)
    assert kept.tolist() == [list(range(16))] * 3
    wanted = encoder.pooled(normalise(batch))
    torch.testing.assert_close(pooled_sparse(encoder, batch, kept), wanted)


def test_what_was_dropped_has_no_influence(encoder):
    batch = images()
    kept = torch.tensor([[0, 5, 9]] * 3)
    changed = batch.clone()
    changed[:, 48:, 48:] = 0  # patch 15
    torch.testing.assert_close(
        pooled_sparse(encoder, batch, kept), pooled_sparse(encoder, changed, kept)
    )
    changed[:, 16:32, 16:32] = 0  # patch 5
    assert not torch.allclose(
        pooled_sparse(encoder, batch, kept), pooled_sparse(encoder, changed, kept)
    )


def test_every_image_keeps_its_own_patches(encoder):
    batch = images(2)
    both = pooled_sparse(encoder, batch, torch.tensor([[0, 1], [7, 12]]))
    second = pooled_sparse(encoder, batch[1:], torch.tensor([[7, 12]]))
    torch.testing.assert_close(both[1:], second)


def test_plain_patches_go_first():
    batch = images(50)
    batch[:, :32] = 128  # the upper eight patches of sixteen say nothing
    torch.manual_seed(2)
    kept = choose_patches(batch, 0.5)
    share = float((kept >= 8).float().mean())
    assert kept.shape == (50, 8)
    assert 0.85 < share < 1.0  # first, but not always


def test_windows_and_other_sizes_are_refused(encoder):
    kept = torch.tensor([[0]])
    with pytest.raises(ShapeError, match="global attention"):
        pooled_sparse(encoder, images(1)[:, :32, :32], kept)
    windowed = Encoder(
        EncoderShape(depth=1, width=16, heads=2, ffn=32, image_hw=(64, 64), window=2)
    )
    with pytest.raises(ShapeError, match="global attention"):
        pooled_sparse(windowed, images(1), kept)
    with pytest.raises(ShapeError, match="fraction"):
        choose_patches(images(1), 0.0)
