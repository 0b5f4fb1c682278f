# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle in use: what it sets, what wins over it, and its unpacked copy in the cache."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import small_bundle
from colour_cell import draw_tote
from small_bundle import KINDS, VALUES
from small_disk import full_disk_error, run_on_small_disk

from robollm_core import cell
from robollm_core.config import Config, RuntimeConfig, flatten, update
from robollm_core.errors import ArtifactError, CacheError, ConfigError
from robollm_core.pipeline import perceive
from robollm_core.runtime import cache
from robollm_core.runtime.bundle import effective_config, open_bundle
from robollm_core.types import Frame

ONE_THREAD = {"runtime.name": "onnx", "runtime.threads": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same bundle in every form, and the folder of its networks under "models"."""
    folder = tmp_path_factory.mktemp("made")
    models = small_bundle.write_models(folder / "models")
    for suffix in ("onnx", "json"):
        for stage in ("segmentation", "identification", "defects"):
            shutil.copyfile(models / f"{stage}.{suffix}", models / f"{stage}.fp16.{suffix}")
    bundle = small_bundle.write_bundle(folder / "b", models, precisions=("fp16",))
    files = small_bundle.files_of(bundle)
    places = {kind: small_bundle.write_as(kind, files, folder / "p") for kind in KINDS}
    return {**places, "models": models, "files": files}


@pytest.fixture
def own_cache(tmp_path):
    return RuntimeConfig(cache=str(tmp_path / "cache"))


def settings(place, own_cache, **more):
    dotted = {name.replace("__", "."): value for name, value in more.items()}
    return {**ONE_THREAD, "runtime.bundle": str(place), "runtime.cache": own_cache.cache, **dotted}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_sets_its_thresholds_and_networks_and_nothing_else(made, own_cache, kind):
    given = settings(made[kind], own_cache)
    config = flatten(effective_config(given))
    artifacts = [name for name in config if name.endswith(".artifact")]
    expected = {**flatten(Config()), **VALUES, **given}
    assert {n: v for n, v in config.items() if n not in artifacts} == {
        n: v for n, v in expected.items() if n not in artifacts
    }
    for name in artifacts:
        file = f"{name.partition('.')[0]}.onnx"
        assert Path(config[name]).read_bytes() == made["files"][file]
        assert Path(config[name]).is_absolute()


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_of_a_bundle_answers_as_one_of_its_networks_and_values(made, own_cache, kind):
    config = effective_config(settings(made[kind], own_cache))
    networks = {f"{stage}.artifact": str(made["models"] / f"{stage}.onnx")
                for stage in ("segmentation", "identification", "defects")}  # fmt: skip
    plain = update(Config(), {**networks, **VALUES, **ONE_THREAD})
    frame = Frame(draw_tote())
    answers = [perceive(frame, None, cell.build_stages(each)) for each in (config, plain)]
    told = [[(i.instance.box_xyxy_px, i.instance.score, i.defect) for i in a.items]
            for a in answers]  # fmt: skip
    assert told[0] == told[1]
    assert len(told[0]) == 2


def test_what_was_set_wins_over_the_bundle_also_when_it_is_the_default(made, own_cache):
    default = Config().segmentation.score_threshold
    assert VALUES["segmentation.score_threshold"] != default
    other = str(made["models"] / "defects.onnx")
    given = settings(
        made["tar"], own_cache, segmentation__score_threshold=default, defects__artifact=other
    )
    config = effective_config(given)
    assert config.segmentation.score_threshold == default
    assert config.defects.artifact == other
    assert config.defects.threshold == VALUES["defects.threshold"]
    assert config.identification.artifact.startswith(own_cache.cache)


def test_another_precision_of_the_bundle_is_taken_by_its_name(made, own_cache):
    given = settings(made["tar"], own_cache, segmentation__artifact="segmentation.fp16.onnx")
    config = effective_config(given)
    folder = Path(config.defects.artifact).parent
    assert config.segmentation.artifact == str(folder / "segmentation.fp16.onnx")
    # the name of another stage's network is no name for this stage
    given = settings(made["tar"], own_cache, segmentation__artifact="defects.fp16.onnx")
    assert effective_config(given).segmentation.artifact == "defects.fp16.onnx"


def test_without_a_bundle_nothing_changes():
    assert effective_config({}) == Config()
    assert effective_config({"defects.threshold": 0.5}).defects.threshold == 0.5
    with pytest.raises(ConfigError, match="unknown configuration key"):
        effective_config({"defects.treshold": 0.5})


def test_a_relative_place_starts_from_the_working_folder(made, own_cache, monkeypatch):
    monkeypatch.chdir(made["tar"].parent)
    config = effective_config(settings(made["tar"].name, own_cache))
    assert config.runtime.bundle == str(made["tar"])


def test_a_cell_never_runs_shipped_networks_in_the_place_of_a_bundle(made, own_cache):
    named = update(Config(), settings(made["tar"], own_cache))
    with pytest.raises(ConfigError, match="shipped ones are set: segmentation.artifact, ident"):
        cell.build_stages(named)
    # a file that states every default, as `robollm config` prints it
    everything = {**flatten(Config()), **settings(made["tar"], own_cache)}
    with pytest.raises(ConfigError, match="shipped ones are set"):
        cell.build_stages(effective_config(everything))


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_tar_is_unpacked_once_and_then_nothing_is_written(made, own_cache, kind, monkeypatch):
    first = open_bundle(made[kind], own_cache)
    assert small_bundle.files_of(first.folder) == made["files"]
    assert first.folder.parent == cache.cache_folder(own_cache) / "bundles"

    def refuse(*_):
        raise AssertionError("wrote again")

    monkeypatch.setattr(cache.Entry, "lock", refuse)
    assert open_bundle(made[kind], own_cache) == first


def test_a_folder_is_used_where_it_is(made, own_cache):
    assert open_bundle(made["folder"], own_cache).folder == made["folder"]
    assert not cache.cache_folder(own_cache).exists()


def test_a_tar_that_is_damaged_after_it_was_unpacked_is_refused(made, own_cache, tmp_path):
    path = tmp_path / "b.tar"
    shutil.copyfile(made["tar"], path)
    open_bundle(path, own_cache)
    data = bytearray(path.read_bytes())
    place = data.find(made["files"]["LICENSE"])
    data[place + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="LICENSE was changed or damaged"):
        open_bundle(path, own_cache)


def change_byte(folder):
    data = bytearray((folder / "defects.onnx").read_bytes())
    data[60] ^= 1
    (folder / "defects.onnx").write_bytes(data)


def retell(folder):
    files = small_bundle.files_of(folder)
    files["LICENSE"] = b"do what you want"
    for name, data in small_bundle.described(files).items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("harm", [
    change_byte,
    retell,
    lambda folder: (folder / "defects.onnx").unlink(),
    lambda folder: (folder / "bundle.json").unlink(),
    lambda folder: (folder / "more.txt").write_text("more"),
    lambda folder: (folder / "more.txt").symlink_to("LICENSE"),
], ids=["byte", "description", "lost", "undescribed", "more", "link"])  # fmt: skip
def test_an_unpacked_copy_that_was_touched_is_refused(made, own_cache, harm):
    folder = open_bundle(made["tar"], own_cache).folder
    harm(folder)
    with pytest.raises(ArtifactError, match="not what the tar holds.*Remove the folder") as failure:
        open_bundle(made["tar"], own_cache)
    assert str(folder) in str(failure.value)
    shutil.rmtree(folder)
    open_bundle(made["tar"], own_cache)


def test_a_cache_that_cannot_be_written_is_one_clear_error(made, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(CacheError, match="Set runtime.cache to a folder that can be written"):
        open_bundle(made["tar"], RuntimeConfig(cache=str(tmp_path / "cache")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_serves_what_is_unpacked_and_refuses_the_rest(made, own_cache):
    open_bundle(made["tar"], own_cache)
    folder = cache.cache_folder(own_cache) / "bundles"
    folder.chmod(0o555)
    try:
        open_bundle(made["tar"], own_cache)
        with pytest.raises(CacheError, match="runtime.cache"):
            open_bundle(made["tar.gz"], own_cache)
    finally:
        folder.chmod(0o755)


def test_a_hostile_tar_leaves_nothing_in_the_cache(made, own_cache, tmp_path):
    files = {**made["files"], "zz.txt": b"not listed"}
    path = small_bundle.write_as("tar", files, tmp_path / "b")
    with pytest.raises(ArtifactError, match=r"zz.txt"):
        open_bundle(path, own_cache)
    assert [p for p in (tmp_path / "cache/bundles").iterdir() if p.is_dir()] == []


OPEN = """
import json, os, sys
from pathlib import Path
from robollm_core.config import RuntimeConfig
from robollm_core.errors import RobollmError
from robollm_core.runtime.bundle import open_bundle
try:
    print(open_bundle(Path({path!r}), RuntimeConfig(cache={cache!r})).folder)
except RobollmError as error:
    print(type(error).__name__, error)
"""
KILLED = """
import os, signal
count, sync = 0, os.fsync
def die(handle):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return sync(handle)
os.fsync = die
"""


def test_a_full_disk_is_one_clear_error_and_nothing_stays(made, tmp_path):
    folder = tmp_path / "cache"
    tell = f"print(sorted(p.suffix for p in Path({str(folder)!r}).glob('bundles/*')))"
    code = OPEN.format(path=str(made["tar"]), cache=str(folder)) + tell
    # less than the licence text, which every bundle has
    out, _ = run_on_small_disk(folder, 8, code)
    error, left = out.strip().splitlines()
    assert error.startswith("CacheError cannot write")
    assert full_disk_error() in error
    assert left == "['.lock']"


def test_a_process_killed_while_it_unpacks_leaves_nothing_that_is_used(made, own_cache):
    code = KILLED + OPEN.format(path=str(made["tar"]), cache=own_cache.cache)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    bundles = cache.cache_folder(own_cache) / "bundles"
    (half,) = [path for path in bundles.iterdir() if path.is_dir()]
    assert half.name.startswith(".")
    assert 0 < len(list(half.iterdir())) < len(made["files"])
    bundle = open_bundle(made["tar"], own_cache)
    assert small_bundle.files_of(bundle.folder) == made["files"]
    assert [path for path in bundles.iterdir() if path.is_dir()] == [bundle.folder]


@pytest.mark.slow
def test_two_processes_at_once_get_one_whole_copy(made, own_cache):
    code = OPEN.format(path=str(made["tar"]), cache=own_cache.cache)
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert len(said) == 1
    folder = Path(said.pop())
    assert small_bundle.files_of(folder) == made["files"]
    bundles = cache.cache_folder(own_cache) / "bundles"
    assert [path for path in bundles.iterdir() if path.is_dir()] == [folder]
