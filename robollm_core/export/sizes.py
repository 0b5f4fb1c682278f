# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The input sizes a segmentation network is exported for: one artifact a size."""

from collections.abc import Sequence
from pathlib import Path

from robollm_core.beit3.checkpoint import read_checkpoint
from robollm_core.errors import ConfigError
from robollm_core.segmentation.design import design_from, read_size

Size = tuple[int, int]


def sizes_of(stage: str, checkpoint: Path, asked: Sequence[str] = ()) -> tuple[Size | None, ...]:
    """Which sizes to export.

    Args:
        stage: "segmentation", "identification" or "defects".
        checkpoint: its recipe may list sizes under `export_sizes`.
        asked: sizes to take in place of those, such as "480x640", height first.

    Returns:
        None for the size of the recipe, then (height, width) in pixels of the others.

    Raises:
        ConfigError: If a size cannot be had, or sizes are asked of another stage.
        CheckpointError: If the file cannot be read.
    """
    if stage != "segmentation":
        if asked:
            raise ConfigError(
                f"only segmentation has a choice of sizes; the crops of {stage} have the size of "
                "the recipe. Leave --size out."
            )
        return (None,)
    design = design_from(read_checkpoint(checkpoint).recipe)
    others = {read_size(text): None for text in (asked or design.export_sizes.split())}
    others.pop(design.input_hw, None)
    return (None, *others)


def sized_path(out: Path, size: Size | None) -> Path:
    """Where the artifact of a size goes: x.onnx for the recipe's, else x_480x640.onnx."""
    return out if size is None else out.with_name(f"{out.stem}_{size[0]}x{size[1]}{out.suffix}")
