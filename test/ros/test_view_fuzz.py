# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Malformed messages on every topic of the live view: it goes on, and shows the next good one."""

import array
import asyncio
import json
import signal
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("aiohttp", reason="the view needs aiohttp: pip install '.[view]'")
pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")

import aiohttp
import rclpy
from builtin_interfaces.msg import Time
from colour_cell import draw_tote
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from malformed import cdr, drawn, image_file, json_text
from rclpy.serialization import serialize_message
from ros_programs import Programs
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2D, Detection2DArray, LabelInfo

from robollm_core.images import encode_jpeg
from robollm_ros.inputs import LATCHED

pytestmark = [pytest.mark.ros, pytest.mark.slow]

COUNT = 150
STATUS = {"event_id": "E", "pick_id": "P", "phase": "pre_pick", "state": "done", "answer_ms": 1.5,
          "views_missing": ["tote"], "reason": "none"}  # fmt: skip
MANIFEST = {"container_id": "T", "version": 1, "products": [
    {"product_id": "apple", "reference_images": ["a.png"], "picked": 0}]}  # fmt: skip


class HostileCell:
    """Plays a perception node and its camera, both of which send what they should not."""

    def __init__(self, domain, compressed):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("perception", context=self.context)
        self.kind, self.topic = (
            (CompressedImage, "image/compressed") if compressed else (Image, "image")
        )
        # the view asks the graph what the perception node listens to
        self.node.create_subscription(self.kind, self.topic, lambda message: None, 1)
        make = self.node.create_publisher
        self.out = {
            "image": make(self.kind, self.topic, 20),
            "masks": make(Image, "~/masks", 20),
            "detections": make(Detection2DArray, "~/detections", 20),
            "defects": make(Detection2DArray, "~/defects", 20),
            "labels": make(LabelInfo, "~/label_info", LATCHED),
            "diagnostics": make(DiagnosticArray, "/diagnostics", 20),
            "manifest": make(String, "container/manifest", LATCHED),
            "status": make(String, "pick/status", 20),
            "identity": make(Detection2DArray, "pick/identity", 20),
            "verdict": make(Detection2DArray, "pick/defects", 20),
        }

    def picture(self, stamp, data=None):
        header = Header(stamp=Time(sec=stamp), frame_id="tote")
        image = draw_tote()
        if self.kind is CompressedImage:
            data = encode_jpeg(image) if data is None else data
            return CompressedImage(header=header, format="jpeg", data=array.array("B", data))
        data = array.array("B", image.tobytes())
        return Image(header=header, height=96, width=128, encoding="rgb8", step=384, data=data)

    def send(self, name, messages):
        for message in messages:
            self.out[name].publish(message)
            time.sleep(0.001)

    def close(self):
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


class Watcher:
    """A browser that remembers the newest of each subject."""

    def __init__(self, url):
        self.url, self.seen, self.frames, self._done = url, {}, 0, threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._look(),))
        self._thread.start()

    async def _look(self):
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self.url}live", max_msg_size=0) as stream,
        ):
            while not self._done.is_set():
                try:
                    message = await stream.receive(timeout=0.1)
                except asyncio.TimeoutError:
                    continue
                if message.type is aiohttp.WSMsgType.BINARY:
                    self.frames += 1
                elif message.type is aiohttp.WSMsgType.TEXT:
                    told = json.loads(message.data)
                    self.seen[told["key"]] = told["value"]
                else:
                    return
                await stream.send_str("ok")

    def close(self):
        self._done.set()
        self._thread.join()


@pytest.fixture(params=[False, True], ids=["raw", "compressed"])
def scene(request, domain):
    programs, cell = Programs(domain), HostileCell(domain, request.param)
    view = programs.start("-m", "robollm_ros.view_node", "--port", "0")
    view.wait_for("ready: ")
    watcher = Watcher(next(line for line in view.lines if line.startswith("ready: "))[7:])
    until(lambda: all(one.get_subscription_count() >= 1 for one in cell.out.values()), view)
    until(lambda: cell.out["image"].get_subscription_count() >= 2, view)  # its own is one
    yield view, cell, watcher
    watcher.close()
    cell.close()
    programs.kill()


def until(done, view, every=lambda: None):
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end, view.errors[-5:]
        every()
        time.sleep(0.05)


def detections():
    header = Header(stamp=Time(sec=3), frame_id="tote")
    return Detection2DArray(header=header, detections=[Detection2D(header=header, id="tote/3/0")])


def test_the_view_outlives_whatever_it_hears(scene):
    view, cell, watcher = scene
    goods = {
        "image": cell.picture(3), "masks": Image(encoding="mono8", height=2, width=2, step=2),
        "detections": detections(), "defects": detections(), "labels": LabelInfo(),
        "diagnostics": DiagnosticArray(status=[DiagnosticStatus(name="/perception: latency")]),
        "manifest": String(data=json.dumps(MANIFEST)), "status": String(data=json.dumps(STATUS)),
        "identity": detections(), "verdict": detections(),
    }  # fmt: skip
    for number, (name, good) in enumerate(goods.items()):
        cell.send(name, drawn(cdr(serialize_message(good)), COUNT, number))
    cell.send("status", [String(data=t) for t in drawn(json_text(STATUS), COUNT, 20)])
    cell.send("manifest", [String(data=t) for t in drawn(json_text(MANIFEST), COUNT, 21)])
    if cell.kind is CompressedImage:
        files = drawn(image_file(encode_jpeg(draw_tote())), COUNT, 22)
        cell.send("image", [cell.picture(5, data) for data in files])

    fine = DiagnosticStatus(name="/perception: lifecycle", message="active", level=b"\0")
    stamps = iter(range(10_000, 100_000))

    def send_good():
        cell.out["diagnostics"].publish(DiagnosticArray(status=[fine]))
        cell.out["image"].publish(cell.picture(next(stamps)))
        cell.out["manifest"].publish(String(data=json.dumps({**MANIFEST, "container_id": "T-9"})))
        cell.out["status"].publish(String(data=json.dumps({**STATUS, "event_id": "last"})))

    def well():
        seen = watcher.seen
        return (
            seen.get("cell", {}).get("state") == "active"
            and seen.get("manifest", {}).get("container") == "T-9"
            and any(pick["event_id"] == "last" for pick in seen.get("picks", ()))
        )

    until(well, view, send_good)
    shown = watcher.frames
    until(lambda: watcher.frames > shown, view, send_good)
    assert view.end(signal.SIGINT) == 0
    assert "Traceback" not in "\n".join(view.errors)
