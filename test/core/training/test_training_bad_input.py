# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm train` on bad input: one line that names what is wrong, before hours are spent."""

import json

import pytest
import small_disk
import small_sets
import torch

from robollm_core.cli import main as command
from robollm_core.training import defects
from robollm_core.training.checkpoint import load_checkpoint

RECIPE = """stage: defects
image_px: 32
cache_px: 40
steps: 4
validate_every: 0.5
batch: 8
"""


pytestmark = pytest.mark.usefixtures("narrow_encoder")


@pytest.fixture
def data(tmp_path):
    return small_sets.write_defects(tmp_path / "data")


def train(data, out, *more):
    recipe = data.parent / "recipe.yaml"
    recipe.write_text(RECIPE)
    words = ["train", "defects", "--recipe", str(recipe), "--data", str(data), "--out", str(out)]
    return command.main([*words, *more])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("patiense=3", "Did you mean patience?"),
        ("encoder=huge", "tiny, base, large"),
        ("precision=fp16", "auto, fp32, bf16"),
        ("accumulate=0", "accumulate must be at least 1"),
        ("device=tpu", "cpu or cuda"),
    ],
)
def test_a_wrong_recipe_is_named(data, tmp_path, capsys, change, said):
    assert train(data, tmp_path / "run", "--set", change) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("cut", [0, 200])
def test_a_broken_image_is_named_before_the_first_step(data, tmp_path, capsys, cut, monkeypatch):
    steps = []
    monkeypatch.setattr(defects.DefectTask, "loss", lambda *_: steps.append(1))
    broken = sorted((data / "data").rglob("*.jpg"))[5]
    broken.write_bytes(broken.read_bytes()[:cut])
    assert train(data, tmp_path / "run") == 2
    assert broken.name in capsys.readouterr().err
    assert not steps


def test_a_class_that_is_unknown_is_named(data, tmp_path, capsys):
    path = sorted((data / "data").rglob("*.json"))[5]
    path.write_text(json.dumps({**json.loads(path.read_text()), "label": "on_fire"}))
    assert train(data, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert str(path) in said and "multi_pick, nominal, package_defect" in said


def test_a_loss_that_is_no_number_is_one_line(data, tmp_path, capsys):
    assert train(data, tmp_path / "run", "--set", "rate=1e30", "--set", "warmup=0") == 2
    said = capsys.readouterr().err
    assert "is not finite" in said and "Traceback" not in said
    (kept,) = (tmp_path / "run").glob("nan_step_*.pt")
    batch = torch.load(kept, weights_only=True)["batch"]
    assert batch["images"].shape == (8, 32, 32, 3) and batch["labels"].shape == (8,)


def test_the_command_says_device_precision_and_size_at_the_start(data, tmp_path, capsys):
    assert train(data, tmp_path / "run", "--set", "epochs=2", "--set", "accumulate=2") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("defects:")]
    assert "cpu, fp32, 1 process" in lines[0] and "parameters are trained (100.00%)" in lines[0]
    assert "steps" in lines[0] and "epochs" in lines[0]


FULL = """
import torch
from torch import nn
from pathlib import Path
from robollm_core.errors import OutputError
from robollm_core.training.checkpoint import load_checkpoint
from robollm_core.training.loop import Run, Trainee
from robollm_core.training.recipe import LoopRecipe

class Growing:
    stage, origin, blocks, epoch_steps = "defects", (), 1, 1
    batch = {"images": torch.zeros(1)}
    def __init__(self): self.module, self.more = Trainee(nn.Linear(4, 4)), torch.zeros(1)
    def loss(self, step, done):
        self.more = torch.zeros(10 if step < 2 else 1 << 20)
        return self.module.network(torch.ones(4)).sum(), {}
    def validate(self, network): return {"select": 0.0}
    def state(self): return {"more": self.more}
    def restore(self, state): pass

out = Path(%r)
recipe = LoopRecipe(steps=4, save_minutes=0.0, validate_every=1.0, tensorboard=False)
try:
    Run(Growing(), recipe, out, minutes=None).run(resume=False)
except OutputError as error:
    print("SAID", error)
print("STEP", load_checkpoint(out / "last.pt", "defects")["step"])
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_last_good_checkpoint(tmp_path):
    out, left = small_disk.run_on_small_disk(tmp_path / "run", 1000, FULL % str(tmp_path / "run"))
    assert "--resume" in out or "free some space" in out
    assert "STEP 2" in out and left == "['last.pt', 'log.csv']"


def test_a_stopped_run_goes_on_from_the_command(data, tmp_path):
    assert train(data, tmp_path / "run", "--set", "steps=2") == 0
    assert train(data, tmp_path / "run", "--set", "steps=4", "--resume") == 2  # another recipe
    assert train(data, tmp_path / "run", "--set", "steps=2", "--resume") == 0
    assert load_checkpoint(tmp_path / "run" / "last.pt", "defects")["step"] == 2
