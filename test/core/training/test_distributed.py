# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes that talk over gloo do what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_sets
import torch

from robollm_core.errors import ConfigError
from robollm_core.training import distributed

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"image_px": 32, "cache_px": 40, "steps": 4, "validate_every": 0.5, "precision": "fp32"}
PICKS = {**SMALL, "embedding": 16, "fusion": 128, "batch_items": 5, "group": 2, "references": 2}
IMAGES = {**SMALL, "batch": 8, "loss_balance": 1.0}
VIEWS = {**SMALL, "batch": 8, "objective": "views"}

NARROW = """
import json, sys
from pathlib import Path
import torch
from robollm_core.beit3 import build
from robollm_core.beit3.encoder import Encoder, EncoderShape

def narrow(img_size, *, detection=False, drop_path=0.0):
    size = (img_size, img_size)
    return Encoder(EncoderShape(2, 32, 2, 64, image_hw=size, drop_path=drop_path))

build.SIZES["tiny"] = narrow
stage, recipe = sys.argv[1], json.loads(sys.argv[2])
data, out = Path(sys.argv[3]), Path(sys.argv[4])
"""

ONE_STEP = """
import importlib
from robollm_core.training.distributed import first_rank_first, process_group
from robollm_core.training.loop import Run
from robollm_core.training.recipe import build_recipe

room = importlib.import_module("robollm_core.training." + stage)
checked = build_recipe(room.RECIPE, recipe)
with process_group("cpu") as here:
    with first_rank_first():
        task = room.TASK(checked, data, out)
    run = Run(task, checked, out, minutes=None)
    task.module.train()
    parts = [run._backward(part, 0.0) for part in range(checked.accumulate)]
    gradients = {n: p.grad for n, p in task.module.named_parameters() if p.grad is not None}
    seen = len(task.batch["images"])
    torch.save((parts, gradients, seen), out / f"rank_{here.rank}.pt")
"""

WHOLE_RUN = """
from robollm_core.training.run import train
train(stage, recipe, data, out)
"""


def start(code, folder, processes, words):
    script = folder / "script.py"
    folder.mkdir(parents=True, exist_ok=True)
    script.write_text(NARROW + code)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), *words]
    if processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone"]
        command = [sys.executable, *torchrun, f"--nproc_per_node={processes}", *command[1:]]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=180)
    return done.returncode, done.stdout, done.stderr


def on(code, folder, processes, stage, recipe, data):
    words = [stage, json.dumps(recipe), str(data), str(folder)]
    status, out, error = start(code, folder, processes, words)
    assert status == 0, error
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return {
        "encoder": root,
        "identification": small_sets.write_picks(root / "picks"),
        "defects": small_sets.write_defects(root / "defects"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "recipe"),
    [
        ("identification", PICKS),
        ("identification", {**PICKS, "accumulate": 2, "activation_checkpointing": True}),
        ("defects", IMAGES),
        ("encoder", VIEWS),
    ],
)
def test_two_processes_give_the_loss_and_gradients_of_one(data, tmp_path, stage, recipe):
    on(ONE_STEP, tmp_path / "one", 1, stage, recipe, data[stage])
    on(ONE_STEP, tmp_path / "two", 2, stage, recipe, data[stage])
    losses, gradients, seen = torch.load(tmp_path / "one" / "rank_0.pt")
    assert stage != "identification" or "fused" in losses[0]
    for rank in (0, 1):
        parts, mine, own = torch.load(tmp_path / "two" / f"rank_{rank}.pt")
        assert own == -(-seen // 2)  # each does half of the work
        for part, whole in zip(parts, losses, strict=True):
            assert part == pytest.approx(whole, abs=1e-5)
        assert mine.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_a_run_of_two_processes_ends_at_the_weights_of_one(data, tmp_path):
    recipe = {**PICKS, "save_minutes": 0.0}
    picks = data["identification"]
    on(WHOLE_RUN, tmp_path / "one", 1, "identification", recipe, picks)
    out = on(WHOLE_RUN, tmp_path / "two", 2, "identification", recipe, picks)
    assert out.count("2 processes") == 1 and out.count("4 steps") == 2  # the first alone speaks
    one, two = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("one", "two"))
    for name, weight in one["model"].items():
        torch.testing.assert_close(two["model"][name], weight, rtol=1e-3, atol=2e-4, msg=name)
    assert (tmp_path / "two" / "best.pt").exists()
    assert len((tmp_path / "two" / "log.csv").read_text().splitlines()) == len(
        (tmp_path / "one" / "log.csv").read_text().splitlines()
    )


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(data, tmp_path):
    recipe = {**IMAGES, "workers": 1}
    on(WHOLE_RUN, tmp_path, 1, "defects", recipe, data["defects"])
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    content["position"]["step"] = content["step"] = 2
    torch.save(content, tmp_path / "last.pt")
    resume = WHOLE_RUN.replace("out)", "out, resume=True)")
    on(resume, tmp_path, 2, "defects", recipe, data["defects"])
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 4


def test_shards_cover_the_batch_once(monkeypatch):
    def of(rank, size):
        monkeypatch.setattr(distributed, "ranks", lambda: distributed.Ranks(rank, size))
        return np.arange(12)[distributed.shard(12)]

    assert np.concatenate([of(rank, 3) for rank in range(3)]).tolist() == list(range(12))


def test_padded_shards_are_of_one_length_and_cover_all(monkeypatch):
    parts = []
    for rank in range(4):
        monkeypatch.setattr(distributed, "ranks", lambda r=rank: distributed.Ranks(r, 4))
        parts.append(distributed.padded_shard(10))
    assert {len(part) for part in parts} == {3}
    assert np.concatenate(parts)[:10].tolist() == list(range(10))


def test_a_batch_that_ranks_do_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "ranks", lambda: distributed.Ranks(0, 4))
    with pytest.raises(ConfigError, match=r"batch is 6.*batch=8"):
        distributed.shard(6)


def test_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    rows = torch.rand(3, 2, requires_grad=True)
    with distributed.process_group("cpu") as here:
        assert here == distributed.Ranks(0, 1) and here.first
        assert distributed.gather(rows, 3) is rows
        assert distributed.agreed("x") == "x"
        assert float(distributed.mean_over_ranks(torch.tensor(2.5))) == 2.5
