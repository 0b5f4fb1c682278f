# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The loop on a small task: resume, time budget, selection, refusals."""

import csv
import resource
from dataclasses import replace

import pytest
import torch
from torch import nn

from robollm_core.beit3.encoder import Encoder, EncoderShape, normalise
from robollm_core.beit3.layers import Block
from robollm_core.errors import (
    CheckpointError,
    OutputError,
    RuntimeUnavailableError,
    TrainingError,
)
from robollm_core.training.checkpoint import load_checkpoint, save_checkpoint
from robollm_core.training.journal import Journal
from robollm_core.training.loop import Run
from robollm_core.training.recipe import LoopRecipe
from robollm_core.training.sparse import choose_patches, pooled_sparse

RECIPE = LoopRecipe(steps=12, rate=0.05, validate_every=0.25, ema=0.9, seed=3)
ALWAYS = replace(RECIPE, save_minutes=0.0)  # a checkpoint every step


class Lines(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))


class LineTask:
    """Regression with dropout, and a memory that the next batches depend on."""

    stage = "defects"
    origin = ({"stage": "encoder", "file": "start.pt", "sha256": "00"},)
    batch = {"images": torch.zeros(16, 4)}
    epoch_steps = 6
    blocks = 1

    def __init__(self, scores=None, stop_after=None) -> None:
        torch.manual_seed(0)
        self.module = Lines()
        self.memory = torch.zeros(4)
        self.scores = scores
        self.stop_after = stop_after
        self.judged = 0

    def loss(self, step, done):
        if step == self.stop_after:
            raise KeyboardInterrupt
        x = torch.randn(16, 4) + self.memory  # global chance: the loop seeds it by step
        self.memory = 0.5 * self.memory + 0.1 * x.mean(0)
        loss = (self.module.network(x)[:, 0] - x.sum(1)).pow(2).mean()
        return loss, {"done": done}

    def validate(self, network):
        assert not network.training
        self.judged += 1
        if self.scores:
            return {"select": self.scores[self.judged - 1]}
        x = torch.eye(4)
        return {"select": -float((network(x)[:, 0] - 1).pow(2).mean())}

    def state(self):
        return {"memory": self.memory}

    def restore(self, state):
        self.memory = state["memory"]


def rows(out):
    with (out / "log.csv").open() as file:
        return [(row["step"], row["name"], row["value"]) for row in csv.DictReader(file)]


def assert_same(first, second):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def without_clock(content):
    position = {k: v for k, v in content["position"].items() if k != "elapsed_s"}
    return {**content, "position": position}


@pytest.mark.parametrize("stop_after", [4, 7])  # after a validation, and between two
def test_resumed_equals_uninterrupted(tmp_path, stop_after):
    recipe = replace(RECIPE, save_minutes=0.0)  # a checkpoint every step
    Run(LineTask(), recipe, tmp_path / "whole", minutes=None).run(resume=False)
    broken = Run(LineTask(stop_after=stop_after), recipe, tmp_path / "broken", minutes=None)
    with pytest.raises(KeyboardInterrupt):
        broken.run(resume=False)
    assert load_checkpoint(tmp_path / "broken" / "last.pt", "")["step"] == stop_after
    torch.manual_seed(999)  # whatever the new process did before
    Run(LineTask(), recipe, tmp_path / "broken", minutes=None).run(resume=True)
    for name in ("last.pt", "best.pt"):
        whole = load_checkpoint(tmp_path / "whole" / name, "defects")
        again = load_checkpoint(tmp_path / "broken" / name, "defects")
        if name == "last.pt":
            whole, again = without_clock(whole), without_clock(again)
        assert_same(whole, again)
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        shape = EncoderShape(2, 16, 2, 32, image_hw=(32, 32), drop_path=0.3)
        self.network = Encoder(shape)


class ImageTask(LineTask):
    """An encoder with stochastic depth that pulls its mean token to one."""

    blocks = 2

    def __init__(self, stop_after=None, keep=1.0) -> None:
        super().__init__(stop_after=stop_after)
        torch.manual_seed(0)
        self.module = Images()
        self.keep = keep

    def loss(self, step, done):
        if step == self.stop_after:
            raise KeyboardInterrupt
        images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
        self.batch = {"images": images}
        encoder = self.module.network
        kept = choose_patches(images, self.keep)
        plain = encoder.pooled(normalise(images))
        loss = (pooled_sparse(encoder, images, kept) + plain - 1).pow(2).mean()
        return loss, {}

    def validate(self, network):
        return {"select": -float(network.norm.weight.sum())}


def test_resumed_equals_uninterrupted_with_everything_on(tmp_path):
    recipe = replace(RECIPE, accumulate=2, activation_checkpointing=True, save_minutes=0.0)
    recipe = replace(recipe, steps=6, ema=0.99)
    Run(ImageTask(), recipe, tmp_path / "whole", minutes=None).run(resume=False)
    with pytest.raises(KeyboardInterrupt):  # between the two batches of a step
        Run(ImageTask(stop_after=7), recipe, tmp_path / "broken", minutes=None).run(resume=False)
    assert load_checkpoint(tmp_path / "broken" / "last.pt", "")["step"] == 3
    Run(ImageTask(), recipe, tmp_path / "broken", minutes=None).run(resume=True)
    for name in ("last.pt", "best.pt"):
        whole = load_checkpoint(tmp_path / "whole" / name, "defects")
        again = load_checkpoint(tmp_path / "broken" / name, "defects")
        if name == "last.pt":
            whole, again = without_clock(whole), without_clock(again)
        assert_same(whole, again)
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")


def one_backward(recipe, tmp_path, keep=1.0):
    run = Run(ImageTask(keep=keep), recipe, tmp_path, minutes=None)
    run.task.module.train()
    loss = run._backward(0, 0.0)["loss"]
    return loss, {n: p.grad.clone() for n, p in run.task.module.named_parameters()}


@pytest.mark.parametrize("keep", [1.0, 0.5])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_computed_anew_give_the_same_gradients(tmp_path, keep, precision, monkeypatch):
    recipe = replace(RECIPE, precision=precision)
    loss, gradients = one_backward(recipe, tmp_path, keep)
    blocks = []
    forward = Block.forward
    monkeypatch.setattr(Block, "forward", lambda self, *a: blocks.append(self) or forward(self, *a))
    again, other = one_backward(replace(recipe, activation_checkpointing=True), tmp_path, keep)
    assert len(blocks) == 2 * 2 * 2  # two passes of two blocks, each block twice
    assert again == loss
    assert_same(other, gradients)


def test_accumulated_batches_make_the_mean_gradient(tmp_path):
    class Plain(LineTask):
        def loss(self, step, done):
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            return (self.module.network[0](x) - 1).pow(2).mean(), {"number": float(step)}

    run = Run(Plain(), replace(RECIPE, accumulate=3, clip=1e9), tmp_path, minutes=None)
    run.at.step = 2
    expected = torch.zeros(8, 4)
    for number in (6, 7, 8):
        run.task.module.zero_grad()
        run.task.loss(number, 0.0)[0].backward()
        expected += run.task.module.network[0].weight.grad / 3
    figures, images = run._step()
    torch.testing.assert_close(run.task.module.network[0].weight.grad, expected)
    assert figures["number"] == pytest.approx(7.0) and images == 3 * 16


def test_epochs_count_samples(tmp_path):
    recipe = replace(RECIPE, epochs=5, accumulate=4)  # 30 batches of 6 an epoch
    assert Run(LineTask(), recipe, tmp_path, minutes=None).steps == 8


def test_patience_ends_the_run(tmp_path, capsys):
    recipe = replace(RECIPE, steps=40, validate_every=0.05, patience=3)
    scores = [0.1, 0.5, 0.4, 0.6, 0.6, 0.5, 0.2, 0.9]
    Run(LineTask(scores=scores), recipe, tmp_path, minutes=None).run(resume=False)
    last = load_checkpoint(tmp_path / "last.pt", "")
    assert last["step"] == 14 and last["position"]["best_step"] == 8
    assert "stopped early: 3 validations without gain" in capsys.readouterr().out
    before = without_clock(last)
    Run(LineTask(), recipe, tmp_path, minutes=None).run(resume=True)  # it is over already
    assert_same(before, without_clock(load_checkpoint(tmp_path / "last.pt", "")))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_batch(tmp_path, value, where):
    class Broken(LineTask):
        def loss(self, step, done):
            loss, figures = super().loss(step, done)
            if step == 5 and where == "loss":
                loss = loss * value
            if step == 5 and where == "gradient":
                loss.register_hook(lambda gradient: gradient * value)
            self.batch = {"images": torch.full((2, 3), float(step)), "labels": torch.tensor([1])}
            return loss, figures

    recipe = replace(RECIPE, save_minutes=0.0)
    with pytest.raises(
        TrainingError, match=rf"defects: the {where} of step 5 .*nan_step_5"
    ) as info:
        Run(Broken(), recipe, tmp_path, minutes=None).run(resume=False)
    assert "seed 3" in str(info.value) and "done 0.4" in str(info.value)
    kept = torch.load(tmp_path / "nan_step_5.pt", weights_only=True)
    assert kept["batch"]["images"].unique().tolist() == [5.0]
    assert kept["batch"]["labels"].tolist() == [1] and kept["recipe"]["seed"] == 3
    last = load_checkpoint(tmp_path / "last.pt", "")
    assert last["step"] == 5
    assert all(bool(weight.isfinite().all()) for weight in last["model"].values())


def test_without_tensorboard_there_is_no_folder_of_it(tmp_path):
    Run(LineTask(), replace(RECIPE, tensorboard=False), tmp_path, minutes=None).run(resume=False)
    assert not (tmp_path / "tensorboard").exists()


def test_a_run_goes_on_in_the_precision_it_began_in(tmp_path):
    Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=False)
    with pytest.raises(CheckpointError, match="precision=fp32"):
        Run(LineTask(), replace(RECIPE, precision="bf16"), tmp_path, minutes=None).run(resume=True)


def test_a_run_says_what_it_is_about_to_do(tmp_path, capsys):
    task = LineTask()
    task.module.network[0].requires_grad_(False)
    Run(task, RECIPE, tmp_path, minutes=7).run(resume=False)
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("defects: cpu, fp32, 1 process; ")
    assert "(18.37%)" in said and "12 steps, 2.0 epochs, at most 7 min" in said


def test_another_seed_is_another_run(tmp_path):
    Run(LineTask(), RECIPE, tmp_path / "a", minutes=None).run(resume=False)
    Run(LineTask(), replace(RECIPE, seed=4), tmp_path / "b", minutes=None).run(resume=False)
    a, b = (load_checkpoint(tmp_path / n / "best.pt", "")["model"]["0.weight"] for n in "ab")
    assert not torch.equal(a, b)


def test_the_best_validation_ships_its_running_mean(tmp_path):
    task = LineTask(scores=[0.1, 0.9, 0.3, 0.2])
    best = Run(task, RECIPE, tmp_path, minutes=None).run(resume=False)
    content = load_checkpoint(best, "defects")
    assert content["step"] == 6 and content["metrics"] == {"select": 0.9}
    last = load_checkpoint(tmp_path / "last.pt", "defects")
    assert content["model"].keys() == task.module.network.state_dict().keys()
    assert not torch.equal(content["model"]["0.weight"], last["model"]["network.0.weight"])
    assert last["position"]["best_step"] == 6


def test_a_time_budget_ends_the_run_at_the_floor_of_the_rate(tmp_path):
    recipe = replace(RECIPE, steps=10**6, validate_every=0.5)
    Run(LineTask(), recipe, tmp_path, minutes=0.02).run(resume=False)
    last = load_checkpoint(tmp_path / "last.pt", "defects")
    assert 1.2 <= last["position"]["elapsed_s"] < 10.0
    assert 1 < last["step"] < 10**6
    rates = [float(value) for _, name, value in rows(tmp_path) if name == "rate"]
    assert rates[-1] < 0.1 * max(rates)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=False)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(OutputError, match="--resume"):
        Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=False)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_resume_needs_a_checkpoint_of_the_same_recipe(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=True)
    Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=False)
    with pytest.raises(CheckpointError, match="rate"):
        Run(LineTask(), replace(RECIPE, rate=0.1), tmp_path, minutes=None).run(resume=True)


def test_how_a_run_is_carried_out_may_change(tmp_path):
    Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=False)
    other = replace(RECIPE, threads=1, save_minutes=9.0)
    Run(LineTask(), other, tmp_path, minutes=None).run(resume=True)
    assert load_checkpoint(tmp_path / "last.pt", "")["recipe"]["save_minutes"] == 9.0


def test_a_truncated_checkpoint_is_refused(tmp_path):
    Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=False)
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:-2000])
    with pytest.raises(CheckpointError):
        Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=True)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    recipe = replace(RECIPE, save_minutes=0.0)
    broken = Run(LineTask(stop_after=3), recipe, tmp_path, minutes=None)
    with pytest.raises(KeyboardInterrupt):
        broken.run(resume=False)
    before = (tmp_path / "last.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # every longer write now fails
    try:
        with pytest.raises(OutputError):
            Run(LineTask(), recipe, tmp_path, minutes=None).run(resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_file_where_the_folder_of_a_run_should_be(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        save_checkpoint(tmp_path / "run" / "last.pt", {})
    with pytest.raises(OutputError, match="cannot write"):
        Journal(tmp_path / "run" / "log.csv").flush()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_an_absent_device_is_an_error(tmp_path):
    with pytest.raises(RuntimeUnavailableError, match="cuda"):
        Run(LineTask(), replace(RECIPE, device="cuda"), tmp_path, minutes=None)


def test_checkpoints_hold_no_code(tmp_path):
    Run(LineTask(), RECIPE, tmp_path, minutes=None).run(resume=False)
    for name in ("last.pt", "best.pt"):
        content = torch.load(tmp_path / name, weights_only=True)
        assert content["format"] == 1 and content["recipe"]["steps"] == 12
        assert content["origin"] == [dict(run) for run in LineTask.origin]


class Bomb:
    def __reduce__(self):
        return (print, ("a checkpoint ran code",))


def test_a_checkpoint_with_code_is_refused(tmp_path, capsys):
    torch.save({"format": 1, "stage": "defects", "bomb": Bomb()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "last.pt", "defects")
    assert "ran code" not in capsys.readouterr().out
