# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Making a bundle: what goes in, the same bytes each time, whole or not at all."""

import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import small_bundle
from small_disk import full_disk_error, run_on_small_disk
from small_models import write_models

from robollm_core import __version__
from robollm_core.config import Config, flatten, leaves
from robollm_core.errors import ArtifactError, ConfigError, OutputError
from robollm_core.export.bundle import Contents, bundle_values, make_bundle
from robollm_core.runtime.artifact import data_path, load_artifact, write_artifact
from robollm_core.runtime.bundle import check_bundle
from robollm_core.runtime.bundle_description import thresholds

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("segmentation", "identification", "defects")


@pytest.fixture
def models(tmp_path):
    """Networks with a fusion network, figures and a card."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_models(folder)
    (folder / "defects.md").write_text("# A card\n")
    (folder / "best.pt").write_bytes(b"a checkpoint, which stays at home")
    return folder


def give_precision(models, name="fp16", stages=STAGES):
    for stage in stages:
        for suffix in ("onnx", "json"):
            shutil.copyfile(models / f"{stage}.{suffix}", models / f"{stage}.{name}.{suffix}")


def test_networks_sidecars_card_figures_and_licence_go_in_and_nothing_else(models, tmp_path):
    make_bundle(Contents(models, "cell"), tmp_path / "out")
    files = small_bundle.files_of(tmp_path / "out")
    networks = (*STAGES, "identification_fusion")
    kept = {f"{n}.{suffix}" for n in networks for suffix in ("onnx", "json")}
    assert set(files) == {*kept, "bundle.json", "LICENSE", "defects.md", "metrics.json"}
    for name in (*kept, "defects.md", "metrics.json"):
        assert files[name] == (models / name).read_bytes()
    assert files["LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_the_description_says_what_the_sidecars_and_the_settings_say(models, tmp_path):
    values = {"defects.threshold": 0.25, "identification.top_k": 3}
    licence = tmp_path / "backbone.txt"
    licence.write_text("MIT")
    contents = Contents(models, "cell", "2.1", "2026-05-04", values, licences=(licence,))
    bundle = make_bundle(contents, tmp_path / "out.tar")
    tree = bundle.tree
    assert (tree["name"], tree["version"], tree["date"]) == ("cell", "2.1", "2026-05-04")
    assert tree["made_with"] == __version__
    assert tree["license"] == "not stated"
    assert tree["values"] == {
        **{name: leaf.default for name, leaf in thresholds().items()}, **values
    }  # fmt: skip
    _, where = load_artifact(models / "segmentation.onnx")
    assert tree["stages"]["segmentation"] == {
        "artifact": "segmentation.onnx", "precision": "fp32", "labels": ["object"],
        "preprocessing": {"input_hw": list(where.meta["input_hw"])},
    }  # fmt: skip
    assert tree["stages"]["defects"]["labels"] == ["multi_pick", "nominal", "package_defect"]
    assert set(tree["stages"]) == {*STAGES, "identification_fusion"}
    assert bundle.files["licences/backbone.txt"].bytes == 3


def test_the_licence_of_the_shipped_networks_is_that_of_the_index():
    from robollm_core.export.bundle import _license

    assert _license(ROOT / "models/tiny") == "Apache-2.0"


def test_the_same_contents_are_the_same_bytes(models, tmp_path):
    make_bundle(Contents(models, "cell"), tmp_path / "one.tar")
    again = tmp_path / "elsewhere"
    shutil.copytree(models, again)
    for path in again.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    make_bundle(Contents(again, "cell"), tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert names == ["bundle.json", *sorted(names[1:])]
    facts = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members}
    assert facts == {(0, 0, 0, "", "", 0o644, tarfile.REGTYPE)}


def test_folder_and_tar_hold_the_same(models, tmp_path):
    make_bundle(Contents(models, "cell"), tmp_path / "out")
    make_bundle(Contents(models, "cell"), tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as archive:
        held = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
    assert held == small_bundle.files_of(tmp_path / "out")


def test_further_precisions_come_along(models, tmp_path):
    give_precision(models)
    bundle = make_bundle(Contents(models, "cell", precisions=("fp16",)), tmp_path / "out")
    for stage in STAGES:
        assert bundle.artifacts(stage) == (f"{stage}.onnx", f"{stage}.fp16.onnx")
        assert f"{stage}.fp16.json" in bundle.files
    assert bundle.artifacts("identification_fusion") == ("identification_fusion.onnx",)


def test_a_precision_that_is_not_there_is_refused(models, tmp_path):
    give_precision(models, stages=STAGES[:2])
    with pytest.raises(ArtifactError, match=r"defects.fp16"):
        make_bundle(Contents(models, "cell", precisions=("fp16",)), tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


def test_tensors_in_a_second_file_come_along(models, tmp_path):
    path, sidecar = load_artifact(models / "defects.onnx")
    write_artifact(path, path.read_bytes(), sidecar, data=b"many tensors")
    bundle = make_bundle(Contents(models, "cell"), tmp_path / "out.tar")
    assert bundle.files[data_path(path).name].bytes == len(b"many tensors")


def test_further_sizes_and_the_fusion_of_a_precision_come_along(models, tmp_path):
    give_precision(models)
    for suffix in ("onnx", "json"):
        shutil.copyfile(
            models / f"identification_fusion.{suffix}",
            models / f"identification.fp16_fusion.{suffix}",
        )
        shutil.copyfile(
            models / f"segmentation.{suffix}", models / f"segmentation_480x640.{suffix}"
        )
    contents = Contents(models, "cell", precisions=("fp16",), sizes=("480x640",))
    bundle = make_bundle(contents, tmp_path / "out.tar")
    assert bundle.artifacts("segmentation")[1:] == (
        "segmentation.fp16.onnx", "segmentation_480x640.onnx"
    )  # fmt: skip
    assert bundle.artifacts("identification_fusion")[1:] == ("identification.fp16_fusion.onnx",)
    with pytest.raises(ArtifactError, match=r"segmentation_7x7"):
        make_bundle(Contents(models, "cell", sizes=("7x7",)), tmp_path / "out.tar")


def write_engine(folder, network, data=b"engine", digest=""):
    """An engine as one that was built ahead of time stands beside its network."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{network.stem}.sm86.tensorrt_rtx.engine"
    path.write_bytes(data)
    facts = {"network": load_artifact(network)[1].sha256, "gpu": "sm86"}
    digest = digest or hashlib.sha256(data).hexdigest()
    path.with_suffix(".json").write_text(
        json.dumps({"format": 1, "facts": facts, "sha256": digest})
    )
    return path


def test_built_engines_come_along_beside_their_networks(models, tmp_path):
    give_precision(models)
    engines = tmp_path / "engines"
    for name in ("defects", "defects.fp16"):
        write_engine(engines, models / f"{name}.onnx")
    (engines / "tracker.sm86.tensorrt_rtx.engine").write_bytes(b"of no network here")
    contents = Contents(models, "cell", precisions=("fp16",), engines=engines)
    bundle = make_bundle(contents, tmp_path / "out.tar")
    assert sorted(name for name in bundle.files if "sm86" in name) == [
        "defects.fp16.sm86.tensorrt_rtx.engine", "defects.fp16.sm86.tensorrt_rtx.json",
        "defects.sm86.tensorrt_rtx.engine", "defects.sm86.tensorrt_rtx.json",
    ]  # fmt: skip


def test_a_folder_without_an_engine_of_these_networks_is_refused(models, tmp_path):
    with pytest.raises(ConfigError, match="expected engines of these networks"):
        make_bundle(Contents(models, "cell", engines=tmp_path), tmp_path / "out.tar")


@pytest.mark.parametrize("harm", ["foreign", "cut", "no sidecar", "no json"])
def test_an_engine_that_is_not_of_the_network_is_refused(models, tmp_path, harm):
    engines = tmp_path / "engines"
    path = write_engine(engines, models / "defects.onnx")
    if harm == "foreign":
        other = write_engine(engines, models / "segmentation.onnx")
        other.with_suffix(".json").rename(path.with_suffix(".json"))
        other.unlink()
    elif harm == "cut":
        path.write_bytes(b"engi")
    elif harm == "no sidecar":
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"defects.sm86.*Build"):
        make_bundle(Contents(models, "cell", engines=engines), tmp_path / "out.tar")


@pytest.mark.parametrize("name", [n for n in flatten(Config()) if n not in thresholds()])
def test_a_setting_of_a_machine_or_a_place_is_refused(name):
    value = flatten(Config())[name]
    (choices,) = (leaf.choices for leaf in leaves() if leaf.name == name)
    if choices:
        other = next(choice for choice in choices if choice != value)
    else:
        other = not value if isinstance(value, bool) else value + type(value)(1)
    with pytest.raises(ConfigError, match=f"cannot set {name}"):
        bundle_values({name: other})
    assert set(bundle_values({name: value})) == set(thresholds())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"values": {"defects.threshold": 1.5}}, ConfigError, "must lie in"),
        ({"values": {"defects.treshold": 0.5}}, ConfigError, "unknown configuration key"),
        ({"name": "../cell"}, ArtifactError, r"\$.name"),
        ({"version": ""}, ArtifactError, r"\$.version"),
        ({"date": "today"}, ArtifactError, r"\$.date"),
        ({"licences": (Path("none.txt"),)}, ArtifactError, r"cannot read none.txt"),
        ({"models": Path("/nowhere")}, ArtifactError, "cannot read /nowhere"),
    ],
)
@pytest.mark.parametrize("out", ["out", "out.tar"])
def test_wrong_contents_are_refused_and_nothing_is_written(
    models, tmp_path, changes, error, words, out
):
    with pytest.raises(error, match=words):
        make_bundle(Contents(**{"models": models, "name": "cell", **changes}), tmp_path / out)
    assert {path.name for path in tmp_path.iterdir()} == {"models"}


@pytest.mark.parametrize("harm", ["network", "stage"])
@pytest.mark.parametrize("out", ["out", "out.tar"])
def test_a_network_that_is_not_what_it_should_be_is_refused(models, tmp_path, harm, out):
    if harm == "network":
        (models / "defects.onnx").write_bytes(b"something else")
    else:
        for suffix in ("onnx", "json"):
            shutil.copyfile(models / f"segmentation.{suffix}", models / f"defects.{suffix}")
    with pytest.raises(ArtifactError, match="changed or damaged|must be of the stage defects"):
        make_bundle(Contents(models, "cell"), tmp_path / out)
    assert {path.name for path in tmp_path.iterdir()} == {"models"}


def test_a_licence_may_not_hide_another(models, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "LICENSE").write_text(folder)
    licences = (tmp_path / "a/LICENSE", tmp_path / "b/LICENSE")
    with pytest.raises(ConfigError, match="licences/LICENSE twice"):
        make_bundle(Contents(models, "cell", licences=licences), tmp_path / "out.tar")


@pytest.mark.parametrize("name", ["cell.tar.gz", "cell.tgz", "cell.zip"])
def test_a_compressed_archive_is_not_written(models, tmp_path, name):
    with pytest.raises(ConfigError, match="a .tar or a folder"):
        make_bundle(Contents(models, "cell"), tmp_path / name)


def test_a_folder_that_holds_something_is_left_alone_and_a_tar_is_replaced(models, tmp_path):
    (tmp_path / "out").mkdir()
    make_bundle(Contents(models, "cell"), tmp_path / "out")
    with pytest.raises(OutputError, match="there already"):
        make_bundle(Contents(models, "cell"), tmp_path / "out")
    (tmp_path / "out.tar").write_bytes(b"an earlier one")
    make_bundle(Contents(models, "cell"), tmp_path / "out.tar")
    check_bundle(tmp_path / "out.tar")


@pytest.mark.parametrize("out", ["out", "out.tar"])
def test_a_full_disk_is_one_clear_error_and_nothing_stays(models, tmp_path, out):
    place = tmp_path / "disk"
    code = f"""
from pathlib import Path
from robollm_core.errors import OutputError
from robollm_core.export.bundle import Contents, make_bundle
try:
    make_bundle(Contents(Path({str(models)!r}), "cell"), Path({str(place / out)!r}))
except OutputError as error:
    print(error)
"""
    said, left = run_on_small_disk(place, 8, code)
    assert "cannot write" in said
    assert full_disk_error() in said
    assert left == "[]"


def test_what_is_listed_is_what_was_hashed(models, tmp_path):
    bundle = make_bundle(Contents(models, "cell"), tmp_path / "out")
    tree = json.loads((tmp_path / "out/bundle.json").read_text())
    assert tree == bundle.tree
    for name, said in tree["files"].items():
        assert (tmp_path / "out" / name).stat().st_size == said["bytes"]
