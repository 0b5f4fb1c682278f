# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The objectives of a classifier by name."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from robollm_core.errors import ConfigError
from robollm_core.training.losses import focal_loss, lifted, smoothed_cross_entropy
from robollm_core.training.weighted import Robustness, lacln_loss, scl_rhe_loss

CLASS_OBJECTIVES = ("ce", "focal", "clce", "scl_rhe")

CONTRAST_SHARE = 0.9
"""Lambda of CLCE; for "scl_rhe" the share of SCL-RHE beside the classifier's cross-entropy."""


@dataclass(frozen=True, eq=False)
class ClassObjective:
    """Loss of a batch of classified images.

    "ce" is cross-entropy with label smoothing, "focal" the focal loss. "clce"
    and "scl_rhe" add a contrast between the features of the batch, brought to
    unit length: (1 - lambda) CE + lambda LACLN or SCL-RHE. A batch without two
    images of one class has no contrast and keeps the first term alone.

    Attributes:
        name: one of `CLASS_OBJECTIVES`.
        weights: (C,) float of the classes, of cross-entropy and focal loss.
        smoothing: of the labels, but for "focal".
        gamma: of "focal", from 0.
        tau_plus: of "scl_rhe": chance that two drawn images share their class.
    """

    name: str
    weights: Tensor
    smoothing: float = 0.0
    gamma: float = 2.0
    tau_plus: float = 1 / 3

    def __post_init__(self) -> None:
        """Check name and range.

        Raises:
            ConfigError: If there is no such objective, or a number is out of range.
        """
        if self.name not in CLASS_OBJECTIVES:
            raise ConfigError(
                f"no objective {self.name!r}; the objectives are {', '.join(CLASS_OBJECTIVES)}."
            )
        if not (0 <= self.smoothing < 1 and self.gamma >= 0):
            raise ConfigError(
                "smoothing must be in [0, 1) and gamma from 0, got "
                f"{self.smoothing} and {self.gamma}."
            )

    def __call__(self, feature: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            feature: (N, d) float, what the classifier sees.
            logits: (N, C) float.
            labels: (N,) int64 in 0..C-1.

        Returns:
            () float.
        """
        weights = self.weights.to(logits.device)
        if self.name == "focal":
            return focal_loss(logits, labels, self.gamma, weights)
        entropy = smoothed_cross_entropy(logits, labels, self.smoothing, weights)
        if self.name == "ce":
            return entropy
        if len(labels.unique()) == len(labels):
            return (1 - CONTRAST_SHARE) * entropy + 0.0 * lifted(feature).sum()
        unit = functional.normalize(lifted(feature), dim=1)
        if self.name == "clce":
            contrast = lacln_loss(unit, labels)
        else:
            contrast = scl_rhe_loss(unit, labels, settings=Robustness(tau_plus=self.tau_plus))
        return (1 - CONTRAST_SHARE) * entropy + CONTRAST_SHARE * contrast
