# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""MultiWay-Adapter: what a site adds to each block of a frozen encoder.

Source: Long et al., "MultiWay-Adapter" (ICASSP 2024; thesis ch. 6). With x' the
tokens after attention, a block answers

    knowledge = alpha * ReLU(LN(x') W_down) W_up      bottleneck 64, beside the FFN
    x         = x' + FFN(LN(x')) + knowledge
    out       = x + alpha * ReLU(LN(x) V_down) V_up   bottleneck 128, after the sum

The first is the New Knowledge Extractor, the second the Alignment Enhancer. The
text gives both the same form; the published code puts the enhancer where it is
here, after the residual sum of the whole block, and uses a full feed-forward
network for it. We take the form and widths of the text, the place of the code.
Each has a LayerNorm of its own, as in the code, because those of the backbone
are frozen. As in the code, drop path leaves out the enhancer, not the extractor.

Parameters of a block of width d, for a bottleneck b: 2 d b + b + 3 d (two
matrices, two biases, one LayerNorm). Base, d = 768: 100 672 + 199 040 = 299 712 a
block, 3.60 M in 12 blocks, 4.02 % of encoder and adapters. Published for Base:
7.13 M, 3.21 % of the full multiway network of 222 M, which has an adapter for each
of two modalities; two of ours would be 7.19 M, or 7.12 M without the norms. Large,
d = 1024: 9.59 M in 24 blocks, 3.06 %; published 17.4 M, while two of ours would be
19.2 M, so the published Large was built otherwise than its text says.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional

from robollm_core.beit3.layers import NORM_EPS, Block, DropPath
from robollm_core.errors import ConfigError

MOST = 16384


@dataclass(frozen=True, slots=True)
class AdapterShape:
    """Sizes of the adapters of an encoder, alike in all blocks.

    Attributes:
        width: bottleneck of the New Knowledge Extractor.
        enhancer: bottleneck of the Alignment Enhancer, 0 for none.
        alpha: factor of what either adds.
    """

    width: int = 64
    enhancer: int = 128
    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Refuse sizes that are none.

        Raises:
            ConfigError: If a bottleneck is no whole number in its range, or alpha
                is not positive and finite.
        """
        for name, least in (("width", 1), ("enhancer", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= MOST:
                raise ConfigError(
                    f"the {name} of an adapter must be a whole number in {least}..{MOST}, "
                    f"got {value!r}."
                )
        numeric = isinstance(self.alpha, int | float) and not isinstance(self.alpha, bool)
        if not numeric or not 0.0 < self.alpha < float("inf"):
            raise ConfigError(f"the alpha of an adapter must be above 0, got {self.alpha!r}.")

    def to_json(self) -> dict[str, Any]:
        """As the branch "adapter" of a recipe's "model" holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Any) -> "AdapterShape":
        """Read that branch.

        Raises:
            ConfigError: If a key is unknown or a value out of range.
        """
        known = ("width", "enhancer", "alpha")
        if not isinstance(tree, Mapping) or not tree.keys() <= set(known):
            raise ConfigError(f"model.adapter takes {', '.join(known)}, got {tree!r}.")
        return cls(**tree)


class Bottleneck(nn.Module):
    """alpha * ReLU(LN(x) W_down + b_down) W_up + b_up, which starts as zero."""

    def __init__(self, width: int, inner: int, alpha: float) -> None:
        """Build width -> inner -> width; W_up and the biases start at zero."""
        super().__init__()
        self.alpha = alpha
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        out: Tensor = self.alpha * self.up(functional.relu(self.down(self.norm(tokens))))
        return out


class BlockAdapter(nn.Module):
    """What one block gets: extractor beside the feed-forward network, enhancer after it."""

    def __init__(self, width: int, shape: AdapterShape, drop_path: float) -> None:
        """Build both for tokens of `width` channels."""
        super().__init__()
        self.knowledge = Bottleneck(width, shape.width, shape.alpha)
        self.enhancer = Bottleneck(width, shape.enhancer, shape.alpha) if shape.enhancer else None
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, fed: Tensor) -> Tensor:
        """Finish a block.

        Args:
            tokens: (N, T, d), x': the stream after attention.
            fed: (N, T, d), what the feed-forward network adds to it.

        Returns:
            (N, T, d).
        """
        tokens = tokens + fed + self.knowledge(tokens)
        if self.enhancer is None:
            return tokens
        out: Tensor = tokens + self.drop_path(self.enhancer(tokens))
        return out


def attach(encoder: nn.Module, shape: AdapterShape) -> None:
    """Give every block of an encoder a fresh adapter; its answers do not change yet.

    Args:
        encoder: an `Encoder`; adapters it had are replaced, its own weights and
            what of them is frozen stay as they are.
        shape: sizes.
    """
    for block in _blocks(encoder):
        weight = block.ffn.fc2.weight
        adapter = BlockAdapter(block.ffn.fc2.out_features, shape, block.drop_path.chance)
        block.adapter = adapter.to(weight.device).train(block.training)


def detach(encoder: nn.Module) -> None:
    """Take the adapters off; what is left is the backbone."""
    for block in _blocks(encoder):
        block.adapter = None


def attach_asked(encoder: nn.Module, settings: Any) -> None:
    """Attach what the branch "adapter" of the "model" branch of a recipe asks for, if any.

    Raises:
        ConfigError: If the branch is not as it should be.
    """
    if isinstance(settings, Mapping) and "adapter" in settings:
        attach(encoder, AdapterShape.from_json(settings["adapter"]))


def is_adapter(name: str) -> bool:
    """Whether a dotted tensor name is of an adapter."""
    return ".adapter." in name


def _blocks(encoder: nn.Module) -> list[Block]:
    return cast(list[Block], list(encoder.get_submodule("blocks").children()))
