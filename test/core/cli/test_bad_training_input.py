# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are not what they should be: the command names the file and the way out.

Each is refused with code 2 in one line, before anything is written.
"""

import json
import os
import shutil

import pytest
import small_sets
import torch

from robollm_core.cli.main import main
from robollm_core.identification.model import build_identification
from robollm_core.training.checkpoint import save_checkpoint

SETTINGS = {"size": "tiny", "img_size": 32, "embedding": 16, "fusion": 128}
RECIPES = {
    "identification": "embedding: 16\nfusion: 128\nbatch_items: 4\ngroup: 1\n",
    "defects": "batch: 8\n",
}
COMMON = "image_px: 32\ncache_px: 40\nsteps: 2\nvalidate_every: 1.0\n"


pytestmark = pytest.mark.usefixtures("narrow_encoder")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Both data sets, not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    small_sets.write_picks(folder / "identification")
    small_sets.write_defects(folder / "defects")
    return folder


@pytest.fixture
def train(shared, tmp_path, capsys):
    """Runs the command on a stage; gives its code and its last line of complaint."""

    def run(stage, *changes, data=None):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"stage: {stage}\n{COMMON}{RECIPES[stage]}")
        words = ["train", stage, "--recipe", str(recipe), "--data", str(data or shared / stage)]
        for change in changes:
            words += ["--set", change]
        code = main([*words, "--out", str(tmp_path / "run")])
        said = capsys.readouterr().err.splitlines()
        assert "Traceback" not in "".join(said)
        return code, said[-1] if said else ""

    return run


class Code:
    """Makes a folder when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def weights():
    torch.manual_seed(0)
    return build_identification(SETTINGS).state_dict()


def own(model, settings=SETTINGS, stage="identification"):
    return {"format": 1, "stage": stage, "recipe": {"model": settings}, "model": model, "step": 1}


def language_model(path):
    names = ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
             "model.layers.0.mlp.gate_proj.weight", "lm_head.weight")  # fmt: skip
    torch.save({name: torch.zeros(8, 8) for name in names}, path)


def half_download(path):
    torch.save(own(weights()), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def web_page(path):
    path.write_text("<html><body>404 Not Found</body></html>")


def empty(path):
    path.write_bytes(b"")


def code_in_it(path):
    torch.save({**own(weights()), "extra": Code(path.with_name("ran"))}, path)


def shape_mismatch(path):
    model = weights()
    name = next(n for n in model if n.startswith("encoder.blocks.0") and model[n].dim() == 2)
    torch.save(own({**model, name: model[name][:, :-1].clone()}), path)


def other_size(path):
    settings = {**SETTINGS, "embedding": 24}
    torch.save(own(build_identification(settings).state_dict(), settings), path)


def head_is_missing(path):
    torch.save(own({n: t for n, t in weights().items() if not n.startswith("fusion.")}), path)


def one_layer_is_missing(path):
    torch.save(own({n: t for n, t in weights().items() if "blocks.1." not in n}), path)


def newer_format(path):
    torch.save({**own(weights()), "format": 99}, path)


def not_a_number(path):
    model = weights()
    torch.save(
        own({**model, "fc_norm.bias": torch.full_like(model["fc_norm.bias"], torch.nan)}), path
    )


INITS = {
    language_model: "no layout known here",
    half_download: "safely",
    web_page: "safely",
    empty: "safely",
    code_in_it: "safely",
    shape_mismatch: "wrong shape: encoder.blocks.0",
    other_size: "wrong shape",
    head_is_missing: "missing: fusion.",
    one_layer_is_missing: "missing: encoder.blocks.1",
    newer_format: "format 99",
    not_a_number: "not finite: fc_norm.bias",
}
REMEDIES = ("Give the", "Expected", "Build the network", "Train it again", "robollm convert")


@pytest.mark.parametrize("make", INITS, ids=lambda make: make.__name__)
def test_a_start_that_is_none_is_named_and_nothing_is_written(train, tmp_path, make):
    file = tmp_path / f"{make.__name__}.pt"
    make(file)
    # a file without a stage gives its encoder, one of the stage the whole network
    code, said = train("identification", f"init={file}")
    assert code == 2
    assert file.name in said and INITS[make] in said
    assert any(remedy in said for remedy in REMEDIES)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("stage", RECIPES)
@pytest.mark.parametrize("name", ["gone.pt", "gone.onnx"])
def test_a_start_that_is_not_there_is_named(train, tmp_path, stage, name):
    code, said = train(stage, f"init={tmp_path / name}")
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert name in said


def test_a_start_of_another_stage_gives_its_encoder_alone(train, tmp_path):
    file = tmp_path / "identification.pt"
    save_checkpoint(file, own(weights()))
    assert train("defects", f"init={file}")[0] == 0


@pytest.mark.parametrize("stage", RECIPES)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("encoder=huge", "tiny, base, large"),
        ("encoder=Tiny", "tiny, base, large"),
        ("stepps=3", "Did you mean steps?"),
        ("steps=many", "steps"),
        ("steps=0", "at least 1"),
        ("objective=magic", "objective"),
        ("head=hydra", "head"),
        ("crop_mode=fold", "mode"),
    ],
)
def test_a_wrong_recipe_is_named_and_nothing_is_written(train, tmp_path, stage, change, said):
    code, line = train(stage, change)
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert said in line


@pytest.mark.parametrize("content", ["", "[1, 2]", "steps: [", "stage: [identification]"])
def test_a_file_that_is_no_recipe_is_named(shared, tmp_path, capsys, content):
    recipe = tmp_path / "odd.yaml"
    recipe.write_text(content)
    words = ["train", "identification", "--recipe", str(recipe), "--out", str(tmp_path / "run")]
    code = main([*words, "--data", str(tmp_path / "nowhere")])
    said = capsys.readouterr().err
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert "odd.yaml" in said or "nowhere" in said  # an empty recipe is all defaults


@pytest.fixture
def picks(shared, tmp_path):
    """A data set to break."""
    return shutil.copytree(shared / "identification", tmp_path / "picks")


def broken_view(picks):
    file = sorted((picks / "Picks").glob("train*/PickRGB.jpg"))[3]
    file.write_bytes(file.read_bytes()[:-300])
    return file


def broken_reference(picks):
    file = sorted((picks / "Reference_Images" / "P02").glob("*.jpg"))[0]
    file.write_bytes(b"")
    return file


def no_item(picks):
    file = sorted((picks / "Picks").glob("train*/annotation.json"))[3]
    tree = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in tree.items() if k != "GT_ID"}))
    return file


def odd_region(picks):
    file = sorted((picks / "Picks").glob("train*/annotation.json"))[3]
    file.write_text(json.dumps({**json.loads(file.read_text()), "PickRGB": "everywhere"}))
    return file.parent


def lost_container(picks):
    file = sorted((picks / "Picks").glob("train*/container.json"))[3]
    file.unlink()
    return file


def no_split(picks):
    file = picks / "train-test-split.pickle"
    file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    return file


@pytest.mark.parametrize(
    "spoil",
    [broken_view, broken_reference, no_item, odd_region, lost_container, no_split],
    ids=lambda spoil: spoil.__name__,
)
def test_a_spoilt_data_set_is_named_by_file(train, picks, tmp_path, spoil):
    file = spoil(picks)
    code, said = train("identification", data=picks)
    assert code == 2
    assert str(file) in said
    # crops are cut before training: what is cut by then may stay, a checkpoint or half a file not
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert left == []


def test_a_class_that_is_unknown_is_named(shared, train, tmp_path):
    data = shutil.copytree(shared / "defects", tmp_path / "defects")
    note = sorted((data / "data").rglob("*.json"))[5]
    note.write_text(json.dumps({**json.loads(note.read_text()), "label": "on_fire"}))
    code, said = train("defects", data=data)
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert str(note) in said and "multi_pick, nominal, package_defect" in said


@pytest.mark.parametrize("make", [language_model, half_download, code_in_it, head_is_missing],
                         ids=lambda make: make.__name__)  # fmt: skip
def test_a_checkpoint_that_is_none_is_not_exported(tmp_path, capsys, make):
    pytest.importorskip("onnx")
    file, out = tmp_path / f"{make.__name__}.pt", tmp_path / "models" / "x.onnx"
    make(file)
    words = ["export", "identification", "--checkpoint", str(file), "--out", str(out)]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert file.name in said[-1]
    assert not out.parent.exists() and not (tmp_path / "ran").exists()
