# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training checkpoints: plain dictionaries, written whole or not at all."""

import pickle
from pathlib import Path
from typing import Any

import torch

from robollm_core.beit3.containers import FORMAT
from robollm_core.errors import CheckpointError, OutputError
from robollm_core.files import replacing


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write beside the target, then rename.

    Args:
        path: the target.
        content: tensors, plain scalars, lists and dicts alone; "format" is added.

    Raises:
        OutputError: If it cannot be written; the old file, if any, stays.
    """
    try:
        with replacing(path) as part, part.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
    except RuntimeError as error:  # torch's zip writer raises it for a full disk
        raise OutputError(
            f"cannot write the checkpoint {path}: {error}. The one from before stands; free "
            "some space and add --resume."
        ) from error


def load_checkpoint(path: Path, stage: str) -> dict[str, Any]:
    """Read a checkpoint without running anything in it.

    Args:
        path: the file.
        stage: what it must hold; "" takes any.

    Returns:
        The dictionary, tensors on the CPU.

    Raises:
        CheckpointError: If it is missing, damaged, of another format or stage.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a robollm checkpoint of format {FORMAT}.")
    if stage and content.get("stage") != stage:
        raise CheckpointError(f"{path} holds {content.get('stage')!r}, wanted {stage!r}.")
    return content
