# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which runtime is the fastest for a network on this CPU: a short measurement, kept."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.errors import CacheError, RobollmError, RuntimeUnavailableError
from robollm_core.runtime import processor
from robollm_core.runtime.cache import Entry
from robollm_core.types import Engine, EngineSpec, Tensors, TensorSpec

FORMAT = 1
WARM_UPS = 3
ROUNDS = 5
SPAN_S = 1.0
"""Rounds go on for so long, at least `ROUNDS` of them, at most `MOST`."""
MOST = 50
LEAD = 0.9
"""A later runtime must need less than this share of the time of an earlier one."""
LIKE = 0.95
"""Least cosine between the answers of two runtimes to one picture."""
PATIENCE_S = 120.0

_log = logging.getLogger(__name__)

Loaders = Mapping[str, Callable[[], Engine]]
"""By name of runtime, in order of preference."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a trial found.

    Attributes:
        name: the runtime to take.
        ms: median milliseconds of a run, by name.
        refused: why a runtime was not measured or not trusted, by name.
    """

    name: str
    ms: Mapping[str, float]
    refused: Mapping[str, str]

    def to_json(self) -> bytes:
        """As it is kept."""
        tree = {"name": self.name, "ms": dict(self.ms), "refused": dict(self.refused)}
        return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()

    def told(self) -> str:
        """The reason in words, such as "auto: 2.5 ms, onnx 4.0 ms"."""
        others = [f"{name} {ms:.3g} ms" for name, ms in self.ms.items() if name != self.name]
        bad = [f"{name} refused: {reason[:100]}" for name, reason in self.refused.items()]
        own = f"{self.ms[self.name]:.3g} ms" if self.name in self.ms else "the only one here"
        return ", ".join([f"auto: {own}", *others, *bad])


def choose(loaders: Loaders, entry: Entry) -> tuple[Choice, str]:
    """The fastest runtime, as an earlier trial found or by a new one.

    Args:
        loaders: at least one.
        entry: where the answer is kept; its facts are all that it depends on.

    Returns:
        The choice, and what to say where it cannot be kept, else "".

    Raises:
        RuntimeUnavailableError: If none of them runs the network.
    """
    if len(loaders) == 1:
        return Choice(next(iter(loaders)), {}, {}), ""
    if (kept := _read(entry, loaders)) is not None:
        return kept, ""
    found: Choice | None = None
    try:
        # two processes that measure at once would measure each other
        with entry.lock(PATIENCE_S):
            if (kept := _read(entry, loaders)) is not None:
                return kept, ""
            found = measure(loaders)
            entry.write(found.to_json())
            return found, ""
    except CacheError as error:
        _log.warning("Every start measures anew, as the answer is not kept: %s", error)
        return found or measure(loaders), "; not kept"


def measure(loaders: Loaders) -> Choice:
    """Run every runtime in turn on the same input and take the fastest.

    Args:
        loaders: at least one.

    Raises:
        RuntimeUnavailableError: If none of them runs the network.
    """
    engines: dict[str, Engine] = {}
    answers: dict[str, Tensors] = {}
    refused: dict[str, str] = {}
    for name, load in loaders.items():
        try:
            engine = load()
            answers[name] = _warm(engine)
            engines[name] = engine
        except RobollmError as error:
            refused[name] = str(error)
    refused |= _wrong(engines, answers)
    sound = {name: engine for name, engine in engines.items() if name not in refused}
    if not sound:
        reasons = " ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise RuntimeUnavailableError(f"no installed runtime runs this network. {reasons}")
    ms = _race(sound)
    best = next(iter(ms))
    for name, needed in ms.items():
        best = name if needed < LEAD * ms[best] else best
    return Choice(best, ms, refused)


def machine_facts(threads: int) -> dict[str, str | int]:
    """What the speed of a CPU runtime depends on, besides the runtime.

    Args:
        threads: that an engine may use.
    """
    return {
        "trial": FORMAT,
        "cpu": processor.model(),
        # virtual machines give processors of several generations one name
        "instructions": hashlib.sha256(processor.instructions().encode()).hexdigest()[:16],
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
    }


def trial_inputs(spec: EngineSpec) -> dict[str, npt.NDArray[np.generic]]:
    """One input that looks like a picture, always the same.

    Args:
        spec: what the network takes; a free size becomes 1.
    """
    rng = np.random.default_rng(0)
    return {tensor.name: _picture(tensor, rng) for tensor in spec.inputs}


def _picture(tensor: TensorSpec, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    shape = tuple(max(size, 1) for size in tensor.shape)
    if tensor.dtype != "uint8" or len(shape) != 4:
        return rng.standard_normal(shape).astype(tensor.dtype)
    # noise alone sends a detector down paths that no photo takes
    batch, height, width, channels = shape
    patches = rng.integers(0, 256, (batch, 8, 8, channels))
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    coarse = patches[:, rows][:, :, columns]
    return np.clip(coarse + rng.normal(0.0, 8.0, shape), 0, 255).astype(np.uint8)


def _warm(engine: Engine) -> Tensors:
    inputs = trial_inputs(engine.spec)
    for _ in range(WARM_UPS):
        answer = engine.run(inputs)
    return answer


def _wrong(engines: Mapping[str, Engine], answers: Mapping[str, Tensors]) -> dict[str, str]:
    """Which runtimes answer what cannot be right, and why."""
    wrong = {
        name: reason
        for name, engine in engines.items()
        if (reason := _misshapen(engine.spec, answers[name]))
    }
    left = [name for name in engines if name not in wrong]
    broken = [name for name in left if not _finite(answers[name])]
    if len(broken) < len(left):  # else it is the network that has no numbers to say
        wrong |= dict.fromkeys(broken, "its answer holds NaN or infinity")
        left = [name for name in left if name not in broken]
    for name in left[1:]:
        if odd := _unlike(engines[name].spec, answers[name], answers[left[0]]):
            wrong[name] = f"output {odd!r} is not that of {left[0]}"
    return wrong


def _misshapen(spec: EngineSpec, answer: Tensors) -> str:
    for tensor in spec.outputs:
        rows = np.asarray(answer[tensor.name])
        wanted = tuple(1 if size == -1 else size for size in tensor.shape)
        if rows.shape != wanted or str(rows.dtype) != tensor.dtype:
            return (
                f"output {tensor.name!r} must be {tensor.dtype} {wanted}, it is {rows.dtype} "
                f"{rows.shape}"
            )
    return ""


def _finite(answer: Tensors) -> bool:
    return all(bool(np.isfinite(rows).all()) for rows in answer.values())


def _unlike(spec: EngineSpec, answer: Tensors, first: Tensors) -> str:
    """The output that points elsewhere; detections may change places, vectors may not."""
    vectors = [tensor.name for tensor in spec.outputs if tensor.shape[0] == -1]
    pairs = ((name, np.asarray(answer[name]), np.asarray(first[name])) for name in vectors)
    return next((name for name, a, b in pairs if _cosine(a, b) < LIKE), "")


def _cosine(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else float(np.array_equal(a, b))


def _race(engines: Mapping[str, Engine]) -> dict[str, float]:
    """Median milliseconds by name; the engines take turns, so that a load hits all alike."""
    inputs = {name: trial_inputs(engine.spec) for name, engine in engines.items()}
    taken: dict[str, list[float]] = {name: [] for name in engines}
    start = time.perf_counter()
    for turn in range(MOST):
        if turn >= ROUNDS and time.perf_counter() - start > SPAN_S:
            break
        for name, engine in engines.items():
            before = time.perf_counter()
            engine.run(inputs[name])
            taken[name].append(1000.0 * (time.perf_counter() - before))
    return {name: round(median(values), 4) for name, values in taken.items()}


def _read(entry: Entry, loaders: Loaders) -> Choice | None:
    if not entry.valid():
        return None
    try:
        tree = json.loads(entry.path.read_bytes())
        choice = Choice(tree["name"], tree["ms"], tree["refused"])
        choice.told()
        return choice if choice.name in loaders else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
