# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded by step, resumable to the identical state, timed.

Every random choice is a function of (seed, step). So a checkpoint needs no
generator states, and a resumed run takes exactly the steps that an
uninterrupted one would have taken.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from robollm_core.errors import CheckpointError, OutputError, RuntimeUnavailableError
from robollm_core.training.checkpoint import load_checkpoint, save_checkpoint
from robollm_core.training.journal import Journal
from robollm_core.training.optimizer import (
    build_optimizer,
    clip_gradient,
    progress,
    rate_factor,
    running_mean,
    set_rate,
)
from robollm_core.training.recipe import LoopRecipe, recipe_values
from robollm_core.training.warm import Origin

OPERATION = frozenset({"device", "threads", "workers", "save_minutes"})
"""Recipe keys that say how a run is carried out, and may change when it goes on."""

_ABSENT = object()


class Task(Protocol):
    """What is trained: draws its own batches and judges itself on the val split."""

    stage: str
    blocks: int
    origin: Origin

    @property
    def module(self) -> nn.Module:
        """Everything with a gradient; its attribute `network` is what ships."""

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """Loss of the batch of this step at this progress, and figures to log."""

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


@dataclass
class Position:
    """Where a run is."""

    step: int = 0
    elapsed_s: float = 0.0
    validations: int = 0
    best: float = float("-inf")
    best_step: int = -1
    judged_step: int = -1


def pick_device(recipe: LoopRecipe) -> torch.device:
    """The device the recipe asks for.

    Raises:
        RuntimeUnavailableError: If it is not there.
    """
    if recipe.device not in ("cpu", "cuda"):
        raise RuntimeUnavailableError(f"device must be cpu or cuda, got {recipe.device!r}.")
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailableError("the recipe asks for cuda and torch sees no such device.")
    if recipe.device == "cpu":
        # sharp attention has gradients too small for normal floats, on which a CPU
        # computes so slowly that a step of a trained network takes twice its time
        torch.set_flush_denormal(True)
    if recipe.threads > 0:
        torch.set_num_threads(recipe.threads)
    return torch.device(recipe.device)


def plain_attention(device: torch.device) -> AbstractContextManager[None]:
    """Attention as matrix products on a CPU, torch's choice elsewhere.

    For short sequences the backward of the CPU's fused kernel takes longer than
    the products it saves: a step of the tiny encoder is a fifth faster without.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


class Run:
    """One training run in one folder: last.pt, best.pt, log.csv."""

    def __init__(self, task: Task, recipe: LoopRecipe, out: Path, *, minutes: float | None) -> None:
        """Set up; nothing is written before the first checkpoint."""
        self.task = task
        self.recipe = recipe
        self.out = out
        self.minutes = minutes
        self.device = pick_device(recipe)
        task.module.to(self.device)
        self.optimizer = build_optimizer(task.module, recipe, task.blocks)
        self.mean: AveragedModel = running_mean(task.module, recipe.ema)
        self.at = Position()
        self.journal = Journal(out / "log.csv")
        self._started = 0.0
        self._saved_s = 0.0

    def run(self, *, resume: bool) -> Path:
        """Train to the end of the steps or of the time.

        Args:
            resume: go on from last.pt; without, the folder must not hold one.

        Returns:
            The checkpoint that did best on the val split.

        Raises:
            CheckpointError: If there is nothing to resume, or it fits another recipe.
            OutputError: If the folder holds a run that was not asked to go on.
        """
        self._begin(resume=resume)
        self._started = time.perf_counter() - self.at.elapsed_s
        with tqdm(
            total=self.recipe.steps, initial=self.at.step, unit="step", mininterval=1.0
        ) as bar:
            while self._done() < 1.0:
                bar.set_postfix(self._step(), refresh=False)
                bar.update()
                self._after_step()
        if self.at.judged_step != self.at.step:
            self._validate()
        self._save()
        print(self.summary())
        return self.out / "best.pt"

    def summary(self) -> str:
        """One line about the run."""
        return (
            f"{self.task.stage}: {self.at.step} steps in {self.at.elapsed_s / 60:.1f} min, "
            f"best {self.at.best:.4f} at step {self.at.best_step}: {self.out / 'best.pt'}"
        )

    def _done(self) -> float:
        return progress(self.at.step, self.recipe.steps, self.at.elapsed_s, self.minutes)

    def _step(self) -> dict[str, str]:
        done = self._done()
        factor = rate_factor(done, warmup=self.recipe.warmup, floor=self.recipe.floor)
        set_rate(self.optimizer, self.recipe.rate * factor)
        # a hash, because torch's generator looks at the lower 32 bits alone
        words = np.random.SeedSequence((self.recipe.seed, self.at.step)).generate_state(1)
        torch.manual_seed(int(words[0]))
        self.task.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16)
        with plain_attention(self.device), precision:
            loss, figures = self.task.loss(self.at.step, done)
        loss.backward()
        norm = float(clip_gradient(self.task.module, self.recipe.clip))
        self.optimizer.step()
        self.mean.update_parameters(self.task.module)
        self.at.step += 1
        self.at.elapsed_s = time.perf_counter() - self._started
        row = {
            "rate": self.recipe.rate * factor,
            "loss": float(loss.detach()),
            "norm": norm,
            **figures,
        }
        self.journal.add(self.at.step, self.at.elapsed_s, row)
        return {"loss": f"{row['loss']:.3f}", **{k: f"{v:.3f}" for k, v in figures.items()}}

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
        network.eval()
        with torch.inference_mode():
            figures = self.task.validate(network)
        self.at.judged_step = self.at.step
        self.at.elapsed_s = time.perf_counter() - self._started  # the budget pays for this too
        self.journal.add(
            self.at.step, self.at.elapsed_s, {f"val_{k}": v for k, v in figures.items()}
        )
        tqdm.write(f"step {self.at.step}: " + " ".join(f"{k}={v:.4f}" for k, v in figures.items()))
        if figures["select"] > self.at.best:
            self.at.best, self.at.best_step = figures["select"], self.at.step
            content = {"model": network.state_dict(), "metrics": figures, "step": self.at.step}
            save_checkpoint(self.out / "best.pt", {**self._head(), **content})

    def _head(self) -> dict[str, Any]:
        recipe = recipe_values(self.recipe)
        origin = [dict(run) for run in self.task.origin]
        return {"stage": self.task.stage, "recipe": recipe, "origin": origin}

    def _save(self) -> None:
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
        self._saved_s = self.at.elapsed_s

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
        try:
            self.task.module.load_state_dict(content["model"])
            self.mean.load_state_dict(content["mean"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.at = Position(**content["position"])
            self.task.restore(content["task"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.out / 'last.pt'} does not fit: {error}") from error
        self.journal.resume(self.at.step)
