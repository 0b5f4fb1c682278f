# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The view as a program and as a ROS node: what it listens to, when, and how it ends."""

import asyncio
import json
import signal
import struct
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("aiohttp", reason="the view needs aiohttp: pip install '.[view]'")
pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")

import aiohttp
from colour_cell import draw_tote
from ros_programs import Programs

from robollm_core.images import decode_image
from robollm_ros.view_ears import camera_of

pytestmark = pytest.mark.ros
PICTURES = {"/image", "/perception/detections", "/perception/defects", "/perception/masks"}


@pytest.fixture
def programs(domain):
    running = Programs(domain)
    yield running
    running.kill()


def start_view(programs, *words):
    view = programs.start("-m", "robollm_ros.view_node", "--port", "0", *words)
    view.wait_for("ready: ")
    return view, next(line for line in view.lines if line.startswith("ready: "))[7:]


def heard_by_view(cell):
    try:
        listed = cell.probe.get_subscriber_names_and_types_by_node("view", "/")
    except Exception:  # noqa: BLE001 - rclpy's error for a node that is not there is untyped
        return set()
    return {topic for topic, _ in listed}


def unpacked(data):
    (length,) = struct.unpack(">I", data[:4])
    return json.loads(data[4 : 4 + length]), data[4 + length :]


async def watch(url, seen, enough):
    """Look as a browser does until `enough(seen)`; `seen` holds the newest value by key."""
    end = time.monotonic() + 30
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}live", max_msg_size=0) as stream,
    ):
        while not enough(seen):
            assert time.monotonic() < end, seen.keys()
            message = await stream.receive(timeout=30)
            if message.type is aiohttp.WSMsgType.BINARY:
                head, jpeg = unpacked(message.data)
                seen.setdefault("frames", []).append((head, jpeg))
            else:
                told = json.loads(message.data)
                seen[told["key"]] = told["value"]
            await stream.send_str("ok")


def test_pictures_are_asked_for_only_while_a_browser_looks(make_cell, programs):
    cell = make_cell(listen=())
    cell.start()
    view, url = start_view(programs)
    cell.wait(lambda: "/pick/status" in heard_by_view(cell), "the view in the graph")
    time.sleep(1.0)
    assert not heard_by_view(cell) & PICTURES

    seen = {}

    async def scene():
        def arrived(seen):
            # a frame that nobody heard is gone: send until one has come back answered
            cell.show(draw_tote(), stamp=(1000 + len(seen.get("frames", ())), 0))
            return any(head["answered"] for head, _ in seen.get("frames", ()))

        await watch(url, seen, arrived)

    asyncio.run(scene())
    head, jpeg = next(pair for pair in seen["frames"] if pair[0]["answered"])
    assert decode_image(jpeg, "the picture").shape == (96, 128, 3)
    assert (head["camera"], head["frame_id"], head["size"]) == ("camera", "tote", [128, 96])
    assert len(head["items"]) == 3
    assert head["items"][0]["box"] == [8, 8, 40, 40]
    assert all(item["outlines"] for item in head["items"])
    assert [item["name"] for item in head["items"]] == [""] * 3  # without a manifest
    cell.wait(lambda: not heard_by_view(cell) & PICTURES, "the view to leave the pictures")
    assert view.end(signal.SIGINT) == 0


def test_it_publishes_nothing_and_offers_no_service_of_its_own(make_cell, programs):
    cell = make_cell(listen=())
    start_view(programs)
    cell.wait(lambda: heard_by_view(cell), "the view in the graph")
    node = cell.probe
    cell.wait(
        lambda: len(node.get_service_names_and_types_by_node("view", "/")) >= 7, "its services"
    )
    told = {topic for topic, _ in node.get_publisher_names_and_types_by_node("view", "/")}
    assert told == {"/rosout", "/parameter_events"}
    assert node.get_client_names_and_types_by_node("view", "/") == []
    offered = {name for name, _ in node.get_service_names_and_types_by_node("view", "/")}
    assert all("parameter" in name or "type_description" in name for name in offered)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_with_a_browser_open(programs, number):
    view, url = start_view(programs)

    async def scene():
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}live") as stream,
        ):
            await stream.receive(timeout=30)
            view.ask(number)
            begun = time.monotonic()
            code = await asyncio.to_thread(view.end)
            return code, time.monotonic() - begun

    code, took = asyncio.run(scene())
    assert code == 0
    assert took < 3.0
    assert view.errors == []


def test_only_on_this_machine_unless_told_otherwise_and_then_it_says_so(programs):
    view, url = start_view(programs)
    assert url.startswith("http://127.0.0.1:")
    assert view.end(signal.SIGINT) == 0
    assert view.errors == []
    view, _ = start_view(programs, "--host", "0.0.0.0")
    assert view.end(signal.SIGINT) == 0
    (warning,) = view.errors
    assert warning.startswith("robollm: warning: the view listens on 0.0.0.0")


def test_a_port_in_use_and_a_rate_that_is_none_are_refused_in_one_line(programs):
    _, url = start_view(programs)
    port = url.rstrip("/").rpartition(":")[2]
    for words in (("--port", port), ("--rate", "0"), ("--port", "70000")):
        second = programs.start("-m", "robollm_ros.view_node", *words)
        assert second.end() == 2
        (line,) = second.errors
        assert line.startswith("robollm: ")


@pytest.mark.parametrize(
    ("topic", "namespace", "camera"),
    [
        ("/image", "/", "camera"),
        ("/image/compressed", "/", "camera"),
        ("/tote_top/image", "/", "tote_top"),
        ("/cell/tote_top/image/compressed", "/cell", "tote_top"),
        ("/cell/image", "/cell", "camera"),
        ("/driver/left/rgb", "/", "driver/left/rgb"),
        ("/other/image", "/cell", "other"),
    ],
)
def test_a_camera_is_named_after_its_topic(topic, namespace, camera):
    assert camera_of(topic, namespace) == camera
