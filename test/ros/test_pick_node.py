# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node answers pick events about what its cameras show, and the example client."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

colour_cell = pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")
ros_probe = pytest.importorskip("ros_probe")
pick_bench = pytest.importorskip("pick_bench")
pick_probe = pytest.importorskip("pick_probe")

pytestmark = pytest.mark.ros
CLIENT = Path(__file__).resolve().parents[2] / "docs/examples/pick_client.py"
BOXES = colour_cell.BOXES
event_text, exact = pick_bench.event_text, pick_bench.exact
EXACT = [exact("tote", 1500)]
"""The default camera, called by the frame_id of its images."""


@pytest.fixture
def cell(make_cell, tmp_path):
    made = make_cell(identification__reference_root=str(tmp_path))
    made.start()
    made.client = pick_probe.Client(made.probe)
    made.wait(made.client.events.get_subscription_count, "the node to listen to pick events")
    made.tell(colour_cell.manifest_text(colour_cell.write_references(tmp_path), version=3))
    made.status("manifest", lambda status: status.level == b"\x00")
    return made


def show(cell, ms=1500, items=tuple(BOXES)):
    seen = len(cell.heard["detections"])
    cell.show(colour_cell.draw_tote(items=items), (ms // 1000, ms % 1000 * 1_000_000), "tote")
    cell.answers("detections", seen + 1)


def roi_of(item):
    x0, y0, x1, y1 = BOXES[item]
    return {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}


def best(message):
    return message.detections[0].results[0].hypothesis


@pytest.mark.parametrize("item, defect", [("lime", "nominal"), ("plum", "package_defect")])
def test_the_picked_item_is_named_and_judged(cell, item, defect):
    show(cell)
    cell.client.send(event_text(views=EXACT, roi=roi_of(item), container_id="T-1"))
    answer = cell.client.answer("e-1")
    assert answer.status["state"] == "done"
    assert answer.status["manifest"]["version"] == 3
    assert best(answer.identity).class_id == item
    assert best(answer.defects).class_id == defect
    box = answer.identity.detections[1].bbox
    x0, y0, x1, y1 = BOXES[item]
    assert (box.center.position.x, box.center.position.y) == ((x0 + x1) / 2, (y0 + y1) / 2)
    assert set(answer.status["models"]) == {"segmentation", "identification", "defects"}


def test_the_detection_that_was_selected_is_the_picked_one(cell):
    show(cell)
    names = [one.id for one in cell.heard["detections"][-1].detections]
    for index, item in enumerate(BOXES):
        event = event_text(f"e-{index}", views=EXACT, selection={"detection_id": names[index]})
        cell.client.send(event)
        answer = cell.client.answer(f"e-{index}")
        assert best(answer.identity).class_id == item
        assert answer.identity.detections[1].id == names[index]


def test_an_item_that_is_not_on_the_named_manifest_stays_unknown(cell):
    show(cell)
    cell.client.send(event_text(views=EXACT, container_id="T-2"))
    answer = cell.client.answer("e-1")
    assert best(answer.identity).class_id == "unknown"
    assert answer.status["manifest"]["by"] == "none"
    assert best(answer.defects).class_id in ("nominal", "multi_pick", "package_defect")


def test_before_and_after_the_grasp_are_put_together(cell):
    show(cell)
    cell.client.send(event_text("e-1", views=EXACT, roi=roi_of("lime")))
    cell.client.answer("e-1")
    show(cell, 2500)
    held = {**exact("tote", 2500), "role": "post"}
    cell.client.send(event_text("e-2", phase="post_pick", views=[held]))
    answer = cell.client.answer("e-2")
    assert answer.status["pre_pick"] == {"event_id": "e-1", "views": 1}
    # the central instance is lime's too
    assert best(answer.identity).class_id == "lime"


def test_a_node_that_is_deactivated_answers_what_waits_and_hears_again_later(cell):
    cell.client.send(event_text("e-1", views=[exact("camera", 9000)], deadline_ms=600_000))
    cell.client.wait(lambda: cell.client.statuses, "the receipt")
    assert cell.transition("deactivate")
    assert cell.client.answer("e-1").status["state"] == "cancelled"
    assert cell.transition("activate")
    cell.wait(cell.client.events.get_subscription_count, "the node to listen again")
    cell.wait(cell.images.get_subscription_count, "the node to see again")
    show(cell)
    cell.client.send(event_text("e-2", views=EXACT))
    assert cell.client.answer("e-2").status["state"] == "done"


def test_the_diagnostics_count_events(cell):
    show(cell)
    cell.client.send(event_text("e-1", views=EXACT))
    cell.client.send(event_text("e-2", views=[exact("tote", 9000)], deadline_ms=20))
    cell.client.answer("e-2")
    status = cell.status("pick", lambda s: ros_probe.values(s).get("requests") == "2")
    told = ros_probe.values(status)
    assert (told["done"], told["timeout"], told["pending"]) == ("1", "1", "0")


def client(domain, *arguments):
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    pipe = subprocess.PIPE
    command = [sys.executable, str(CLIENT), "tote", "P-1", *arguments]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def test_the_example_client_asks_and_prints_the_answer(cell, domain):
    show(cell)
    running = client(domain)
    while running.poll() is None:  # the newest frame must be fresh whenever the event comes
        cell.show(colour_cell.draw_tote(), (1, 600_000_000), "tote")
        time.sleep(0.1)
    told, complaint = running.communicate()
    assert (running.returncode, complaint) == (0, "")
    assert re.fullmatch(r"done: lime [01]\.\d\d, nominal\n", told)


@pytest.mark.slow
def test_the_example_client_says_when_nobody_answers(domain):
    running = client(domain, "/nowhere")
    _, complaint = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "no answer: is the perception node active" in complaint


def test_the_first_pick_of_a_container_waits_until_its_manifest_is_embedded(cell, tmp_path):
    entered, proceed = threading.Event(), threading.Event()
    stage = cell.node.cell.worker.stages.identification
    prepare = type(stage).prepare

    def slow(self, manifest):
        entered.set()
        assert proceed.wait(ros_probe.TIMEOUT_S)
        return prepare(self, manifest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(stage), "prepare", slow)
        show(cell)
        products = colour_cell.write_references(tmp_path)
        cell.tell(colour_cell.manifest_text(products, "T-2", 1))
        assert entered.wait(ros_probe.TIMEOUT_S)
        named = {"container_id": "T-2", "manifest_version": 1, "deadline_ms": 120_000}
        cell.client.send(event_text(views=EXACT, roi=roi_of("lime"), **named))
        cell.client.wait(lambda: cell.client.statuses, "the receipt")
        assert cell.client.finals("e-1") == (0, 0, 0)
        proceed.set()
        answer = cell.client.answer("e-1")
    assert best(answer.identity).class_id == "lime"
    assert (answer.status["manifest"]["container_id"], answer.status["manifest"]["by"]) == (
        "T-2",
        "version",
    )


def test_an_image_that_is_none_is_refused_and_not_held_against_the_networks(cell):
    cell.show(colour_cell.draw_tote(), (1, 500_000_000), "tote", encoding="nonsense")
    cell.client.send(event_text(views=[{"camera": "camera"}]))
    assert cell.client.answer("e-1").status["state"] == "error"
    assert "encoding" in cell.client.answer("e-1").status["reason"]
    cell.wait(lambda: cell.node.health.errors.get("pick/event"), "the refusal")
    assert cell.node.health.failures == 0
