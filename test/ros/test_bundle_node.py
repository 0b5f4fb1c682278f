# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node on a bundle: its answers, its parameters, its refusals."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import ros_probe
import small_bundle
from colour_cell import BOXES, draw_tote
from small_bundle import KINDS, VALUES

from robollm_core.config import Config, flatten

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"runtime.name": "onnx", "runtime.threads": 1, "health.period_s": 0.1}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """One bundle in every form."""
    folder = tmp_path_factory.mktemp("bundles")
    models = small_bundle.write_models(folder / "models")
    files = small_bundle.files_of(small_bundle.write_bundle(folder / "b", models))
    return {kind: small_bundle.write_as(kind, files, folder / "p") for kind in KINDS}


@pytest.fixture
def make(domain):
    """Makes a spinning perception node whose settings name no network."""
    from robollm_ros.perception_node import PerceptionNode

    made = []

    def build(**settings):
        dotted = {name.replace("__", "."): value for name, value in settings.items()}
        made.append(ros_probe.Cell(PerceptionNode, domain, {**PLAIN, **dotted}))
        return made[-1]

    yield build
    for cell in made:
        cell.close()


def shown(cell):
    names = flatten(Config())
    return {name: cell.node.get_parameter(name).value for name in names}


def errors(logged):
    return [text for severity, text in logged if severity in ("ERROR", "FATAL")]


def boxes(message):
    return [(d.bbox.center.position.x, d.bbox.center.position.y) for d in message.detections]


def centres(items):
    return [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in items]


@pytest.mark.parametrize("kind", KINDS)
def test_the_node_answers_with_the_networks_and_thresholds_of_the_bundle(make, bundles, kind):
    cell = make(runtime__bundle=str(bundles[kind]))
    cell.start()
    cell.show(draw_tote())
    (found,) = cell.answers("detections", 1)
    # the bundle's threshold of 0.75 lets two of the scores 0.9, 0.8, 0.7 pass
    assert boxes(found) == centres(list(BOXES.values())[:2])
    model = ros_probe.values(cell.status("model", lambda s: s.level == b"\x00"))
    assert model["bundle"].startswith("colours 1 (")
    (flaws,) = cell.answers("defects", 1)
    assert [d.results[0].hypothesis.class_id for d in flaws.detections] == ["multi_pick", "nominal"]


def test_the_parameters_show_what_is_in_force(make, bundles, logged):
    cell = make(runtime__bundle=str(bundles["tar"]))
    assert shown(cell) == {**flatten(Config()), **PLAIN, "runtime.bundle": str(bundles["tar"])}
    assert cell.transition("configure")
    now = shown(cell)
    assert {name: now[name] for name in VALUES} == VALUES
    networks = {name for name in now if name.endswith(".artifact")}
    assert all(Path(now[name]).is_file() for name in networks)
    expected = {**flatten(Config()), **PLAIN, **VALUES, "runtime.bundle": str(bundles["tar"])}
    assert {n: v for n, v in now.items() if n not in networks} == {
        n: v for n, v in expected.items() if n not in networks
    }
    (line,) = [text for _, text in logged if "the bundle colours 1 (" in text]
    assert "segmentation.score_threshold=0.75" in line
    assert cell.node.health.config.segmentation.score_threshold == 0.75


@pytest.mark.parametrize("value", [0.85, Config().segmentation.score_threshold])
def test_an_override_wins_over_the_bundle_also_with_the_default(make, bundles, value):
    cell = make(runtime__bundle=str(bundles["tar"]), segmentation__score_threshold=value)
    cell.start()
    assert shown(cell)["segmentation.score_threshold"] == value
    assert shown(cell)["defects.threshold"] == VALUES["defects.threshold"]
    cell.show(draw_tote())
    (found,) = cell.answers("detections", 1)
    assert len(found.detections) == (1 if value == 0.85 else 3)


def test_what_is_set_before_configure_counts_as_set(make, bundles):
    cell = make()
    assert cell.set_parameter("runtime.bundle", str(bundles["tar"])).successful
    assert cell.set_parameter("defects.threshold", 0.25).successful
    assert cell.transition("configure")
    assert shown(cell)["defects.threshold"] == 0.25
    assert shown(cell)["segmentation.score_threshold"] == 0.75


def test_a_live_threshold_of_the_bundle_can_be_changed_and_stays(make, bundles):
    cell = make(runtime__bundle=str(bundles["tar"]))
    cell.start()
    assert cell.set_parameter("segmentation.score_threshold", 0.5).successful
    cell.show(draw_tote())
    assert len(cell.answers("detections", 1)[0].detections) == 3
    for name in ("deactivate", "cleanup", "configure"):
        assert cell.transition(name)
    assert shown(cell)["segmentation.score_threshold"] == 0.5
    assert shown(cell)["defects.threshold"] == VALUES["defects.threshold"]


@pytest.mark.slow
def test_after_another_bundle_nothing_of_the_first_is_left(make, bundles, tmp_path):
    other = small_bundle.write_models(tmp_path / "models")
    second = small_bundle.write_bundle(tmp_path / "b.tar", other, values={"defects.threshold": 0.5})
    cell = make(runtime__bundle=str(bundles["tar"]))
    assert cell.transition("configure")
    first = shown(cell)
    assert cell.transition("cleanup")
    assert cell.set_parameter("runtime.bundle", str(second)).successful
    assert cell.transition("configure")
    now = shown(cell)
    assert now["defects.threshold"] == 0.5
    assert now["segmentation.score_threshold"] == Config().segmentation.score_threshold
    assert now["segmentation.artifact"] != first["segmentation.artifact"]
    assert cell.transition("cleanup")
    assert cell.set_parameter("runtime.bundle", "").successful
    assert cell.transition("configure")
    assert shown(cell) == {**flatten(Config()), **PLAIN}
    assert "bundle" not in ros_probe.values(cell.status("model", lambda s: s.level == b"\x00"))


@pytest.fixture
def damaged(bundles, tmp_path):
    """A bundle whose licence was changed."""
    whole = bundles["tar"].read_bytes()
    place = tmp_path / "cell.tar"
    place.write_bytes(whole.replace(b"Apache License", b"Apache Licence", 1))
    return place


def test_a_damaged_bundle_is_refused_at_configure_in_one_line(make, damaged, logged):
    cell = make(runtime__bundle=str(damaged))
    assert not cell.transition("configure")
    (line,) = errors(logged)
    assert line.startswith("cannot configure: ")
    assert "LICENSE was changed or damaged" in line
    assert "\n" not in line
    cell.status("lifecycle", lambda s: s.message.startswith("unconfigured"))


def test_a_damaged_bundle_can_be_mended_while_the_node_stays(make, bundles, damaged):
    cell = make(runtime__bundle=str(damaged))
    assert not cell.transition("configure")
    damaged.write_bytes(bundles["tar"].read_bytes())
    cell.start()
    cell.show(draw_tote())
    assert len(cell.answers("detections", 1)[0].detections) == 2


def test_shipped_networks_in_a_file_of_defaults_are_not_run_in_its_place(make, bundles, logged):
    cell = make(**{**flatten(Config()), "runtime.bundle": str(bundles["tar"])})
    assert not cell.transition("configure")
    (line,) = errors(logged)
    assert "shipped ones are set: segmentation.artifact" in line


def test_the_program_ends_with_one_line_on_a_bundle_that_is_none(domain, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "robollm_ros.perception_node", "--ros-args", "-p", "autostart:=true",
         "-p", f"runtime.bundle:={tmp_path / 'none.tar'}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "cannot configure: cannot read the bundle" in line
    assert "none.tar: No such file or directory" in line
