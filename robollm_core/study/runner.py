# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Carries the runs of a study out, each once: what has a result is not run again."""

import contextlib
import hashlib
import importlib
import json
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core import __version__
from robollm_core.errors import ConfigError, DatasetError, OutputError, RobollmError
from robollm_core.files import write_file
from robollm_core.study.plan import CLEAN, Run, Study

_RESULT = "result.json"
_TREES = ("Picks", "Reference_Images")
_CODE = ("beit3", "data", "identification", "training")


@dataclass(frozen=True, slots=True)
class Job:
    """A run with the places it reads and writes.

    Attributes:
        run: what to train.
        data: folder in ARMBench's identification layout.
        folder: of this run alone.
        cache: folder of the crops, shared by all runs.
        keeps: whether its network is wanted afterwards.
        code: fingerprint of the sources that train.
    """

    run: Run
    data: Path
    folder: Path
    cache: Path
    keeps: bool
    code: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run ended with.

    Attributes:
        run: the run.
        folder: where it was made; holds best.pt where the study keeps networks.
        figures: of the val split, and "seconds", "step_ms", "peak_rss_mib",
            "trainable", "total"; empty for a failed run.
        error: why it failed, "" when it did not.
        code: fingerprint of the sources that trained it.
    """

    run: Run
    folder: Path
    figures: Mapping[str, float]
    error: str
    code: str


def run_study(
    study: Study,
    data: Path,
    out: Path,
    *,
    jobs: int,
    prepare: Callable[[Job], None] | None = None,
    work: Callable[[Job], dict[str, float]] | None = None,
) -> list[Outcome]:
    """Carry out what is not done yet.

    Args:
        study: the plan.
        data: folder in ARMBench's identification layout.
        out: folder of results; several studies may share it, and then share runs.
        jobs: processes side by side, one thread each.
        prepare: done once before the runs, in a process of its own; `cut_crops`.
        work: a run, in any process; `train_run`.

    Returns:
        One outcome a run, in the order of the plan; failed ones say why.

    Raises:
        ConfigError: If time is compared and there is more than one process.
        DatasetError: If there is no such data.
        OutputError: If a result cannot be written or read.
    """
    if study.timed and jobs > 1:
        raise ConfigError(f"the study {study.name} measures time: give --jobs 1, got {jobs}.")
    plan = _jobs(study, data, out)
    done = {job.folder: _finished(job) for job in plan}
    waiting = list({job.folder: job for job in plan if done[job.folder] is None}.values())
    if waiting:
        # alone, so that no run counts the crops into its time and memory
        with _pool(1) as pool:
            pool.submit(prepare or cut_crops, waiting[0]).result()
    bar = tqdm(total=len(plan), initial=len(plan) - len(waiting), unit="run", mininterval=1.0)
    with bar:
        for outcome in _spread(waiting, work or train_run, jobs, fresh=study.timed):
            done[outcome.folder] = outcome
            bar.update()
            if outcome.error:
                tqdm.write(f"{outcome.run.arm}, {outcome.run.condition}: {outcome.error}")
    return [
        Outcome(job.run, job.folder, end.figures, end.error, end.code)
        for job in plan
        if (end := done[job.folder]) is not None
    ]


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block, however it ends."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    ended = False
    try:
        yield pool
        ended = True
    except BrokenProcessPool as error:
        raise OutputError(
            "a process of the study was killed, perhaps for memory. Start the same command "
            "again with fewer --jobs: finished runs are kept."
        ) from error
    finally:
        # an interrupted study must not wait for the runs under way
        for child in () if ended else set(multiprocessing.active_children()) - before:
            child.terminate()
        pool.shutdown(wait=ended, cancel_futures=True)


def _spread(
    waiting: list[Job], work: Callable[[Job], dict[str, float]], jobs: int, *, fresh: bool
) -> Iterator[Outcome]:
    if not waiting:
        return
    if fresh:
        # the peak of memory is the process's own: it must not be that of a run before
        for job in waiting:
            yield from _spread([job], work, 1, fresh=False)
        return
    with _pool(jobs) as pool:
        futures: dict[Future[Outcome], Job] = {
            pool.submit(execute, job, work): job for job in waiting
        }
        for future in as_completed(futures):
            fault = future.exception()
            if fault is None:
                yield future.result()
            elif isinstance(fault, (BrokenProcessPool, OutputError)):
                raise fault
            else:  # a fault nobody foresaw ends its run, not the study
                yield _note(futures[future], {}, f"{type(fault).__name__}: {fault}")


def execute(job: Job, work: Callable[[Job], dict[str, float]]) -> Outcome:
    """Carry one run out and note how it ended; its folder is made anew."""
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    started, error, figures = time.perf_counter(), "", {}
    with (
        (job.folder / "output.txt").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            figures = dict(work(job))
        except (RobollmError, ArithmeticError, MemoryError, RuntimeError) as fault:
            error = f"{type(fault).__name__}: {fault}"
    if not error:
        figures["seconds"] = time.perf_counter() - started
    return _note(job, figures, error)


def _note(job: Job, figures: dict[str, float], error: str) -> Outcome:
    note = {"run": asdict(job.run), "figures": figures, "error": error, "code": job.code}
    for name in ("last.pt", "log.csv", *([] if job.keeps and not error else ["best.pt"])):
        with contextlib.suppress(FileNotFoundError):
            (job.folder / name).unlink()
    write_file(job.folder / _RESULT, json.dumps(note, indent=1).encode())
    return Outcome(job.run, job.folder, figures, error, job.code)


def cut_crops(job: Job) -> None:
    """Cut the crops that all runs share, and find out whether recipe and data are sound."""
    folder = job.folder.with_name(f"{job.folder.name}_crops")
    try:
        _task("identification", job.run.recipe, job.data, folder, job.cache)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def train_run(job: Job) -> dict[str, float]:
    """Train the networks of a run; the figures of the last one, and what it cost."""
    recipe = dict(job.run.recipe)
    before: dict[str, float] = {}
    if job.run.pretext:
        folder = job.folder / "pretext"
        start, taught = _stage("encoder", job.run.pretext, job.data, folder, job.cache)
        recipe["init"] = str(start)
        before = {"pretext_step_ms": taught["step_ms"]}
    _, figures = _stage("identification", recipe, job.data, job.folder, job.cache)
    if job.run.pretext:
        shutil.rmtree(job.folder / "pretext")
    return {**figures, **before}


def _task(stage: str, recipe: Mapping[str, Any], data: Path, folder: Path, cache: Path) -> Any:
    from robollm_core.training.recipe import build_recipe

    room = importlib.import_module(f"robollm_core.training.{stage}")
    checked = build_recipe(room.RECIPE, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    shared = cache / f"{stage}_{checked.cache_px}_{checked.image_px}"
    shared.mkdir(parents=True, exist_ok=True)
    (folder / "cache").symlink_to(shared.resolve())
    return room.TASK(checked, data, folder)


def _stage(
    stage: str, recipe: Mapping[str, Any], data: Path, folder: Path, cache: Path
) -> tuple[Path, dict[str, float]]:
    """Train a stage; best.pt, and its figures with those of cost."""
    from robollm_core.training.adapting import trainable_share
    from robollm_core.training.checkpoint import load_checkpoint
    from robollm_core.training.loop import Run as Loop

    task = _task(stage, recipe, data, folder, cache)
    share = trainable_share(task.network)
    loop = Loop(task, task.recipe, folder, minutes=None)
    best = loop.run(resume=False)
    (folder / "cache").unlink()
    metrics = load_checkpoint(best, stage)["metrics"]
    ends = [elapsed_s for _, elapsed_s, name, _ in loop.journal.rows if name == "loss"]
    cost = {
        # of the steps alone; the median bears a neighbour who takes the processor for a while
        "step_ms": 1000.0 * float(np.median(np.diff([0.0, *ends]))),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "trainable": float(share.trainable),
        "total": float(share.total),
    }
    if stage == "identification":
        cost |= _judged(task.judge)
    return best, {**{name: float(value) for name, value in metrics.items()}, **cost}


def _judged(judge: Any) -> dict[str, float]:
    """What the figures rest on: picks, and the items each was ranked among."""
    known = set(judge.items)
    sizes = [len(known & set(pick.manifest)) for pick in judge.picks]
    return {
        "val_picks": float(len(judge.picks)),
        "gallery_mean": float(np.mean(sizes)),
        "gallery_min": float(min(sizes)),
        "gallery_max": float(max(sizes)),
    }


def _jobs(study: Study, data: Path, out: Path) -> list[Job]:
    content, code = fingerprint_of_data(data), fingerprint_of_code()
    weights = {init: _weights(init) for init in {run.recipe["init"] for run in study.runs}}
    jobs = []
    for run in study.runs:
        folder = out / "runs" / run.key(__version__, content, weights[run.recipe["init"]])
        keeps = study.keeps and run.condition == CLEAN
        jobs.append(Job(run, data.resolve(), folder, out / "cache", keeps, code))
    return jobs


def _finished(job: Job) -> Outcome | None:
    """The outcome of a run that ended well, with what this study wants of it."""
    path = job.folder / _RESULT
    if not path.exists() or (job.keeps and not (job.folder / "best.pt").exists()):
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        outcome = Outcome(job.run, job.folder, note["figures"], note["error"], note["code"])
    except (OSError, ValueError, KeyError) as error:
        raise OutputError(f"cannot read the result {path}: {error}. Remove it.") from error
    return None if outcome.error else outcome


def fingerprint_of_data(data: Path) -> str:
    """Of a data set: its list of picks, and name and size of every file.

    Raises:
        DatasetError: If there is none.
    """
    path = data / "train-test-split.pickle"
    try:
        digest = hashlib.sha256(path.read_bytes())
        for tree in _TREES:
            for file in sorted((data / tree).rglob("*.*")):
                name = file.relative_to(data).as_posix()
                digest.update(f"{name}|{file.stat().st_size}\n".encode())
    except OSError as error:
        raise DatasetError(
            f"{data} is no identification data: {error}. Make some with `robollm synth "
            "identification`, or name a folder in ARMBench's layout."
        ) from error
    return digest.hexdigest()


def _weights(init: str) -> str:
    try:
        return hashlib.sha256(Path(init).read_bytes()).hexdigest() if init else ""
    except OSError as error:
        raise ConfigError(f"cannot read the weights to start from: {error}.") from error


def fingerprint_of_code() -> str:
    """Version, and a hash of the sources that decide what a run ends with."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for room in _CODE:
        for path in sorted((root / room).glob("*.py")):
            digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
