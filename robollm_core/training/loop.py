# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded by step, resumable to the identical state, timed.

Every random choice is a function of (seed, step). So a checkpoint needs no
generator states, and a resumed run takes exactly the steps that an
uninterrupted one would have taken. With gradient accumulation, what is counted
is the batch: step * accumulate + its number in the step.

In several processes all take the same steps. The first rank alone validates,
logs and writes, and the clock is its clock.
"""

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from robollm_core.beit3.encoder import Encoder
from robollm_core.errors import CheckpointError, OutputError, TrainingError
from robollm_core.training.adapting import shipped, trainable_share
from robollm_core.training.bar import Bar
from robollm_core.training.checkpoint import load_checkpoint, save_checkpoint
from robollm_core.training.distributed import agreed, mean_over_ranks, ranks, wait
from robollm_core.training.hardware import pick_device, pick_precision, plain_attention
from robollm_core.training.journal import Journal
from robollm_core.training.optimizer import (
    build_optimizer,
    clip_gradient,
    progress,
    rate_factor,
    running_mean,
    set_rate,
)
from robollm_core.training.recipe import GATE_KEYS, LoopRecipe, recipe_values
from robollm_core.training.warm import Origin

OPERATION = frozenset(
    {
        "device",
        "threads",
        "workers",
        "save_minutes",
        "precision",
        "activation_checkpointing",
        "tensorboard",
        *GATE_KEYS,
    }
)
"""Recipe keys that say how a run is carried out, and may change when it goes on.

The precision that comes of it may not.
"""

_ABSENT = object()


class Task(Protocol):
    """What is trained: draws its own batches and judges itself on the val split."""

    stage: str
    blocks: int
    origin: Origin
    batch: Mapping[str, Tensor]
    """What this process saw in its last batch: "images", and what belongs to them."""

    @property
    def module(self) -> nn.Module:
        """Everything with a gradient; its attribute `network` is what ships."""

    @property
    def epoch_steps(self) -> int:
        """Batches in which as many samples are drawn as there are."""

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """Loss of the batch of this number at this progress, and figures to log."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on the val split; "select" is the one that decides, higher is better."""

    def state(self) -> dict[str, Any]:
        """What besides weights the next steps depend on."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take `state` back."""


class Trainee(nn.Module):
    """A network under the name the loop looks for, for tasks that train nothing beside it."""

    def __init__(self, network: nn.Module) -> None:
        """Hold the network."""
        super().__init__()
        self.network = network


class Objective(nn.Module):
    """The loss of a task as a module, which is what DistributedDataParallel takes."""

    def __init__(self, task: Task) -> None:
        """Hold what is trained, so that its gradients are found."""
        super().__init__()
        self.trained = task.module
        self._task = [task]  # in a list, so that a task that is a module is no part of this

    def forward(self, number: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """`Task.loss`."""
        return self._task[0].loss(number, done)


@dataclass
class Position:
    """Where a run is.

    Attributes:
        step: steps taken.
        elapsed_s: seconds of training and validating.
        validations: of those that were due, how many were made.
        best: highest "select" so far.
        best_step: the step it was reached at, -1 before the first.
        judged_step: the step of the last validation.
        stale: validations since the best.
    """

    step: int = 0
    elapsed_s: float = 0.0
    validations: int = 0
    best: float = float("-inf")
    best_step: int = -1
    judged_step: int = -1
    stale: int = 0


class Run:
    """One training run in one folder: last.pt, best.pt, log.csv, tensorboard."""

    def __init__(self, task: Task, recipe: LoopRecipe, out: Path, *, minutes: float | None) -> None:
        """Set up; nothing is written before the first checkpoint."""
        self.task = task
        self.recipe = recipe
        self.out = out
        self.minutes = minutes
        self.ranks = ranks()
        self.device = pick_device(recipe)
        self.precision = pick_precision(recipe, self.device)
        self.steps = recipe.steps
        if recipe.epochs:
            self.steps = math.ceil(recipe.epochs * task.epoch_steps / recipe.accumulate)
        task.module.to(self.device)
        for module in task.module.modules():
            if isinstance(module, Encoder):
                module.recomputes = recipe.activation_checkpointing
        self.optimizer = build_optimizer(task.module, recipe, task.blocks)
        self.mean: AveragedModel = running_mean(task.module, recipe.ema)
        self.objective: nn.Module = Objective(task)
        if self.ranks.size > 1:
            self.objective = DistributedDataParallel(self.objective, find_unused_parameters=True)
        self.at = Position()
        board = out / "tensorboard" if recipe.tensorboard and self.ranks.first else None
        self.journal = Journal(out / "log.csv", board)
        self._started = 0.0
        self._saved_s = 0.0

    def run(self, *, resume: bool) -> Path:
        """Train to the end of the steps, of the time or of the patience.

        Args:
            resume: go on from last.pt; without, the folder must not hold one.

        Returns:
            The checkpoint that did best on the val split.

        Raises:
            CheckpointError: If there is nothing to resume, or it fits another recipe.
            OutputError: If the folder holds a run that was not asked to go on.
            TrainingError: If the loss or the gradient is no number any more.
        """
        self._begin(resume=resume)
        self._say(self.heading())
        self._started = time.perf_counter() - self.at.elapsed_s
        self._saved_s = self.at.elapsed_s
        with Bar(self.steps, self.at.step, self.at.elapsed_s, self.minutes, self.ranks) as bar:
            while not self._over():
                figures, images = self._step()
                bar.show(self.at.step, self.at.elapsed_s, images, figures)
                self._after_step()
        if self.at.judged_step != self.at.step:
            self._validate()
        self._save()
        self.journal.close()
        wait()
        self._say(self.summary())
        return self.out / "best.pt"

    def heading(self) -> str:
        """What is about to run, on what."""
        epochs = self.steps * self.recipe.accumulate / self.task.epoch_steps
        many = f"{self.ranks.size} processes" if self.ranks.size > 1 else "1 process"
        limit = f", at most {self.minutes:g} min" if self.minutes else ""
        return (
            f"{self.task.stage}: {self.device.type}, {self.precision}, {many}; "
            f"{trainable_share(self.task.module)}; "
            f"{self.steps} steps, {epochs:.1f} epochs{limit}"
        )

    def summary(self) -> str:
        """One line about the run."""
        early = f", stopped early: {self.at.stale} validations without gain" * self._stale()
        return (
            f"{self.task.stage}: {self.at.step} steps in {self.at.elapsed_s / 60:.1f} min{early}, "
            f"best {self.at.best:.4f} at step {self.at.best_step}: {self.out / 'best.pt'}"
        )

    def _say(self, text: str) -> None:
        if self.ranks.first:
            tqdm.write(text)

    def _done(self) -> float:
        return progress(self.at.step, self.steps, self.at.elapsed_s, self.minutes)

    def _stale(self) -> bool:
        return bool(self.recipe.patience) and self.at.stale >= self.recipe.patience

    def _over(self) -> bool:
        return self._done() >= 1.0 or self._stale()

    def _step(self) -> tuple[dict[str, float], int]:
        done, recipe = self._done(), self.recipe
        factor = rate_factor(done, warmup=recipe.warmup, floor=recipe.floor)
        set_rate(self.optimizer, recipe.rate * factor)
        self.task.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        total: dict[str, float] = {}
        images = 0
        for part in range(recipe.accumulate):
            for name, value in self._backward(part, done).items():
                total[name] = total.get(name, 0.0) + value / recipe.accumulate
            images += len(self.task.batch["images"]) * self.ranks.size
        norm = float(clip_gradient(self.task.module, recipe.clip))
        if not math.isfinite(norm):
            self._stop("gradient", {"norm": norm, **total})
        self.optimizer.step()
        self.mean.update_parameters(self.task.module)
        self.at.step += 1
        self.at.elapsed_s = agreed(time.perf_counter() - self._started)
        row = {"rate": recipe.rate * factor, "loss": total.pop("loss"), "norm": norm, **total}
        self.journal.add(self.at.step, self.at.elapsed_s, row)
        return {"loss": row["loss"], **total}, images

    def _backward(self, part: int, done: float) -> dict[str, float]:
        """Add the gradient of one batch of a step; its loss and figures."""
        number = self.at.step * self.recipe.accumulate + part
        self._seed(number)
        last = part == self.recipe.accumulate - 1
        cast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        # attention computed anew in the backward pass must be the same attention
        with plain_attention(self.device), self._alone(not last):
            with cast:
                loss, figures = self.objective(number, done)
            value = float(mean_over_ranks(loss))
            if not math.isfinite(value):
                self._stop("loss", {"loss": value, **figures})
            (loss / self.recipe.accumulate).backward()
        return {"loss": value, **figures}

    def _alone(self, alone: bool) -> AbstractContextManager[None]:
        """Without a sum over the ranks, as long as it is not the last batch of a step."""
        if alone and isinstance(self.objective, DistributedDataParallel):
            return self.objective.no_sync()
        return nullcontext()

    def _seed(self, number: int) -> None:
        # a hash, because torch's generator looks at the lower 32 bits alone
        own = (self.ranks.rank,) if self.ranks.rank else ()
        words = np.random.SeedSequence((self.recipe.seed, number, *own)).generate_state(1)
        torch.manual_seed(int(words[0]))

    def _stop(self, what: str, figures: Mapping[str, float]) -> None:
        """Keep the batch for a look and end the run; last.pt is of before.

        Raises:
            TrainingError: Always.
        """
        step = self.at.step
        rank = f"_rank_{self.ranks.rank}" if self.ranks.size > 1 else ""
        path = self.out / f"nan_step_{step}{rank}.pt"
        batch = {name: value.detach().cpu() for name, value in self.task.batch.items()}
        content = {"step": step, "figures": dict(figures), "batch": batch}
        kept = f"The batch is in {path}"
        try:
            save_checkpoint(path, {**self._head(), **content})
        except OutputError as error:
            kept = f"The batch could not be kept: {error}"
        said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        raise TrainingError(
            f"{self.task.stage}: the {what} of step {step} is not finite ({said}; seed "
            f"{self.recipe.seed}, rate {self.recipe.rate:g}, precision {self.precision}). {kept}; "
            "last.pt is as it was. Look at the images, then lower rate, raise warmup or set "
            "precision=fp32."
        )

    def _after_step(self) -> None:
        due = int(self._done() / self.recipe.validate_every + 1e-9)
        if due > self.at.validations:
            self.at.validations = due
            self._validate()
            self._save()
        elif self.at.elapsed_s - self._saved_s > 60.0 * self.recipe.save_minutes:
            self._save()

    def _validate(self) -> None:
        network = self.mean.module.network
        assert isinstance(network, nn.Module)
        figures: dict[str, float] = {}
        if self.ranks.first:
            network.eval()
            with torch.inference_mode():
                figures = self.task.validate(network)
        figures = agreed(figures)
        self.at.judged_step = self.at.step
        self.at.elapsed_s = agreed(time.perf_counter() - self._started)  # the budget pays for it
        self.journal.add(
            self.at.step, self.at.elapsed_s, {f"val_{k}": v for k, v in figures.items()}
        )
        self._say(f"step {self.at.step}: " + " ".join(f"{k}={v:.4f}" for k, v in figures.items()))
        self.at.stale += 1
        if figures["select"] > self.at.best:
            self.at.best, self.at.best_step, self.at.stale = figures["select"], self.at.step, 0
            content = {**shipped(network), "metrics": figures, "step": self.at.step}
            if self.ranks.first:
                save_checkpoint(self.out / "best.pt", {**self._head(), **content})

    def _head(self) -> dict[str, Any]:
        recipe = recipe_values(self.recipe)
        origin = [dict(run) for run in self.task.origin]
        return {
            "stage": self.task.stage,
            "recipe": recipe,
            "origin": origin,
            "precision": self.precision,
        }

    def _save(self) -> None:
        self._saved_s = self.at.elapsed_s
        if not self.ranks.first:
            return
        content = {
            "model": self.task.module.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": vars(self.at).copy(),
            "step": self.at.step,
            "rng": {"seed": self.recipe.seed, "step": self.at.step},
            "task": self.task.state(),
        }
        save_checkpoint(self.out / "last.pt", {**self._head(), **content})
        self.journal.flush()

    def _begin(self, *, resume: bool) -> None:
        last = self.out / "last.pt"
        if resume:
            self._restore(load_checkpoint(last, self.task.stage))
        elif last.exists():
            raise OutputError(f"{self.out} holds a run already: add --resume or choose another.")

    def _restore(self, content: Mapping[str, Any]) -> None:
        now = recipe_values(self.recipe)
        changed = [
            key for key in now.keys() - OPERATION if content["recipe"].get(key, _ABSENT) != now[key]
        ]
        if changed:
            raise CheckpointError(
                f"the run in {self.out} has another recipe: {', '.join(sorted(changed))} changed. "
                "Resume with the same recipe, or start in another folder."
            )
        began = content.get("precision")
        if began != self.precision:
            raise CheckpointError(
                f"the run in {self.out} began in {began}, and here it would go on in "
                f"{self.precision}: set precision={began}."
            )
        try:
            self.task.module.load_state_dict(content["model"])
            self.mean.load_state_dict(content["mean"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.at = Position(**content["position"])
            self.task.restore(content["task"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.out / 'last.pt'} does not fit: {error}") from error
        self.journal.resume(self.at.step)
