# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A thousand malformed messages a topic: the node counts them and answers the next good one."""

import array
import json
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("hypothesis", reason="hypothesis is not installed")
pytest.importorskip("onnx", reason="the stand-in networks need onnx")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

from colour_cell import draw_tote, manifest_text, write_references
from malformed import cdr, drawn, image_file, json_text
from outside_probe import OutsideProbe, header, stamp_of, values
from rclpy.serialization import serialize_message
from ros_programs import Programs
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

pytestmark = [pytest.mark.ros, pytest.mark.slow]

COUNT = 1000
PACE_S = 0.002
IMAGE = draw_tote()
MANIFEST = {"container_id": "T-1", "version": 2, "complete": True,
            "products": [{"product_id": "apple", "quantity": 2, "picked": 1, "text": "an apple",
                          "weight_kg": 0.1, "dims_m": [0.1, 0.1, 0.1],
                          "reference_images": ["references/apple.png"]}]}  # fmt: skip
EVENT = {"event_id": "E-1", "pick_id": "P-1", "phase": "pre_pick", "container_id": "T-1",
         "manifest_version": 2, "min_views": 1, "deadline_ms": 300,
         "views": [{"camera": "tote", "role": "pick", "match": "latest"}],
         "roi": {"x": 0, "y": 0, "w": 64, "h": 64}}  # fmt: skip


@pytest.fixture
def start(domain, stand_ins, tmp_path):
    """Starts the node as a process, with a probe around it."""
    write_references(tmp_path)
    programs, probe = Programs(domain), OutsideProbe(domain)

    def begin(**settings):
        dotted = {name.replace("__", "."): value for name, value in settings.items()}
        given = {**stand_ins, "identification.reference_root": str(tmp_path), **dotted}
        return programs.perception(given), probe

    yield begin
    probe.close()
    programs.kill()


def jpeg():
    return cv2.imencode(".jpg", IMAGE)[1].tobytes()


def compressed(data, stamp_ns=7):
    return CompressedImage(
        header=header(stamp_ns, "tote"), format="jpeg", data=array.array("B", data)
    )


def image(stamp_ns=7):
    height, width = IMAGE.shape[:2]
    data = array.array("B", IMAGE.tobytes())
    return Image(header=header(stamp_ns, "tote"), height=height, width=width, encoding="rgb8",
                 step=3 * width, data=data)  # fmt: skip


def send(publisher, messages):
    for message in messages:
        publisher.publish(message)
        time.sleep(PACE_S)


def counted(probe):
    """The counters of the camera once they stand still, as numbers."""

    def still(status):
        told = {k: int(v) for k, v in values(status).items() if v.lstrip("-").isdecimal()}
        same, counted.before = told == getattr(counted, "before", None), told
        return same

    status = probe.status("input/camera", still)
    return {k: int(v) for k, v in values(status).items() if v.lstrip("-").isdecimal()}


def well(node, probe, publisher, good):
    """The node answers a good frame, has not died, and ends cleanly."""
    probe.wait(lambda: publisher.get_subscription_count(), "the node to listen still")
    end = time.monotonic() + 20
    while not any(stamp_of(m) == 77 for m in list(probe.heard["perception/detections"])):
        assert time.monotonic() < end, f"no answer any more: {node.errors[-20:]}"
        publisher.publish(good(77))
        time.sleep(0.1)
    assert node.end(signal.SIGINT, timeout=10) == 0
    return "\n".join(node.errors)


def accounted(told):
    drops = sum(told[name] for name in told if name.startswith("dropped_"))
    return told["processed"] + drops + told["decode_errors"]


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_malformed_images_are_counted_and_the_next_good_one_is_answered(start, transport):
    node, probe = start(input__transport=transport)
    if transport == "raw":
        publisher, good = probe.images, image
        bad = drawn(cdr(serialize_message(image())), COUNT, 1)
    else:
        publisher, good = probe.compressed, lambda stamp: compressed(jpeg(), stamp)
        bad = drawn(cdr(serialize_message(compressed(jpeg()))), COUNT // 2, 2)
        bad += [serialize_message(compressed(data)) for data in drawn(image_file(jpeg()), COUNT, 3)]
    probe.meet(publisher)
    send(publisher, bad)
    told = counted(probe)
    # best effort may lose some, and bytes that rclpy cannot unpack reach nobody
    assert told["received"] > COUNT // 2
    assert told["decode_errors"] > COUNT // 10
    assert accounted(told) == told["received"]
    said = well(node, probe, publisher, good)
    # refusals are logged now and then, not a thousand times
    assert said.count("The frame is skipped") < 20
    assert "Traceback" not in said


def test_malformed_manifests_leave_the_good_one_in_force(start):
    node, probe = start()
    probe.meet(probe.images, probe.manifests)
    probe.tell(MANIFEST)
    probe.status("manifest", lambda status: status.level == b"\x00")
    send(
        probe.manifests, drawn(cdr(serialize_message(String(data=json.dumps(MANIFEST)))), COUNT, 4)
    )
    send(probe.manifests, [String(data=text) for text in drawn(json_text(MANIFEST), COUNT, 5)])
    newer = json.loads(manifest_text([{"product_id": "lime",
                                       "reference_images": ["references/lime.png"]}],
                                     container_id="T-9", version=1))  # fmt: skip
    probe.tell(newer)
    probe.status(
        "manifest",
        lambda status: status.level == b"\x00" and values(status)["container_id"] == "T-9",
    )
    said = well(node, probe, probe.images, image)
    assert said.count("stays in force") < 20
    assert "Traceback" not in said


def test_malformed_events_are_refused_and_the_next_good_one_is_answered_once(start):
    node, probe = start()
    probe.meet(probe.images, probe.manifests, probe.events)
    probe.tell(MANIFEST)
    probe.status("manifest", lambda status: status.level == b"\x00")
    probe.show_until_answered(IMAGE, 10**9)
    send(probe.events, drawn(cdr(serialize_message(String(data=json.dumps(EVENT)))), COUNT, 6))
    send(probe.events, [String(data=text) for text in drawn(json_text(EVENT), COUNT, 7)])
    probe.show_until_answered(IMAGE, 5 * 10**9)
    probe.ask({**EVENT, "event_id": "good", "pick_id": "P-good"})
    probe.wait(lambda: probe.answers("good") == (1, 1, 1), "the answer to the good event")
    (final,) = probe.finals("good")
    assert final["state"] == "done"
    # whatever of the noise was taken for an event has one answer as well
    ids = {json.loads(message.data).get("event_id") for message in probe.heard["pick/status"]}
    finals = {name: len(probe.finals(name)) for name in ids if name}
    replayed = {
        json.loads(m.data)["event_id"] for m in probe.heard["pick/status"]
        if json.loads(m.data).get("replayed")
    }  # fmt: skip
    assert all(count == 1 for name, count in finals.items() if name not in replayed)
    said = well(node, probe, probe.images, image)
    assert "Traceback" not in said


def test_the_same_number_draws_the_same_noise():
    assert drawn(json_text(EVENT), 50, 5) == drawn(json_text(EVENT), 50, 5)
    assert drawn(json_text(EVENT), 50, 5) != drawn(json_text(EVENT), 50, 6)
    good = serialize_message(image())
    noise = drawn(cdr(good), 300, 1)
    assert len({bytes(data) for data in noise}) > 200
    assert np.mean([len(data) for data in noise]) > 100
