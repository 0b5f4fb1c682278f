# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Embeds pictures on the workers of a Ray cluster, on this machine or on several.

One row of the Ray data set is one batch of the network, so that a batch has the
same pictures as without Ray. A worker that dies is started anew and gets its
rows again.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from robollm_core.errors import DependencyError, RobollmError, RuntimeUnavailableError
from robollm_core.evaluation.embedding_run import THREADS, Answers, Task, answer, chunks, prepare
from robollm_core.evaluation.encoder import EncoderSource

STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster on this machine; file names and embeddings pass through it."""
_ROWS = 4
"""Batches that a worker takes at a time, and does again when it dies with them."""


class Worker:
    """One process with the network loaded."""

    def __init__(self, source: EncoderSource) -> None:
        """Load the network once."""
        self._source = source
        self._encoder = source.load()
        self._pool = ThreadPoolExecutor(THREADS)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Embed the batches of some rows."""
        found = np.empty(len(rows["tasks"]), dtype=object)
        for index, tasks in enumerate(rows["tasks"]):
            inputs = self._pool.map(lambda t: prepare(t, self._encoder, self._source.sight), tasks)
            found[index] = answer(tasks, inputs, self._encoder, self._source.batch)
        return {"answers": found}


def spread_out(
    tasks: Sequence[Task], source: EncoderSource, workers: int, address: str = ""
) -> Iterator[Answers]:
    """Embed tasks on workers; the answers come in any order.

    Args:
        tasks: what to embed; the workers must see the files under the same paths.
        source: sent to every worker, which loads it once.
        workers: how many.
        address: of a running cluster; "" starts one here and stops it at the end.

    Raises:
        DependencyError: If Ray is not installed.
        RuntimeUnavailableError: If no cluster answers at the address, or it fails.
        RobollmError: What a worker raised.
    """
    # one row is a list of tasks, which NumPy must not take for a matrix
    batches = [{"tasks": _Batch(part)} for part in chunks(tasks, source.batch)]
    with _cluster(workers, address) as ray:
        pool = ray.data.ActorPoolStrategy(size=min(workers, len(batches)))
        # at least a block a worker, or some have nothing to do
        blocks = max(-(-len(batches) // _ROWS), min(workers, len(batches)))
        answers = ray.data.from_items(batches, override_num_blocks=blocks).map_batches(
            Worker,
            fn_constructor_args=(source,),
            batch_size=None,
            batch_format="numpy",
            compute=pool,
            num_cpus=1,
            # without a share of one, Ray hides the graphics cards from a worker
            num_gpus=1 if source.device == "cuda" else 0,
        )
        try:
            for rows in answers.iter_batches(batch_size=None, batch_format="numpy"):
                yield from rows["answers"]
        except ray.exceptions.RayError as error:
            raise _cause(error) from error


class _Batch(tuple[Task, ...]):
    """Tasks that run together."""


@contextmanager
def _cluster(workers: int, address: str) -> Iterator[Any]:
    # counts of use go to Ray's makers unless this is said before Ray starts
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"spreading work over workers needs the Python package {error.name!r}, which is not "
            "installed. Install it with: pip install '.[scale]' in the checkout, or leave "
            "--workers out."
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.raise_original_map_exception = True
    # it tells of every column of Python objects, and of progress that is shown here already
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ours = not ray.is_initialized()
    if ours:
        _start(ray, workers, address)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _start(ray: Any, workers: int, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                num_cpus=workers, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray does not start here"
        raise RuntimeUnavailableError(
            f"{where}: {error}. `ray status` says what runs; leave --ray out to use this machine."
        ) from error


def _cause(error: Exception) -> RobollmError:
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "cause", None) or seen.__cause__
        if isinstance(inner, RobollmError):
            return inner
        seen = inner
    return RuntimeUnavailableError(f"the Ray cluster failed: {error}")
