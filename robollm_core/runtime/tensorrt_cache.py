# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: each built once, by one process, and run only where it belongs.

An engine is kept in `<cache>/engines` under the digest of all that it depends on.
One that was built ahead of time may also stand beside its network, as
`x.sm86.tensorrt_rtx.engine` and `.json` beside `x.onnx`: copy all four files to the
robot. Copying the folder `engines` into the robot's cache does as well. An engine
of another network, version or GPU has other facts, and is not run but built again.
"""

import json
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.errors import (
    ArtifactError,
    CacheError,
    RuntimeFailedError,
    RuntimeUnavailableError,
)
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.cache import Entry, Facts
from robollm_core.runtime.progress import tell
from robollm_core.runtime.tensorrt_build import ENGINE, TIMING, BuildPlan
from robollm_core.runtime.tensorrt_flavour import CLASSIC, find_flavour

SUFFIX = ".engine"
PROGRESS_SECS = 5.0
PATIENCE_SECS = 3600.0
_FORMAT = 1
_KINDS = {kind.__name__: kind for kind in (ArtifactError, RuntimeUnavailableError)}
_TAIL = 600

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Beside(Entry):
    """An entry under a name that people can read.

    Attributes:
        name: of the file, without its suffix.
    """

    name: str = ""

    @property
    def path(self) -> Path:
        """The file; its sidecar ends in .json."""
        return self.folder / (self.name + self.suffix)


def facts(plan: BuildPlan, sidecar: Sidecar) -> Facts:
    """All that an engine depends on; two engines of the same facts are the same."""
    flavour = find_flavour(plan.flavour)
    external = sidecar.meta.get("external")
    free = any(-1 in tensor.shape for tensor in sidecar.spec.inputs)
    return {
        "format": _FORMAT,
        "network": sidecar.sha256,
        "external": str(external["sha256"]) if isinstance(external, Mapping) else "",
        "precision": sidecar.precision,
        "profile": f"1..{plan.batches.usual}..{plan.batches.most}" if free else "fixed",
        "workspace_mib": plan.workspace_mib,
        "flavour": flavour.name,
        "version": flavour.version,
        "gpu": plan.target,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def kept_engine(plan: BuildPlan, sidecar: Sidecar, cache: Path) -> Entry:
    """Where the cache keeps an engine; it need not be there."""
    return Entry(cache / "engines", facts(plan, sidecar), SUFFIX)


def placed_engine(plan: BuildPlan, sidecar: Sidecar, folder: Path) -> Entry:
    """Where an engine that was built ahead of time stands; it need not be there."""
    target = plan.target.replace(" ", "_").replace("/", "_")
    name = f"{plan.network.stem}.{target}.{plan.flavour}"
    return Beside(folder, facts(plan, sidecar), SUFFIX, name)


def print_progress(line: str) -> None:
    """Tell on stderr, and whoever listens to the progress of a start."""
    tell(line)


def ready_engine(
    plan: BuildPlan, entry: Entry, cache: Path, progress: Progress = print_progress
) -> bytes:
    """An engine that is there, or is built now; of several processes one builds, the others wait.

    Args:
        plan: what to build.
        entry: where it is kept.
        cache: folder for what builds measure.
        progress: gets a line every 5 s while another process or this one builds.

    Returns:
        The engine.

    Raises:
        ArtifactError: If the network cannot be built.
        RuntimeUnavailableError: If the flavour or GPU is not there.
        RuntimeFailedError: If the builder crashed or was killed.
        CacheError: If the folder cannot be written, or another process builds for an hour.
    """
    if entry.valid():
        return _read(entry)
    waiting = ["waiting for another process that builds it"]
    with _telling(plan, waiting, progress), entry.lock(PATIENCE_SECS):
        if not entry.valid():
            entry.write(_build_apart(plan, cache, waiting))
    return _read(entry)


def _read(entry: Entry) -> bytes:
    try:
        return entry.path.read_bytes()
    except OSError as error:
        raise CacheError(f"cannot read the engine {entry.path}: {error}. Try again.") from error


@contextmanager
def _telling(plan: BuildPlan, state: list[str], progress: Progress) -> Iterator[None]:
    """Tell the first line of `state` every 5 s until the block ends."""
    start, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(PROGRESS_SECS):
            secs = time.monotonic() - start
            progress(
                f"{plan.network.name} for {plan.target} on {plan.flavour}: {secs:.0f} s, {state[0]}"
            )

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _build_apart(plan: BuildPlan, cache: Path, state: list[str]) -> bytes:
    """Build in a process of its own.

    Args:
        plan: what to build.
        cache: folder for what is measured.
        state: its first line is set to what the builder does.
    """
    timing = _timing(plan, cache)
    with tempfile.TemporaryDirectory(prefix="robollm-engine-") as name:
        out = Path(name)
        if timing is not None and timing.valid():
            (out / TIMING).write_bytes(timing.path.read_bytes())
        _run_builder(plan, out, state)
        if timing is not None and (out / TIMING).exists():
            timing.write((out / TIMING).read_bytes())
        return (out / ENGINE).read_bytes()


def _timing(plan: BuildPlan, cache: Path) -> Entry | None:
    if plan.flavour != CLASSIC:
        return None
    version = find_flavour(plan.flavour).version
    told: Facts = {"flavour": plan.flavour, "version": version, "gpu": plan.target}
    return Entry(cache / "engines", told, ".timing")


def _run_builder(plan: BuildPlan, out: Path, state: list[str]) -> None:
    module = "robollm_core.runtime.tensorrt_build"
    command = [sys.executable, "-m", module, plan.to_json(), str(out)]
    errors = out / "stderr"
    refused: dict[str, Any] = {}
    with (
        errors.open("wb") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, encoding="utf-8", errors="replace"
        ) as builder,
    ):
        try:
            assert builder.stdout is not None
            for line in builder.stdout:
                word, _, rest = line.strip().partition(" ")
                if word == "phase":
                    state[0] = rest
                elif word == "refused":
                    refused = json.loads(rest)
            code = builder.wait()
        finally:
            builder.kill()  # an interrupted parent leaves no builder behind
    if refused:
        raise _KINDS.get(refused["kind"], RuntimeFailedError)(refused["text"])
    if code != 0 or not (out / ENGINE).exists():
        raise _crashed(plan, code, state[0], errors)


def _crashed(plan: BuildPlan, code: int, phase: str, errors: Path) -> RuntimeFailedError:
    how = f"ended with exit code {code}"
    if code < 0:
        with suppress(ValueError):
            how = f"was killed by {signal.Signals(-code).name}"
    if code == -signal.SIGKILL:
        how += ", as happens when memory runs out"
    tail = errors.read_text(errors="replace").strip()[-_TAIL:]
    return RuntimeFailedError(
        f"the builder of {plan.network} for {plan.target} on {plan.flavour} {how} while "
        f"{phase}. Nothing was kept. Try again, or choose another runtime."
        + (f" Its last words: {tail}" if tail else "")
    )
