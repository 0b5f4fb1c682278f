# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Feature distillation: every patch learns to say what a teacher says of it.

Source: "FitNets" (Romero et al., 2015) with linear regressors, on maps of unit
variance.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robollm_core.beit3.encoder import PATCH, Encoder
from robollm_core.training.pretext import Learner, Pretext
from robollm_core.training.sparse import choose_patches, sparse_tokens
from robollm_core.training.teachers import Teacher
from robollm_core.types import UInt8Array

_TINY = 1e-6


class Student(Learner):
    """The encoder, and a linear regressor for each map of the teacher; those do not ship."""

    def __init__(self, encoder: Encoder, channels: tuple[int, ...]) -> None:
        """Put regressors on an encoder."""
        super().__init__(encoder)
        self.regressors = nn.ModuleList(nn.Linear(encoder.width, count) for count in channels)

    def forward(self, images: Tensor, kept: Tensor) -> list[Tensor]:
        """(N, S, S, 3) uint8 RGB to what each patch says (N, K, c), one for each map.

        Args:
            images: S the encoder's native size.
            kept: (N, K) int64, the patches asked, row by row.
        """
        tokens = sparse_tokens(self.encoder, images, kept)
        return [regressor(tokens) for regressor in self.regressors]


class Lesson(Pretext):
    """Student and teacher, and what the teacher's channels are on such pictures."""

    network: Student

    def __init__(self, network: Student, teacher: Teacher) -> None:
        """Hold both; the teacher's weights stay out of the checkpoints."""
        super().__init__(network)
        self._teacher = [teacher]  # in a list, so that it is no part of this module
        self.strides = teacher.strides
        for stride, count in zip(self.strides, teacher.channels, strict=True):
            self.register_buffer(f"mean_{stride}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"deviation_{stride}", torch.ones(1, count, 1, 1))

    def measure(self, images: Tensor) -> None:
        """Take mean and deviation of each channel from (N, S, S, 3) uint8 pictures."""
        for stride, seen in zip(self.strides, self._teacher[0](images), strict=True):
            deviation, mean = torch.std_mean(seen, dim=(0, 2, 3), keepdim=True)
            self.get_buffer(f"mean_{stride}").copy_(mean)
            self.get_buffer(f"deviation_{stride}").copy_(deviation.clamp(min=_TINY))

    def errors(self, network: Student, images: Tensor, kept: Tensor) -> list[Tensor]:
        """Mean squared error of each map at the patches kept, 1 for one who says the mean."""
        targets = self._teacher[0].to(images.device)(images)
        errors = []
        for stride, said, target in zip(self.strides, network(images, kept), targets, strict=True):
            mean = self.get_buffer(f"mean_{stride}")
            wanted = (target.float() - mean) / self.get_buffer(f"deviation_{stride}")
            # a cell of a coarser map is what all patches under it should say
            wanted = functional.interpolate(wanted, scale_factor=float(stride // PATCH))
            wanted = wanted.flatten(2).transpose(1, 2)
            wanted = wanted.gather(1, kept.unsqueeze(-1).expand(-1, -1, wanted.shape[2]))
            errors.append(functional.mse_loss(said.float(), wanted))
        return errors

    def loss(
        self, images: Tensor, pictures: Tensor, keep: float
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error, in variances of the teacher's channels."""
        errors = self.errors(self.network, images, choose_patches(images, keep))
        figures = {f"stride_{s}": float(e.detach()) for s, e in self._by_stride(errors)}
        return torch.stack(errors).mean(), figures

    def judge(self, network: nn.Module, crops: UInt8Array) -> dict[str, float]:
        """Explained variance of each map; "select" is their mean."""
        assert isinstance(network, Student)
        sums = np.zeros(len(self.strides))
        for images in self.chunks(crops):
            errors = self.errors(network, images, choose_patches(images, 1.0))
            sums += len(images) * np.array([float(error) for error in errors])
        explained = 1.0 - sums / len(crops)
        figures = {f"stride_{s}": float(e) for s, e in self._by_stride(list(explained))}
        return {**figures, "select": float(explained.mean())}

    def _by_stride(self, values: list[Tensor]) -> list[tuple[int, Tensor]]:
        return list(zip(self.strides, values, strict=True))
