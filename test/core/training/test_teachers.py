# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders in files as teachers: every kind of file, and what is said of it afterwards."""

import hashlib
import json
from pathlib import Path

import pytest
import small_sets
import torch
from torch.nn import functional

pytest.importorskip("onnx")

from robollm_core.beit3 import build
from robollm_core.beit3.adapters import AdapterShape, attach
from robollm_core.beit3.encoder import Encoder, EncoderShape, normalise
from robollm_core.cli.main import main
from robollm_core.defects.model import build_defects
from robollm_core.errors import CheckpointError, ConfigError
from robollm_core.export.onnx import round_weights
from robollm_core.training import defects, encoder
from robollm_core.training.checkpoint import load_checkpoint
from robollm_core.training.encoder_teacher import find_teacher
from robollm_core.training.recipe import build_recipe
from robollm_core.training.run import train

ROOT = Path(__file__).parents[3]
NATIVE = 48
CROP = {"size_px": NATIVE, "mode": "pad", "blank": True, "margin": 0.0}
MODEL = {"size": "base", "img_size": NATIVE}
SMALL = {
    "image_px": 64,
    "cache_px": 72,
    "steps": 4,
    "validate_every": 0.5,
    "batch": 8,
    "tensorboard": False,
}


def sized(depth, width):
    def make(img_size, *, detection=False, drop_path=0.0):
        hw = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        window = 2 if detection else 0
        return Encoder(EncoderShape(depth, width, 2, 2 * width, hw, window, (), drop_path))

    return make


@pytest.fixture(autouse=True)
def smaller_encoders(monkeypatch):
    """Sizes of the real names that cost nothing; the teacher is a "base"."""
    for name, depth, width in (("tiny", 2, 32), ("base", 3, 48), ("large", 4, 64)):
        monkeypatch.setitem(build.SIZES, name, sized(depth, width))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    small_sets.write_picks(root / "picks")
    small_sets.write_defects(root / "defects")
    return root


def defect_network(seed=1):
    torch.manual_seed(seed)
    network = build_defects(MODEL)
    for parameter in network.parameters():  # biases and norms begin at 0 and 1: tell them apart
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network.eval()


def save_run(network, path, stage="defects", **more):
    content = {"recipe": {"model": MODEL, "crop": CROP, **more}, "model": network.state_dict()}
    torch.save({"format": 1, "stage": stage, **content}, path)
    return path


def published(source):
    """An encoder's weights under torchscale's names, both experts and the text side."""
    parts = {
        "attention.out": "self_attn.out_proj.A",
        "attention.inner_norm": "self_attn.inner_attn_ln.A",
        "attention_norm": "self_attn_layer_norm.A",
        "ffn_norm": "final_layer_norm.A",
        "ffn.fc1": "ffn.A.fc1",
        "ffn.fc2": "ffn.A.fc2",
        "ffn.inner_norm": "ffn.A.ffn_layernorm",
    }
    outside = {
        "cls_token": "vision_embed.cls_token",
        "patch_embed.weight": "vision_embed.proj.weight",
        "patch_embed.bias": "vision_embed.proj.bias",
        "norm.weight": "encoder.layer_norm.A.weight",
        "norm.bias": "encoder.layer_norm.A.bias",
    }
    made = {"text_embed.weight": torch.zeros(5, source.width)}
    for name, tensor in source.state_dict().items():
        if name == "positions":
            padding = torch.zeros(2, source.width)
            made["encoder.embed_positions.A.weight"] = torch.cat((padding, tensor[0]))
        elif name in outside:
            made[outside[name]] = tensor
        else:
            _, number, *middle, leaf = name.split(".")
            layer, part = f"encoder.layers.{number}", ".".join(middle)
            if part == "attention.qkv":
                for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                    made[f"{layer}.self_attn.{letter}_proj.A.{leaf}"] = third
            else:
                made[f"{layer}.{parts[part]}.{leaf}"] = tensor
    made |= {n.replace(".A.", ".B."): t + 1 for n, t in made.items() if ".layers." in n}
    return {f"beit3.{name}": tensor.clone() for name, tensor in made.items()}


def write_run(folder):
    network = defect_network()
    return save_run(network, folder / "best.pt"), network.encoder


def write_export(folder):
    network = defect_network()
    words = ("--checkpoint", str(save_run(network, folder / "best.pt")))
    assert main(["export", "defects", *words, "--out", str(folder / "defects.onnx")]) == 0
    return folder / "defects.onnx", round_weights(network).encoder


def write_published(folder):
    source = defect_network().encoder
    torch.save({"model": published(source)}, folder / "beit3.pth")
    return folder / "beit3.pth", source


def write_conversion(folder):
    path, source = write_published(folder)
    assert main(["convert", str(path), str(folder / "beit3.safetensors")]) == 0
    return folder / "beit3.safetensors", source


def write_adapted(folder):
    network, shape = defect_network(), AdapterShape(4, 4, 1.0)
    attach(network.encoder, shape)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model = {**MODEL, "adapter": shape.to_json()}
    return save_run(network, folder / "adapted.pt", model=model), network.encoder


def write_detector(folder):
    torch.manual_seed(1)
    source = build.build("base", (48, 64), detection=True)
    weights = {f"backbone.encoder.{name}": t for name, t in source.state_dict().items()}
    recipe = {"input_height": 48, "input_width": 64}
    path = folder / "detector.pt"
    torch.save({"format": 1, "stage": "segmentation", "recipe": recipe, "model": weights}, path)
    return path, None


WRITERS = {
    "run": write_run,
    "export": write_export,
    "published": write_published,
    "conversion": write_conversion,
    "adapted": write_adapted,
}


def pictures(count=2, size=64):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_teacher_says_what_the_encoder_in_the_file_says(tmp_path, kind):
    path, source = WRITERS[kind](tmp_path)
    teacher = find_teacher(str(path))
    assert teacher.encoder.shape.image_hw == (NATIVE, NATIVE)
    images = pictures(size=NATIVE)
    with torch.no_grad():
        (wanted,) = [source.eval().feature_map(normalise(images))]
    (found,) = teacher(images)
    torch.testing.assert_close(found, wanted)
    assert found.shape == (2, 48, 3, 3) and teacher.channels == (48,)
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_detectors_encoder_teaches_at_its_shorter_side(tmp_path):
    teacher = find_teacher(str(write_detector(tmp_path)[0]))
    assert teacher.encoder.shape.image_hw == (48, 48) and teacher.encoder.shape.window == 2
    assert teacher(pictures())[0].shape == (2, 48, 4, 4)


def test_the_teacher_sees_its_own_size_and_answers_for_the_students_patches(tmp_path):
    path, source = write_run(tmp_path)
    images = pictures()
    (found,) = find_teacher(str(path))(images)
    smooth = {"mode": "bilinear", "align_corners": False, "antialias": True}
    with torch.no_grad():
        pixels = functional.interpolate(normalise(images), (NATIVE, NATIVE), **smooth)
        wanted = functional.interpolate(source.feature_map(pixels), (4, 4), **smooth)
    torch.testing.assert_close(found, wanted)


def test_the_teacher_is_frozen(tmp_path):
    teacher = find_teacher(str(write_run(tmp_path)[0])).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(pictures())[0].requires_grad


@pytest.mark.parametrize("model", ["segmentation", "identification", "defects"])
def test_the_shipped_networks_can_teach(monkeypatch, model):
    monkeypatch.setitem(build.SIZES, "tiny", build.tiny)
    teacher = find_teacher(str(ROOT / f"models/tiny/{model}.onnx"))
    (found,) = teacher(pictures(1, 64))
    assert found.shape == (1, 256, 4, 4) and found.isfinite().all()


def recipe_with(path, **changes):
    return {**SMALL, "teacher": str(path), **changes}


def test_targets_of_a_file_have_unit_variance(data, tmp_path):
    checked = build_recipe(encoder.EncoderRecipe, recipe_with(write_run(tmp_path)[0]))
    task = encoder.EncoderTask(checked, data, tmp_path)
    for part in task.network.regressors.parameters():
        torch.nn.init.zeros_(part)
    (error,) = task.module.errors(task.network, task._sample(), torch.arange(16).expand(128, -1))
    assert float(error.detach()) == pytest.approx(1.0, abs=0.02)


def test_a_run_goes_on_with_the_same_teacher_alone(data, tmp_path):
    path, _ = write_run(tmp_path)
    from robollm_core.training.loop import Run

    checked = build_recipe(encoder.EncoderRecipe, recipe_with(path))
    train("encoder", recipe_with(path), data, tmp_path / "whole")
    run = Run(
        encoder.EncoderTask(checked, data, tmp_path / "part"),
        checked,
        tmp_path / "part",
        minutes=None,
    )
    run._begin(resume=False)
    run._step()
    run._after_step()
    run._save()
    half = (tmp_path / "part" / "last.pt").read_bytes()
    train("encoder", recipe_with(path), data, tmp_path / "part", resume=True)
    one, two = (load_checkpoint(tmp_path / n / "last.pt", "encoder") for n in ("whole", "part"))
    for part in ("model", "mean"):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])
    assert not any("teacher" in name for name in one["model"])

    (tmp_path / "part" / "last.pt").write_bytes(half)
    save_run(defect_network(seed=2), path)
    with pytest.raises(CheckpointError, match=r"best\.pt changed"):
        train("encoder", recipe_with(path), data, tmp_path / "part", resume=True)


def test_the_lineage_names_the_file_and_its_hash(data, tmp_path):
    path, _ = write_run(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    start = train("encoder", recipe_with(path), data, tmp_path / "encoder")
    wanted = {"stage": "teacher", "file": "best.pt", "sha256": digest}
    assert load_checkpoint(start, "encoder")["origin"] == [wanted]
    checked = build_recipe(defects.DefectRecipe, {**SMALL, "init": str(start)})
    task = defects.DefectTask(checked, data / "defects", tmp_path / "defects")
    assert task.origin[0] == wanted
    assert task.origin[1]["stage"] == "encoder"
    assert task.origin[1]["teacher"] == f"the encoder in best.pt (sha256 {digest})"
    # a student that teaches: what came before it is told too
    second = train("encoder", recipe_with(start), data, tmp_path / "second")
    stages = [run["stage"] for run in load_checkpoint(second, "encoder")["origin"]]
    assert stages == ["teacher", "teacher"]


def test_a_student_of_another_teacher_takes_the_encoder_alone(data, tmp_path):
    first = train("encoder", recipe_with(write_run(tmp_path)[0]), data, tmp_path / "first")
    other = save_run(defect_network(seed=2), tmp_path / "other.pt")
    checked = build_recipe(encoder.EncoderRecipe, recipe_with(other, init=str(first)))
    task = encoder.EncoderTask(checked, data, tmp_path / "second")
    content = load_checkpoint(first, "encoder")["model"]
    state = task.network.state_dict()
    assert all(torch.equal(state[n], t) == n.startswith("encoder.") for n, t in content.items())
    assert [run["file"] for run in task.origin] == ["best.pt", "best.pt", "other.pt"]


@pytest.mark.slow
def test_a_student_learns_from_a_file(data, tmp_path):
    recipe = recipe_with(write_run(tmp_path)[0], steps=150, rate=3e-3, disguise=0.0, ema=0.9)
    start = train("encoder", recipe, data, tmp_path / "run")
    assert load_checkpoint(start, "encoder")["metrics"]["select"] > 0.3


@pytest.mark.slow
def test_a_base_encoder_teaches_a_tiny_one(monkeypatch, data, tmp_path):
    """The real sizes, random weights, two steps."""
    for name in ("tiny", "base", "large"):
        monkeypatch.setitem(build.SIZES, name, getattr(build, name))
    monkeypatch.setattr(encoder, "CHUNK", 2)  # fewer pictures to measure the teacher on
    torch.manual_seed(1)
    path = tmp_path / "base.pt"
    source = build.build("base", 224)
    torch.save({"model": published(source)}, path)
    recipe = recipe_with(path, steps=2, batch=2, val_images=2, validate_every=1.0)
    start = train("encoder", recipe, data / "defects", tmp_path / "run")
    assert load_checkpoint(start, "encoder")["model"]["regressors.0.weight"].shape == (768, 256)


def test_the_command_names_the_teacher(data, tmp_path):
    path, _ = write_run(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"stage": "encoder", **SMALL}))
    words = ["--recipe", str(recipe), "--data", str(data), "--out", str(tmp_path / "run")]
    assert main(["train", "encoder", *words, "--teacher", str(path)]) == 0
    assert load_checkpoint(tmp_path / "run" / "best.pt", "encoder")["recipe"]["teacher"] == str(
        path
    )


# files that cannot teach


def test_neither_a_name_nor_a_file_is_refused_with_both_named(tmp_path):
    with pytest.raises(ConfigError, match=r"one of efficientnet-lite0, or a file .*got 'resnet'"):
        find_teacher("resnet")


@pytest.mark.parametrize("name", ["gone.pt", "gone.onnx", "gone.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(CheckpointError, match=name):
        find_teacher(str(tmp_path / name))


def test_a_file_without_an_encoder_is_refused(tmp_path):
    path = tmp_path / "head.pt"
    torch.save({"format": 1, "stage": "x", "model": {"head.weight": torch.zeros(3, 4)}}, path)
    with pytest.raises(CheckpointError, match="holds no BEiT-3 encoder"):
        find_teacher(str(path))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        ({"encoder.blocks.2": None}, "2 blocks, width 48 and inner width 96, which is none of"),
        ({"encoder.positions": torch.zeros(1, 8, 48)}, "7 positions are no square"),
        ({"encoder.norm.bias": None}, r"missing: norm\.bias"),
        ({"encoder.norm.bias": torch.full((48,), float("nan"))}, "not finite"),
    ],
)
def test_an_encoder_that_is_not_whole_is_refused(tmp_path, spoil, match):
    path = save_run(defect_network(), tmp_path / "best.pt")
    content = torch.load(path)
    for name, value in spoil.items():
        for found in [n for n in content["model"] if n.startswith(name)]:
            del content["model"][found]
        if value is not None:
            content["model"][name] = value
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=match):
        find_teacher(str(path))


def test_a_hostile_pickle_is_not_run(tmp_path):
    import pickle

    class Bad:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "bad.pt"
    path.write_bytes(pickle.dumps(Bad()))
    with pytest.raises(CheckpointError, match=r"bad\.pt"):
        find_teacher(str(path))
    assert not (tmp_path / "ran").exists()


def test_crops_must_fit_the_patches(data, tmp_path):
    changed = recipe_with(write_run(tmp_path)[0], image_px=40)
    with pytest.raises(ConfigError, match="multiple of 16"):
        encoder.EncoderTask(build_recipe(encoder.EncoderRecipe, changed), data, tmp_path)
