# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Built engines on disk: built once, never run when they are not what they should be."""

import os
import re
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from robollm_core.errors import ArtifactError, CacheError, RuntimeFailedError
from robollm_core.runtime import tensorrt_cache
from robollm_core.runtime.cache import Entry
from robollm_core.runtime.tensorrt_build import Batches, BuildPlan
from robollm_core.runtime.tensorrt_cache import facts, kept_engine, placed_engine, ready_engine
from robollm_core.runtime.tensorrt_flavour import RTX

pytest.importorskip("tensorrt_rtx_bindings")
small_onnx = pytest.importorskip("small_onnx")


@pytest.fixture
def plan(tmp_path):
    return BuildPlan(tmp_path / "rows.onnx", RTX, "sm86")


@pytest.fixture
def sidecar(plan):
    return small_onnx.write_rows(plan.network)


@pytest.fixture
def entry(plan, sidecar, tmp_path):
    return kept_engine(plan, sidecar, tmp_path)


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """Puts a shell script in the place of Python, which runs the builder."""

    def put(text):
        script = tmp_path / "builder.sh"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))

    return put


def counted(tmp_path):
    """A builder that leaves a line for every build."""
    return f'echo build >> {tmp_path}/builds\nexec {sys.executable} "$@"'


def quick(tmp_path):
    """A builder that leaves a line for every build; its engine says which build it was."""
    return (
        f'echo build >> {tmp_path}/builds\necho "engine $(wc -l < {tmp_path}/builds)" > $4/engine'
    )


def builds(tmp_path):
    lines = tmp_path / "builds"
    return len(lines.read_text().splitlines()) if lines.exists() else 0


def test_an_engine_is_built_once_and_found_again(plan, entry, builder, tmp_path):
    builder(counted(tmp_path))
    first = ready_engine(plan, entry, tmp_path)
    assert len(first) > 100_000
    assert ready_engine(plan, entry, tmp_path) == first
    assert builds(tmp_path) == 1


@pytest.mark.parametrize("harm", ["truncated", "no sidecar", "half a sidecar", "foreign"])
def test_a_harmed_engine_is_built_anew(harm, plan, entry, builder, tmp_path):
    builder(quick(tmp_path))
    assert ready_engine(plan, entry, tmp_path) == b"engine 1\n"
    if harm == "truncated":
        entry.path.write_bytes(b"engine")
    elif harm == "no sidecar":
        entry.sidecar.unlink()
    elif harm == "half a sidecar":
        entry.sidecar.write_text(entry.sidecar.read_text()[:30])
    else:
        entry.path.write_bytes(b"not an engine")
    assert ready_engine(plan, entry, tmp_path) == b"engine 2\n"
    assert entry.valid()


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "sm89"},
        {"batches": Batches(1, 4)},
        {"workspace_mib": 64},
    ],
)
def test_what_is_built_otherwise_is_another_engine(changed, plan, sidecar, entry, tmp_path):
    other = kept_engine(replace(plan, **changed), sidecar, tmp_path)
    assert other.path != entry.path


def test_another_network_precision_or_second_file_is_another_engine(plan, sidecar, tmp_path):
    paths = {kept_engine(plan, sidecar, tmp_path).path}
    for change in (
        {"sha256": "0" * 64},
        {"precision": "fp16"},
        {"meta": {"external": {"file": "rows.onnx.data", "sha256": "1" * 64}}},
        {"meta": {"external": {"file": "rows.onnx.data", "sha256": "2" * 64}}},
    ):
        paths.add(kept_engine(plan, replace(sidecar, **change), tmp_path).path)
    assert len(paths) == 5


def test_the_profile_counts_where_the_batch_is_free_only(plan, sidecar):
    assert facts(plan, sidecar)["profile"] == "1..8..16"
    fixed = replace(sidecar.spec, inputs=(replace(sidecar.spec.inputs[0], shape=(1, 3)),))
    assert facts(plan, replace(sidecar, spec=fixed))["profile"] == "fixed"


def of_version(monkeypatch, version):
    found = tensorrt_cache.find_flavour(RTX)
    monkeypatch.setattr(
        tensorrt_cache, "find_flavour", lambda name: replace(found, version=version)
    )


@pytest.mark.parametrize("place", [kept_engine, placed_engine])
def test_an_engine_of_another_version_is_no_engine(
    place, plan, sidecar, builder, tmp_path, monkeypatch
):
    builder(quick(tmp_path))
    with monkeypatch.context() as patch:
        of_version(patch, "1.0.0.1")
        old = place(plan, sidecar, tmp_path)
        old.write(b"an engine of an older version")
        assert old.valid()
    now = place(plan, sidecar, tmp_path)
    assert not now.valid()
    assert ready_engine(plan, now, tmp_path) == b"engine 1\n"
    assert now.valid()


def test_an_engine_of_another_capability_under_this_name_is_no_engine(
    plan, sidecar, builder, tmp_path
):
    builder(quick(tmp_path))
    other = placed_engine(replace(plan, target="sm89"), sidecar, tmp_path)
    other.write(b"an engine for sm89")
    mine = placed_engine(plan, sidecar, tmp_path)
    assert mine.path.name == "rows.sm86.tensorrt_rtx.engine"
    other.path.rename(mine.path)
    other.sidecar.rename(mine.sidecar)
    assert not mine.valid()
    assert ready_engine(plan, mine, tmp_path) == b"engine 1\n"


PROCESS = """
import sys
from pathlib import Path
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.tensorrt_build import BuildPlan
from robollm_core.runtime.tensorrt_cache import kept_engine, ready_engine
folder = Path(sys.argv[1])
sys.executable = str(folder / "builder.sh")
file, sidecar = load_artifact(folder / "rows.onnx")
plan = BuildPlan(file, "tensorrt_rtx", "sm86")
print(len(ready_engine(plan, kept_engine(plan, sidecar, folder), folder)))
"""


@pytest.mark.slow
def test_of_two_processes_one_builds_and_one_waits(sidecar, builder, tmp_path):
    python = sys.executable
    builder("sleep 1\n" + counted(tmp_path))
    command = [python, "-c", PROCESS, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sizes = [process.communicate(timeout=120)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sizes[0] == sizes[1]
    assert int(sizes[0]) > 100_000
    assert builds(tmp_path) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kill -KILL $$", "killed by SIGKILL.*memory"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("echo phase tuning; exit 7", "exit code 7 while tuning"),
        ("echo out of luck >&2; exit 1", "last words: out of luck"),
        ("exit 0", "exit code 0"),
        ("echo phase half; echo x > $4/engine; kill -SEGV $$", "SIGSEGV while half"),
    ],
)
def test_a_builder_that_dies_is_told_and_nothing_is_kept(
    text, told, plan, entry, builder, tmp_path
):
    builder(text)
    with pytest.raises(RuntimeFailedError, match=told):
        ready_engine(plan, entry, tmp_path)
    assert not entry.path.exists()
    assert not entry.sidecar.exists()
    # and this process goes on
    builder(quick(tmp_path))
    assert ready_engine(plan, entry, tmp_path) == b"engine 1\n"


def test_what_the_builder_refuses_is_refused_here(entry, plan, sidecar, tmp_path):
    plan.network.write_bytes(small_onnx.refused()["/swirl"])
    with pytest.raises(ArtifactError, match="/swirl"):
        ready_engine(plan, entry, tmp_path)
    assert not entry.valid()


def test_an_interrupted_build_leaves_no_builder_behind(plan, entry, builder, tmp_path, monkeypatch):
    builder(f"echo $$ > {tmp_path}/pid; echo phase x; exec sleep 60")

    def interrupt(state, index, text):
        raise KeyboardInterrupt

    class Interrupting(list):
        __setitem__ = interrupt

    with pytest.raises(KeyboardInterrupt):
        tensorrt_cache._run_builder(plan, tmp_path, Interrupting([""]))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not entry.valid()


def test_progress_is_told_while_it_builds(plan, entry, builder, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt_cache, "PROGRESS_SECS", 0.1)
    builder(f"echo phase choosing kernels; sleep 0.6\n{quick(tmp_path)}")
    lines = []
    ready_engine(plan, entry, tmp_path, lines.append)
    assert len(lines) >= 3
    # the first may be told before the builder has said what it does
    assert re.fullmatch(r"rows.onnx for sm86 on tensorrt_rtx: \d+ s, choosing kernels", lines[-1])


def test_progress_is_told_while_another_builds(plan, entry, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt_cache, "PROGRESS_SECS", 0.1)
    lines, got = [], []

    def wait():
        got.append(ready_engine(plan, entry, tmp_path, lines.append))

    waiting = threading.Thread(target=wait)
    with entry.lock(patience_s=5):
        waiting.start()
        time.sleep(0.5)
        entry.write(b"built by the other")
    waiting.join(30)
    assert got == [b"built by the other"]
    assert len(lines) >= 2
    assert all(line.endswith("waiting for another process that builds it") for line in lines)


def test_five_seconds_lie_between_lines():
    assert tensorrt_cache.PROGRESS_SECS == 5.0


def test_an_engine_in_a_read_only_cache_is_used_and_none_is_refused(
    plan, sidecar, entry, tmp_path, monkeypatch
):
    entry.write(b"an engine")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(entry.folder))

    # root may write anywhere: the refusal of the system is put in its place
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    assert ready_engine(plan, entry, tmp_path) == b"an engine"
    other = kept_engine(replace(plan, target="sm89"), sidecar, tmp_path)
    with pytest.raises(CacheError, match="runtime.cache"):
        ready_engine(replace(plan, target="sm89"), other, tmp_path)


def test_a_file_where_the_cache_should_be_is_refused(plan, sidecar, tmp_path):
    (tmp_path / "engines").write_text("in the way")
    with pytest.raises(CacheError, match="runtime.cache"):
        ready_engine(plan, kept_engine(plan, sidecar, tmp_path), tmp_path)


def test_what_the_classic_builder_measured_is_kept_for_the_next(
    plan, sidecar, builder, tmp_path, monkeypatch
):
    classic = replace(plan, flavour="tensorrt", target="NVIDIA A2/X sm86")
    found = tensorrt_cache.find_flavour(RTX)
    monkeypatch.setattr(
        tensorrt_cache, "find_flavour", lambda name: replace(found, name="tensorrt", version="10.9")
    )
    builder(
        f"cat $4/timing >> {tmp_path}/seen 2>/dev/null\n"
        "printf measured > $4/timing; printf engine > $4/engine"
    )
    for batches in (Batches(), Batches(1, 2)):
        one = replace(classic, batches=batches)
        made = ready_engine(one, kept_engine(one, sidecar, tmp_path), tmp_path)
        assert made == b"engine"
    assert (tmp_path / "seen").read_text() == "measured"
    name = placed_engine(classic, sidecar, tmp_path).path.name
    assert name == "rows.NVIDIA_A2_X_sm86.tensorrt.engine"


def test_the_readable_name_is_an_entry_like_any_other(plan, sidecar, tmp_path):
    placed = placed_engine(plan, sidecar, tmp_path)
    placed.write(b"content")
    assert placed.valid()
    assert placed.sidecar.name == "rows.sm86.tensorrt_rtx.json"
    assert isinstance(placed, Entry)
