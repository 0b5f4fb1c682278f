# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Masked patches: the loss against NumPy, what is hidden, and what the painter may see."""

import numpy as np
import pytest
import torch

from robollm_core.beit3.encoder import Encoder, EncoderShape, normalise
from robollm_core.errors import ConfigError, ShapeError
from robollm_core.training import masked


def pictures(count=3, size=64, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


# the pixels that are asked for


def test_patches_are_cut_row_by_row():
    images = pictures(2, 48)
    patches = masked.patch_pixels(images).numpy().reshape(2, 3, 3, 16, 16, 3)
    for row in range(3):
        for column in range(3):
            window = images[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            np.testing.assert_array_equal(patches[:, row, column], window.numpy())


def test_targets_of_a_textured_patch_are_normalised():
    targets = masked.patch_targets(masked.patch_pixels(pictures()))
    torch.testing.assert_close(targets.mean(-1), torch.zeros(3, 16), rtol=0, atol=1e-4)
    torch.testing.assert_close(targets.var(-1), torch.ones(3, 16), rtol=0, atol=1e-2)


def test_targets_do_not_know_brightness_and_contrast():
    patches = masked.patch_pixels(pictures(1))
    changed = masked.patch_targets(0.5 * patches + 40)
    torch.testing.assert_close(changed, masked.patch_targets(patches), rtol=0, atol=5e-3)


def test_a_plain_patch_has_nothing_to_paint():
    assert not masked.patch_targets(torch.full((1, 2, 768), 128.0)).any()
    noise = 128 + 0.5 * random(1, 1, 768).float()
    assert masked.patch_targets(noise).std() < 0.3


def numpy_masked_loss(said, pixels, rows):
    total = []
    for image, hidden in enumerate(rows):
        for patch in hidden:
            x = pixels[image, patch]
            target = (x - x.mean()) / np.sqrt(np.square(x - x.mean()).mean() + 4.0)
            total.append(np.square(said[image, patch] - target).mean())
    return np.mean(total)


def test_the_masked_loss_is_that_of_numpy():
    said, pixels = random(3, 6, 768), 255 * random(3, 6, 768, seed=1).abs()
    rows = torch.tensor([[0, 3], [1, 2], [4, 5]])
    found = masked.masked_pixel_loss(said, pixels, rows)
    assert found.dtype == torch.float64
    wanted = numpy_masked_loss(said.numpy(), pixels.numpy(), rows.tolist())
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_the_masked_loss_ignores_what_is_visible():
    said = random(2, 6, 768).requires_grad_()
    pixels, rows = 255 * random(2, 6, 768, seed=1).abs(), torch.tensor([[0, 3], [1, 2]])
    loss = masked.masked_pixel_loss(said, pixels, rows)
    loss.backward()
    changed = pixels.clone()
    changed[0, [1, 2, 4, 5]] += 1000
    changed[1, [0, 3, 4, 5]] *= 7
    assert torch.equal(masked.masked_pixel_loss(said, changed, rows), loss)
    touched = said.grad.abs().sum(-1) > 0
    assert touched.tolist() == [
        [True, False, False, True, False, False],
        [False, True, True] + 3 * [False],
    ]
    changed[0, 3, 0] += 50
    assert not torch.equal(masked.masked_pixel_loss(said, changed, rows), loss)


def test_the_masked_loss_is_differentiated_right():
    # 768 channels are many for finite differences: the loss is a mean over any number
    said = random(2, 3, 5).requires_grad_()
    pixels, rows = 40 * random(2, 3, 5, seed=1), torch.tensor([[0], [2]])
    assert torch.autograd.gradcheck(lambda s: masked.masked_pixel_loss(s, pixels, rows), said)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ShapeError, match="M from 1"):
        masked.masked_pixel_loss(random(1, 4, 8), random(1, 3, 8), torch.tensor([[0]]))
    with pytest.raises(ShapeError, match="M from 1"):
        masked.masked_pixel_loss(
            random(1, 4, 8), random(1, 4, 8), torch.zeros(1, 0, dtype=torch.long)
        )


# what is hidden


@pytest.mark.parametrize("kind", ["random", "block"])
@pytest.mark.parametrize(("grid", "share", "hidden"), [((8, 8), 0.6, 38), ((2, 3), 0.5, 3)])
def test_a_mask_hides_the_share_and_shows_the_rest(kind, grid, share, hidden):
    generator = torch.Generator().manual_seed(1)
    visible, dark = masked.draw_mask(50, grid, share, kind, generator)
    assert dark.shape == (50, hidden)
    both = torch.cat((visible, dark), dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(grid[0] * grid[1]).expand(50, -1))
    assert (visible.diff(dim=1) > 0).all() and (dark.diff(dim=1) > 0).all()
    assert len({tuple(row) for row in dark.tolist()}) > 5  # pictures differ
    again = masked.draw_mask(50, grid, share, kind, generator.manual_seed(1))
    assert torch.equal(again[1], dark)


def neighbours(dark, edge=8):
    """Share of the pairs of neighbours of which both are hidden or both are visible."""
    table = torch.zeros(len(dark), edge * edge).scatter(1, dark, 1.0).unflatten(1, (edge, edge))
    same = [(table.diff(dim=side) == 0).float().mean() for side in (1, 2)]
    return float(sum(same) / 2)


def test_blocks_hold_together_and_single_patches_do_not():
    found = {}
    for kind in ("random", "block"):
        generator = torch.Generator().manual_seed(1)
        found[kind] = neighbours(masked.draw_mask(200, (8, 8), 0.5, kind, generator)[1])
    assert found["random"] == pytest.approx(0.5, abs=0.03)
    assert found["block"] > 0.65


@pytest.mark.parametrize("kind", ["random", "block"])
def test_every_patch_is_hidden_sometimes(kind):
    generator = torch.Generator().manual_seed(1)
    dark = masked.draw_mask(400, (4, 4), 0.5, kind, generator)[1]
    shares = torch.zeros(400, 16).scatter(1, dark, 1.0).mean(0)
    assert shares.min() > 0.2 and shares.max() < 0.8


def test_at_least_one_patch_is_hidden_and_one_shown():
    for share, hidden in ((0.05, 1), (0.95, 3)):
        assert masked.draw_mask(1, (2, 2), share, "random", None)[1].shape[1] == hidden


@pytest.mark.parametrize(("kind", "grid"), [("stripes", (4, 4)), ("random", (1, 1))])
def test_masks_that_cannot_be_are_refused(kind, grid):
    with pytest.raises(ConfigError, match="random, block"):
        masked.draw_mask(1, grid, 0.5, kind, None)


def painter(seed=1):
    torch.manual_seed(seed)
    return masked.Painter(Encoder(EncoderShape(2, 32, 2, 64, image_hw=(64, 64)))).eval()


def test_the_painter_does_not_see_what_is_hidden():
    network, images = painter(), pictures(2)
    visible, dark = masked.draw_mask(2, (4, 4), 0.6, "random", torch.Generator().manual_seed(1))
    patches = images.unflatten(2, (4, 16)).unflatten(1, (4, 16)).transpose(2, 3).clone()
    cells = patches.flatten(1, 2)
    for image, row in enumerate(dark.tolist()):
        cells[image, row] = 255 - cells[image, row]
    changed = cells.unflatten(1, (4, 4)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    assert changed.shape == images.shape and not torch.equal(changed, images)
    with torch.no_grad():
        assert torch.equal(network(changed, visible), network(images, visible))
        assert not torch.equal(network(255 - images, visible), network(images, visible))


def test_the_painter_answers_each_place_of_its_own():
    network, images = painter(), pictures(1)
    with torch.no_grad():
        said = network(images, torch.tensor([[0, 5]]))
    assert said.shape == (1, 16, 768)
    assert torch.cdist(said[0], said[0]).fill_diagonal_(1.0).min() > 1e-3


def test_places_are_sines_of_row_and_column():
    table = masked.sine_places((3, 5), 8)
    assert table.shape == (1, 16, 8) and not table[0, 0].any()
    row, column = 2, 4
    wanted = [f(side * r) for side in (row, column) for f in (np.sin, np.cos) for r in (1.0, 0.01)]
    np.testing.assert_allclose(table[0, 1 + row * 5 + column].numpy(), wanted, atol=1e-6)


def test_patches_the_encoder_sees_are_normalised_as_at_work():
    network, images = painter(), pictures(2)
    everything = torch.arange(16).expand(2, -1)
    with torch.no_grad():
        tokens = masked.sparse_tokens(network.encoder, images, everything)
        torch.testing.assert_close(tokens, network.encoder(normalise(images))[:, 1:])
