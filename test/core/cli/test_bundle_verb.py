# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bundle`, and the other verbs on a bundle."""

import json

import cv2
import pytest
import yaml

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import colour_cell
import small_bundle
from small_bundle import VALUES

from robollm_core.cli.main import main
from robollm_core.config import Config, flatten

WORDS = ["--set", "runtime.name=onnx", "--set", "runtime.threads=1"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return small_bundle.write_models(tmp_path_factory.mktemp("verb") / "colours")


@pytest.fixture(scope="module")
def tar(models):
    return small_bundle.write_bundle(models.parent / "cell.tar", models)


@pytest.fixture
def tote(tmp_path):
    path = tmp_path / "tote.png"
    cv2.imwrite(str(path), colour_cell.draw_tote()[..., ::-1])
    return path


def words_of(values):
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def test_make_check_and_info(models, tmp_path, capsys):
    out, report = tmp_path / "cell.tar", tmp_path / "report.json"
    make = ["bundle", "make", "--models", str(models), "--out", str(out), "--version", "3",
            *words_of(VALUES), "--json", str(report)]  # fmt: skip
    assert main(make) == 0
    made = json.loads(report.read_text())
    assert (made["name"], made["version"], made["ok"]) == ("colours", "3", True)
    assert main(["bundle", "check", str(out), "--json", str(report)]) == 0
    assert json.loads(report.read_text()) == {**made, "path": str(out)}
    said = capsys.readouterr().out
    assert f"{out}: sound; bundle colours 3 ({made['sha256'][:12]}), {made['files']} files" in said
    assert main(["bundle", "info", str(out), "--json", str(report)]) == 0
    told = json.loads(report.read_text())["description"]
    assert told["values"] == {**told["values"], **VALUES}
    shown = capsys.readouterr().out
    for text in ("segmentation.onnx", "multi_pick", "defects.threshold", "0.625", "LICENSE"):
        assert text in shown


def test_values_come_from_a_file_and_what_is_set_wins(models, tmp_path):
    settings = tmp_path / "site.yaml"
    settings.write_text("defects: {threshold: 0.25}\nidentification: {top_k: 3}\n")
    make = ["bundle", "make", "--models", str(models), "--out", str(tmp_path / "b"),
            "--config", str(settings), "--set", "identification.top_k=4"]  # fmt: skip
    assert main(make) == 0
    values = json.loads((tmp_path / "b/bundle.json").read_text())["values"]
    assert (values["defects.threshold"], values["identification.top_k"]) == (0.25, 4)


def test_a_damaged_bundle_is_refused_and_the_report_says_why(tar, tmp_path, capsys):
    data = tar.read_bytes()
    harmed, report = tmp_path / "cell.tar", tmp_path / "report.json"
    harmed.write_bytes(data[: len(data) // 2])
    assert main(["bundle", "check", str(harmed), "--json", str(report)]) == 2
    told = json.loads(report.read_text())
    assert told["ok"] is False
    assert told["fault"] in capsys.readouterr().err
    assert main(["bundle", "info", str(tmp_path / "none.tar")]) == 2


def test_a_label_cannot_command_the_terminal(models, tmp_path, capsys):
    own = tmp_path / "models"
    own.mkdir()
    colour_cell.write_cell(own)
    boxes = list(colour_cell.BOXES.values())
    colour_cell.segmentation(
        own / "segmentation.onnx", boxes, [0.9] * 3, labels=("\x1b[2J\x1b]0;evil\x07",)
    )
    place = small_bundle.write_bundle(tmp_path / "b", own)
    assert main(["bundle", "info", str(place)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def config_of(capsys, *words):
    assert main(["config", *words]) == 0
    tree = yaml.safe_load(capsys.readouterr().out)["/**"]["ros__parameters"]
    return {
        f"{branch}.{leaf}": value for branch, node in tree.items() for leaf, value in node.items()
    }


def test_config_prints_what_is_in_force(tar, capsys):
    bundle = ["--set", f"runtime.bundle={tar}"]
    shown = config_of(capsys, *bundle)
    assert {name: shown[name] for name in VALUES} == VALUES
    assert shown["runtime.bundle"] == str(tar)
    assert shown["segmentation.artifact"].endswith("/segmentation.onnx")
    changed = {name for name, value in flatten(Config()).items() if shown[name] != value}
    networks = {f"{stage}.artifact" for stage in ("segmentation", "identification", "defects")}
    assert changed == {*VALUES, *networks, "runtime.bundle"}
    own = config_of(capsys, *bundle, "--set", "defects.threshold=0.125")
    assert own == {**shown, "defects.threshold": 0.125}


def test_what_config_prints_is_the_same_configuration(tar, tmp_path, capsys):
    assert main(["config", "--set", f"runtime.bundle={tar}"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(text)
    assert main(["config", "--config", str(tmp_path / "printed.yaml")]) == 0
    assert capsys.readouterr().out == text


def test_perceive_answers_with_the_networks_and_thresholds_of_the_bundle(tar, tote, capsys):
    bundle = ["--set", f"runtime.bundle={tar}"]
    found = []
    for more in ([], ["--set", "segmentation.score_threshold=0.35"]):
        assert main(["perceive", str(tote), *WORDS, *bundle, *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["instances"])
    assert [len(instances) for instances in found] == [2, 3]
    assert found[0] == found[1][:2]
    boxes = [tuple(instance["box_xyxy_px"]) for instance in found[1]]
    assert boxes == list(colour_cell.BOXES.values())


def test_perceive_refuses_a_damaged_bundle_in_one_line(tar, tote, tmp_path, capsys):
    data = bytearray(tar.read_bytes())
    data[data.find(b"Apache License")] ^= 1
    (tmp_path / "b.tar").write_bytes(data)
    assert main(["perceive", str(tote), "--set", f"runtime.bundle={tmp_path / 'b.tar'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "LICENSE was changed or damaged" in line


def test_replay_answers_as_with_the_same_networks_and_values(tar, models, tmp_path):
    bag = colour_cell.write_bag(tmp_path / "cell.mcap")
    networks = {f"{s}.artifact": models / f"{s}.onnx"
                for s in ("segmentation", "identification", "defects")}  # fmt: skip
    ways = {"bundle": {"runtime.bundle": tar}, "plain": {**networks, **VALUES}}
    for name, values in ways.items():
        out = str(tmp_path / f"{name}.mcap")
        assert main(["replay", str(bag), "--out", out, *WORDS, *words_of(values)]) == 0
    # not byte by byte: each bag says which settings it was made with
    exact = ["--box-px", "0", "--score", "0", "--mask-iou", "1"]
    assert main(["replay", "diff", *(str(tmp_path / f"{name}.mcap") for name in ways), *exact]) == 0


@pytest.mark.slow
def test_evaluate_measures_the_networks_of_the_bundle(tar, models, tmp_path):
    bag = colour_cell.write_bag(tmp_path / "cell.mcap")
    figures = []
    ways = [["--set", f"runtime.bundle={tar}"], ["--models", str(models), *words_of(VALUES)]]
    for number, words in enumerate(ways):
        out = tmp_path / str(number)
        assert main(["evaluate", "cell", str(bag), "--out", str(out), *WORDS, *words]) == 0
        figures.append(json.loads((out / "result.json").read_text())["figures"])
        del figures[-1]["latency_ms"]
    assert figures[0] == figures[1]
    assert figures[0]["found"]["value"] == pytest.approx(2 / 3)


def test_doctor_looks_at_the_networks_of_the_bundle(tar, tmp_path, capsys):
    settings = tmp_path / "site.yaml"
    settings.write_text(f"runtime: {{bundle: {tar}, name: onnx, threads: 1}}\n")
    main(["doctor", "--config", str(settings), "--json", str(tmp_path / "found.json")])
    checks = json.loads((tmp_path / "found.json").read_text())["checks"]
    looked = [check for check in checks if check["area"] == "models"]
    assert len(looked) == 3
    assert all(check["ok"] and "/bundles/" in check["name"] for check in looked)
