# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The player knows who listens, who is active, what was answered, and what time it is."""

import argparse
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from builtin_interfaces.msg import Time
from colour_cell import draw_tote, image_message
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray, VisionInfo

from robollm_core.data import rostypes
from robollm_ros.playback import Player, header_of
from robollm_ros.qos import ANSWERS, LATCHED

pytestmark = pytest.mark.ros

TOPIC = "/cam/image"
IMAGES = {TOPIC: "sensor_msgs/msg/Image"}
STOP = threading.Event()


def options(**changes):
    usual = {"lockstep": False, "answers": "", "node": "perception", "listeners": 0, "rate": 1.0,
             "any_listener": False, "clock": False}  # fmt: skip
    return argparse.Namespace(**(usual | changes))


def serialised(stamp, frame_id="tote_camera"):
    message = image_message(draw_tote(), stamp, raw=True)
    message.header.frame_id = frame_id
    return bytes(rostypes.typestore().serialize_cdr(message, rostypes.IMAGE))


@pytest.fixture
def ros(domain):
    """A context, and other nodes that spin in a thread of their own."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    rclpy.init(domain_id=domain)
    executor, made = SingleThreadedExecutor(context=context), []
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()

    def make(name):
        made.append(rclpy.create_node(name, context=context))
        executor.add_node(made[-1])
        return made[-1]

    yield make
    executor.shutdown()
    rclpy.shutdown(context=context)
    thread.join(10)
    rclpy.try_shutdown()


@pytest.fixture
def make_player():
    made = []

    def make(cameras=IMAGES, others=None, **changes):
        made.append(Player(cameras, others or {}, options(**changes)))
        return made[-1]

    yield make
    for player in made:
        player.destroy_node()


def with_state(node, state):
    def answer(request, response):
        response.current_state.id = state[0]
        return response

    node.create_service(GetState, f"{node.get_name()}/get_state", answer)


def heard(player, seconds=10.0):
    return player.wait(STOP, seconds, lambda: not player.unheard())


def test_a_node_that_listens_but_is_not_active_is_waited_for(ros, make_player):
    node, state = ros("perception"), [2]
    with_state(node, state)
    node.create_subscription(Image, "image", lambda message: None, 5)
    player = make_player()
    assert not heard(player, 2.0)
    assert player.unheard() == "/perception"
    state[0] = 3
    assert heard(player)


def test_another_listener_is_not_taken_for_the_node(ros, make_player):
    ros("viewer").create_subscription(Image, "image", lambda message: None, 5)
    with_state(ros("perception"), [3])
    player = make_player()
    assert not heard(player, 2.0)
    assert player.unheard() == "/image"
    assert heard(make_player(any_listener=True))


def test_every_camera_needs_its_own_listener(ros, make_player):
    node = ros("perception")
    with_state(node, [3])
    node.create_subscription(Image, "a/image", lambda message: None, 5)
    player = make_player({"/x/a/image": "sensor_msgs/msg/Image",
                          "/x/b/image": "sensor_msgs/msg/Image"})  # fmt: skip
    assert not heard(player, 2.0)
    assert player.unheard() == "/b/image"
    node.create_subscription(Image, "b/image", lambda message: None, 5)
    assert heard(player)


def test_an_answer_belongs_to_its_camera_and_not_to_its_stamp_alone(ros, make_player):
    node = ros("perception")
    with_state(node, [3])
    node.create_subscription(Image, "image", lambda message: None, 5)
    said = node.create_publisher(Detection2DArray, "perception/detections", ANSWERS)
    edition = node.create_publisher(VisionInfo, "perception/vision_info", LATCHED)
    edition.publish(VisionInfo(database_version=4))
    player = make_player(lockstep=True)
    assert heard(player)

    def answer(frame_id):
        header = Header(stamp=Time(sec=1), frame_id=frame_id)
        said.publish(Detection2DArray(header=header))

    player.play(TOPIC, serialised(10**9, "left"))
    answer("right")
    assert not player.wait(STOP, 1.0, player.answered_newest)
    answer("left")
    assert player.wait(STOP, 10.0, player.answered_newest)
    player.end_round()
    # the next round sends the same stamp: an old answer does not count
    player.play(TOPIC, serialised(10**9, "left"))
    assert not player.answered_newest()
    player.give_up()
    player.end_round()
    assert (player.played.answers, player.played.unanswered) == (1, [10**9])


def test_in_lockstep_a_manifest_is_waited_for_until_it_is_in_force(ros, make_player):
    node = ros("perception")
    with_state(node, [3])
    node.create_subscription(Image, "image", lambda message: None, 5)
    edition = node.create_publisher(VisionInfo, "perception/vision_info", LATCHED)
    edition.publish(VisionInfo(database_version=7))
    node.create_subscription(
        String, "container/manifest",
        lambda message: edition.publish(VisionInfo(database_version=8)), LATCHED,
    )  # fmt: skip
    player = make_player(others={"/m": "manifest"}, lockstep=True)
    assert heard(player)
    in_force = player.awaited_edition()
    assert not in_force()
    player.play("/m", serialize_message(String(data="{}")))
    assert player.wait(STOP, 10.0, in_force)
    assert player.played.manifests == 1


def test_the_clock_of_the_bag_runs_between_messages_and_stops_at_the_next(ros, make_player):
    times = []
    ros("listener").create_subscription(
        Clock, "/clock", lambda m: times.append(m.clock.sec * 10**9 + m.clock.nanosec), 100
    )
    player = make_player(clock=True, rate=2.0, any_listener=True)
    assert player.wait(STOP, 10.0, lambda: player.count_subscribers("/clock") > 0)
    time.sleep(0.3)
    player.clock.message(5 * 10**9)
    player.clock.run_until(5 * 10**9 + 10**9)
    player.wait(STOP, 0.8, lambda: False)
    seen = [each for each in times if each >= 5 * 10**9]
    assert len(seen) > 20
    assert seen == sorted(seen)
    # twice the recorded pace: a second of the bag passes in half a second, and no more than that
    assert seen[-1] == 6 * 10**9
    player.clock.message(10**9)
    assert player.wait(STOP, 5.0, lambda: times[-1] == 10**9)


@pytest.mark.parametrize("frame_id", ["", "tote_camera", "ümlaut"])
def test_the_header_is_read_in_place(frame_id):
    assert header_of(serialised(1_700_000_000_123_456_789, frame_id)) == (
        frame_id, 1_700_000_000_123_456_789,
    )  # fmt: skip


def test_bytes_that_hold_no_header_are_refused():
    with pytest.raises(ValueError, match="without a whole header"):
        header_of(b"\x00\x01\x00\x00\x01")


def test_a_wait_ends_when_it_should_and_not_a_tick_later(ros, make_player):
    player, spent = make_player(any_listener=True), []
    for _ in range(10):
        begun = time.monotonic()
        assert not player.wait(STOP, 0.03, lambda: False)
        spent.append(time.monotonic() - begun)
    # the best of ten: a camera of 30 Hz is played at 30 Hz
    assert 0.03 <= min(spent) < 0.045
