# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The services of the node do what they say, and hold nobody up."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import colour_cell
from diagnostic_msgs.srv import SelfTest
from std_srvs.srv import SetBool, Trigger

pytestmark = pytest.mark.ros
BOXES, draw_tote = colour_cell.BOXES, colour_cell.draw_tote
manifest_text, write_references = colour_cell.manifest_text, colour_cell.write_references


def trigger(cell, name):
    """Success and message of a Trigger service; the message as a tree when it is JSON."""
    answer = cell.call(Trigger, f"perception/{name}", Trigger.Request())
    return answer.success, json.loads(answer.message) if answer.success else answer.message


def self_test(cell):
    answer = cell.call(SelfTest, "perception/self_test", SelfTest.Request())
    lines = {status.name.partition(": ")[2]: status for status in answer.status}
    return answer.passed == b"\x01", lines


def enable(cell, on):
    return cell.call(SetBool, "perception/enable", SetBool.Request(data=on))


def test_a_stream_that_is_switched_off_is_counted_and_can_be_switched_on(make_cell):
    cell = make_cell()
    cell.start()
    assert enable(cell, False).success
    assert cell.node.get_parameter("input.enabled").value is False
    cell.show(draw_tote(), stamp=(1, 0))
    cell.wait(lambda: cell.counts()["dropped_disabled"] == 1, "the frame to be dropped")
    assert enable(cell, True).success
    cell.show(draw_tote(), stamp=(2, 0))
    assert cell.answers("detections", 1)[0].header.stamp.sec == 2
    counts = json.loads(cell.answers("timing", 1)[0].data)
    assert (counts["received"], counts["processed"], counts["dropped"]) == (2, 1, 1)


def test_trigger_answers_the_newest_frame_on_the_topics_and_in_its_reply(make_cell, tmp_path):
    cell = make_cell(identification__reference_root=str(tmp_path), input__enabled=False)
    cell.start()
    cell.tell(manifest_text(write_references(tmp_path), version=3))
    cell.status("manifest", lambda s: s.level == b"\x00")
    for second in (1, 2):
        cell.show(draw_tote(), stamp=(second, 5), frame_id="tote_top")
        cell.wait(lambda n=second: cell.counts()["received"] == n, "the frame")
    success, told = trigger(cell, "trigger")
    assert success
    (frame,) = told["frames"]
    assert (frame["input"], frame["camera"], frame["stamp_ns"]) == (
        "camera",
        "tote_top",
        2 * 10**9 + 5,
    )
    assert frame["manifest"] == ["T-1", 3]
    assert [item["item_id"] for item in frame["instances"]] == list(BOXES)
    assert [tuple(item["box_xyxy_px"]) for item in frame["instances"]] == list(BOXES.values())
    (found,) = cell.answers("detections", 1)
    assert [d.id for d in found.detections] == [item["id"] for item in frame["instances"]]
    # the frame was counted when it came in, and not again
    counts = cell.counts()
    assert (counts["received"], counts["dropped_disabled"], counts["processed"]) == (2, 2, 0)


def test_trigger_without_a_frame_says_so(make_cell):
    cell = make_cell()
    assert cell.transition("configure")
    assert trigger(cell, "trigger") == (False, "the node is not active; activate it first.")
    assert cell.transition("activate")
    success, text = trigger(cell, "trigger")
    assert not success
    assert "no camera has sent a frame" in text


def test_trigger_on_a_frame_that_is_no_image_fails_with_the_reason(make_cell):
    cell = make_cell()
    cell.start()
    cell.show(draw_tote(), encoding="bayer_rggb8")
    cell.wait(lambda: cell.counts()["decode_errors"] == 1, "the refusal")
    success, text = trigger(cell, "trigger")
    assert not success
    assert "bayer_rggb8" in text


def test_a_call_that_waits_for_the_worker_holds_up_nobody_and_ends_with_deactivate(make_cell):
    cell = make_cell()
    cell.start()
    entered, proceed = threading.Event(), threading.Event()
    segmentation = cell.node.cell.worker.stages.segmentation
    segment = segmentation.segment

    def slow(frame):
        entered.set()
        assert proceed.wait(30)
        return segment(frame)

    segmentation.segment = slow
    cell.show(draw_tote(), stamp=(1, 0))
    assert entered.wait(30)
    client = cell.probe.create_client(Trigger, "perception/trigger")
    assert client.wait_for_service(10)
    waiting = client.call_async(Trigger.Request())
    # meanwhile: other services, frames and diagnostics are served
    assert enable(cell, True).success
    cell.show(draw_tote(), stamp=(2, 0))
    cell.wait(lambda: cell.counts()["received"] == 2, "the next frame")
    cell.status("lifecycle", lambda s: s.message == "active")
    assert not waiting.done()
    done = threading.Thread(target=lambda: time.sleep(0.3) or proceed.set())
    done.start()
    assert cell.transition("deactivate")
    done.join()
    cell.wait(waiting.done, "the call to be answered")
    assert not waiting.result().success
    assert "not active" in waiting.result().message
    cell.probe.destroy_client(client)


def test_reloading_the_gallery_takes_new_reference_images_and_raises_the_version(
    make_cell, tmp_path
):
    cell = make_cell(
        listen=("detections", "vision_info"), identification__reference_root=str(tmp_path)
    )
    cell.start()
    products = write_references(tmp_path)
    cell.tell(manifest_text(products))
    cell.status("manifest", lambda s: s.level == b"\x00")
    before = cell.answers("vision_info", 2)[-1].database_version
    cell.show(draw_tote(), stamp=(1, 0))
    first = cell.answers("detections", 1)[0].detections[0].results[0].hypothesis.class_id
    assert first == "apple"
    # the pictures of two products change places
    apple, plum = (tmp_path / f"references/{name}.png" for name in ("apple", "plum"))
    one, other = apple.read_bytes(), plum.read_bytes()
    apple.write_bytes(other)
    plum.write_bytes(one)
    success, told = trigger(cell, "reload_gallery")
    assert success
    assert told["products"] == told["embedded"] == 3
    assert cell.answers("vision_info", 3)[-1].database_version == before + 1
    cell.show(draw_tote(), stamp=(2, 0))
    second = cell.answers("detections", 2)[1].detections[0].results[0].hypothesis.class_id
    assert second == "plum"


def test_a_debug_frame_is_a_bag_that_replays(make_cell, tmp_path, stand_ins):
    bag = pytest.importorskip("robollm_core.data.bag", reason="rosbags is not installed")
    cell = make_cell(
        identification__reference_root=str(tmp_path), debug_folder=str(tmp_path / "debug")
    )
    cell.start()
    cell.tell(manifest_text(write_references(tmp_path), version=3))
    cell.status("manifest", lambda s: s.level == b"\x00")
    cell.show(draw_tote(), stamp=(12, 34), frame_id="tote_top")
    cell.answers("detections", 1)
    success, told = trigger(cell, "save_debug_frame")
    assert success
    (file,) = map(Path, told["files"])
    assert file.parent == tmp_path / "debug"
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with bag.BagReader(file) as reader:
        (image,) = [event for event in reader.events() if isinstance(event, bag.ImageEvent)]
        frame = image.decode()
    assert np.array_equal(frame.image_rgb, draw_tote())
    assert (frame.stamp_ns, frame.camera) == (12 * 10**9 + 34, "tote_top")
    held = file.read_bytes()
    assert b"segmentation.onnx" in held
    assert b'"container_id":"T-1"' in held


def test_a_debug_frame_that_cannot_be_written_leaves_nothing(make_cell, tmp_path):
    blocked = tmp_path / "debug"
    blocked.write_text("a file where a folder should be")
    cell = make_cell(debug_folder=str(blocked))
    cell.start()
    cell.show(draw_tote())
    cell.answers("detections", 1)
    success, text = trigger(cell, "save_debug_frame")
    assert not success
    assert str(blocked) in text
    assert [path.name for path in tmp_path.iterdir()] == ["debug"]
    cell.show(draw_tote(), stamp=(2, 0))
    cell.answers("detections", 2)


def test_a_sound_node_passes_its_self_test_active_or_not(make_cell):
    cell = make_cell()
    cell.start()
    passed, lines = self_test(cell)
    assert passed
    assert set(lines) == {"model files", "golden image", "finite outputs"}
    assert all(status.level == b"\x00" for status in lines.values())
    # a live threshold changes what frames are answered with, and not what the networks say
    assert cell.set_parameter("segmentation.score_threshold", 0.99).successful
    assert self_test(cell)[0]
    assert cell.transition("deactivate")
    passed, lines = self_test(cell)
    assert not passed
    assert "not run" in lines["golden image"].message
    assert lines["model files"].level == b"\x00"


def test_the_self_test_notices_networks_that_changed(make_cell, stand_ins, tmp_path):
    import shutil

    copy = tmp_path / "defects.onnx"
    source = Path(stand_ins["defects.artifact"])
    for suffix in (".onnx", ".json"):
        shutil.copy(source.with_suffix(suffix), copy.with_suffix(suffix))
    cell = make_cell(defects__artifact=str(copy))
    cell.start()
    copy.write_bytes(source.read_bytes() + b"\0")
    passed, lines = self_test(cell)
    assert not passed
    assert lines["model files"].level == b"\x02"
    assert str(copy) in lines["model files"].message
    assert lines["golden image"].level == b"\x00"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda scores: scores * np.float32(0.3), "finds 0 instances instead of 3"),
        (lambda scores: scores - np.float32(0.01), "scores differ"),
        (lambda scores: scores * np.float32("nan"), "must hold numbers"),
    ],
    ids=["lower", "a little", "nan"],
)
def test_the_self_test_notices_a_network_that_answers_differently(make_cell, fault, words):
    cell = make_cell()
    cell.start()
    engine = cell.node.cell.worker.stages.segmentation._engine
    run = engine.run

    def broken(inputs):
        found = run(inputs)
        return {**found, "scores": fault(found["scores"])}

    engine.run = broken
    passed, lines = self_test(cell)
    assert not passed
    assert words in lines["golden image"].message
