# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One way into the training of every stage."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robollm_core.training.distributed import first_rank_first, process_group
from robollm_core.training.loop import Run
from robollm_core.training.recipe import build_recipe


def train(
    stage: str,
    recipe: Mapping[str, Any],
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    minutes: float | None = None,
) -> Path:
    """Train the network of a stage, with the other processes where torchrun started several.

    Args:
        stage: name of a file here: "encoder", "segmentation", "identification"
            or "defects".
        recipe: keys of the stage's recipe class.
        data: folder in the layout of the stage.
        out: folder of the run: last.pt, best.pt, log.csv, tensorboard, cache.
        resume: go on from its last.pt.
        minutes: stop after so many minutes of training, the schedule fitted to them.

    Returns:
        best.pt: the averaged weights that did best on the val split.

    Raises:
        RobollmError: If recipe, data, checkpoint or output is not as it should be.
    """
    room = importlib.import_module(f"robollm_core.training.{stage}")
    checked = build_recipe(room.RECIPE, recipe)
    with process_group(checked.device):
        with first_rank_first():  # who comes first cuts the crops
            task = room.TASK(checked, data, out)
        return Run(task, checked, out, minutes=minutes).run(resume=resume)
