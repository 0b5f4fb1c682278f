# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Start an encoder from the weights another stage has learned."""

from pathlib import Path

from robollm_core.beit3.encoder import Encoder
from robollm_core.errors import CheckpointError
from robollm_core.training.checkpoint import load_checkpoint

_PREFIX = "encoder."


def load_encoder(encoder: Encoder, init: str) -> None:
    """Copy the encoder's weights from a checkpoint of any stage.

    Args:
        encoder: takes the weights.
        init: path of a best.pt; "" leaves the random start.

    Raises:
        CheckpointError: If the file cannot be read or its encoder has another size.
    """
    if not init:
        return
    weights = load_checkpoint(Path(init), "")["model"]
    own = {
        name.removeprefix(_PREFIX): value
        for name, value in weights.items()
        if name.startswith(_PREFIX)
    }
    if not own:
        raise CheckpointError(f"{init} has no weights under {_PREFIX!r}; give a best.pt.")
    try:
        encoder.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(f"the encoder in {init} has another shape: {error}") from error
