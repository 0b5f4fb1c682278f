# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training in several processes, started by torchrun: torch.distributed, one process a GPU.

All ranks draw the same plan of the same global batch, and each augments and
forwards its own shard. Where the loss looks at the whole batch, the features
are gathered with their gradients, and each rank computes the whole loss: the
backward of the gathering adds the gradients of all ranks up, and
DistributedDataParallel takes their mean, so the result is the gradient of one
process that sees the whole batch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather

from robollm_core.errors import ConfigError, RuntimeUnavailableError

PATIENCE = timedelta(hours=6)
"""How long ranks wait for the first, who cuts crops and validates alone."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process of how many this is.

    Attributes:
        rank: from 0.
        size: 1 without torchrun.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this one validates, logs and writes."""
        return self.rank == 0


def ranks() -> Ranks:
    """Ask torch; one process alone where no group was formed."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Ranks()
    return Ranks(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; do nothing without it, or within a group.

    Args:
        device: "cpu" talks over gloo, "cuda" over nccl.

    Yields:
        Which process this is.

    Raises:
        RuntimeUnavailableError: If the processes do not find each other, or there
            are fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield ranks()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise RuntimeUnavailableError(
                f"process {local} of this machine has no GPU of its own: torch sees "
                f"{torch.cuda.device_count()}. Start fewer with --nproc_per_node."
            )
        torch.cuda.set_device(local)
    backend = "nccl" if device == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RuntimeUnavailableError(
            f"the processes do not find each other: {error}. Start with torchrun."
        ) from error
    try:
        yield ranks()
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_rank_first() -> Iterator[None]:
    """The first rank does the block alone, then the others do, who find its files."""
    here = ranks()
    if here.size > 1 and not here.first:
        distributed.barrier()
    try:
        yield
    finally:
        if here.size > 1 and here.first:
            distributed.barrier()


def wait() -> None:
    """Until all ranks are here."""
    if ranks().size > 1:
        distributed.barrier()


def shard(count: int, what: str = "batch") -> slice:
    """The equal part of so many things that is this rank's own.

    Args:
        count: of the global batch.
        what: the recipe key, for the error.

    Returns:
        Consecutive, in the order of the ranks.

    Raises:
        ConfigError: If there is no such equal part.
    """
    here = ranks()
    if count % here.size:
        raise ConfigError(
            f"{what} is {count}, and {here.size} processes need a multiple of {here.size}: "
            f"set {what}={-(-count // here.size) * here.size}, or start another number."
        )
    part = count // here.size
    return slice(here.rank * part, (here.rank + 1) * part)


def padded_shard(count: int) -> npt.NDArray[np.int64]:
    """As `shard`, for any count: the last ranks repeat things from the start.

    Returns:
        (ceil(count / size),) int64; `gather` drops the repetitions.
    """
    here = ranks()
    part = -(-count // here.size)
    return np.arange(here.rank * part, (here.rank + 1) * part) % count


def gather(rows: Tensor, count: int) -> Tensor:
    """The rows of all ranks, each with its gradient.

    Args:
        rows: (n, d) of the shard of this rank, n the same everywhere.
        count: rows of the global batch; what is beyond was repeated and is dropped.

    Returns:
        (count, d) in the order of the ranks. A gradient is added up over the
        ranks, so a loss that every rank computes counts once for each, and
        DistributedDataParallel's mean over them makes it count once.
    """
    if ranks().size == 1:
        return rows
    return torch.cat(tuple(all_gather(rows.contiguous())))[:count]


def agreed(value: _Value) -> _Value:
    """What the first rank says; a decision must be the same everywhere."""
    if ranks().size == 1:
        return value
    content: list[Any] = [value]
    distributed.broadcast_object_list(content, src=0)
    said: _Value = content[0]
    return said


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a scalar, without gradient; not a number if one of them is none."""
    mean = value.detach().clone()
    here = ranks()
    if here.size > 1:
        distributed.all_reduce(mean)
        mean /= here.size
    return mean
