# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Transitions in every order, legal and not: the state is the one of the model, nothing leaks."""

import itertools
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import colour_cell
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState

from robollm_core.errors import ConfigError

pytestmark = pytest.mark.ros
draw_tote = colour_cell.draw_tote

LEGAL = {
    ("unconfigured", "configure"): "inactive",
    ("inactive", "activate"): "active",
    ("active", "deactivate"): "inactive",
    ("inactive", "cleanup"): "unconfigured",
    ("unconfigured", "unconfigured_shutdown"): "finalized",
    ("inactive", "inactive_shutdown"): "finalized",
    ("active", "active_shutdown"): "finalized",
}
EVERYDAY = ("configure", "activate", "deactivate", "cleanup")
SHUTDOWNS = ("unconfigured_shutdown", "inactive_shutdown", "active_shutdown")
WAYS = {  # how to reach each state from a new node
    "unconfigured": (),
    "inactive": ("configure",),
    "active": ("configure", "activate"),
    "finalized": ("unconfigured_shutdown",),
}
OWN = ("perceive", "paint", "prefetch", "service")


class Walker:
    """A node and a client that asks for transitions; knows what the state should be."""

    def __init__(self, cell):
        self.cell, self.state = cell, "unconfigured"
        self._change = cell.probe.create_client(ChangeState, "perception/change_state")
        self._get = cell.probe.create_client(GetState, "perception/get_state")
        assert self._change.wait_for_service(10)
        assert self._get.wait_for_service(10)

    def _call(self, client, request):
        future = client.call_async(request)
        self.cell.wait(future.done, "an answer")
        return future.result()

    def go(self, name, by_label=False):
        goal = LEGAL.get((self.state, name))
        number = getattr(Transition, f"TRANSITION_{name.upper()}")
        label = name.rpartition("_")[2] if by_label else ""
        transition = Transition(id=0 if by_label else number, label=label)
        success = self._call(self._change, ChangeState.Request(transition=transition)).success
        assert success == (goal is not None), f"{name} from {self.state}"
        self.state = goal or self.state
        assert self._call(self._get, GetState.Request()).current_state.label == self.state

    def home(self):
        """Back to unconfigured."""
        for name in {"active": ("deactivate", "cleanup"), "inactive": ("cleanup",)}.get(
            self.state, ()
        ):
            self.go(name)


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith(OWN)]


@pytest.mark.slow
def test_every_sequence_of_three_transitions_ends_where_the_model_says(make_cell):
    walker = Walker(make_cell())
    for sequence in itertools.product(EVERYDAY, repeat=3):
        for name in sequence:
            walker.go(name)
        listening = walker.cell.images.get_subscription_count() > 0
        assert listening == (walker.state == "active") or walker.state == "inactive"
        walker.home()
    assert threads() == []
    # and after all that it works
    walker.go("configure")
    walker.go("activate")
    walker.cell.wait(walker.cell.images.get_subscription_count, "a subscription")
    walker.cell.show(draw_tote())
    walker.cell.answers("detections", 1)


@pytest.mark.parametrize("state", WAYS)
@pytest.mark.parametrize("name", [*EVERYDAY, *SHUTDOWNS])
def test_every_transition_from_every_state_is_done_or_refused(make_cell, logged, state, name):
    walker = Walker(make_cell())
    for step in WAYS[state]:
        walker.go(step)
    walker.go(name)
    refused = [text for severity, text in logged if severity == "WARN" and "is refused" in text]
    assert len(refused) == ((state, name) not in LEGAL)
    walker.cell.status("lifecycle", lambda s: walker.state in s.message)


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_shutdown_by_its_label_works_from_every_state(make_cell, state):
    walker = Walker(make_cell())
    for step in WAYS[state]:
        walker.go(step)
    walker.go(f"{state}_shutdown", by_label=True)
    assert threads() == []


@pytest.mark.parametrize("number", [0, 9, 10, 11, 60, 97, 98, 99, 255])
def test_numbers_that_are_no_transition_are_refused(make_cell, number):
    walker = Walker(make_cell())
    request = ChangeState.Request(transition=Transition(id=number))
    assert not walker._call(walker._change, request).success
    walker.go("configure")


def test_a_transition_that_fails_leaves_the_state_and_can_be_tried_again(make_cell, monkeypatch):
    from robollm_ros import perception_node

    def fail(config):
        raise ConfigError("not today.")

    walker = Walker(make_cell())
    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(perception_node, "build_stages", fail)
            change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
            assert not walker._call(walker._change, change).success
    assert threads() == []
    walker.go("configure")
    walker.go("activate")


@pytest.mark.slow
def test_many_rounds_leave_no_thread_publisher_or_service_behind(make_cell):
    walker = Walker(make_cell())

    def things():
        node = walker.cell.node
        return [len(list(each)) for each in (node.publishers, node.subscriptions, node.services,
                                             node.timers, node.guards, node.waitables)]  # fmt: skip

    walker.go("configure")
    walker.home()
    before = things()
    for _ in range(10):
        for name in ("configure", "activate", "deactivate", "activate"):
            walker.go(name)
        walker.home()
    assert things() == before
    assert threads() == []


def test_an_activation_that_fails_leaves_nothing_behind(make_cell, monkeypatch):
    from robollm_ros import configured

    def fail(*_, **__):
        raise ConfigError("not today.")

    walker = Walker(make_cell())
    walker.go("configure")
    before = threads()
    with monkeypatch.context() as patched:
        patched.setattr(configured, "Inputs", fail)
        change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
        assert not walker._call(walker._change, change).success
    assert threads() == before
    assert walker.cell.images.get_subscription_count() == 0
    walker.go("activate")
    walker.cell.wait(walker.cell.images.get_subscription_count, "a subscription")
    walker.cell.show(draw_tote())
    walker.cell.answers("detections", 1)


def hang(cell):
    """Let the networks of an active cell hang on the next frame; returns what frees them."""
    entered, proceed = threading.Event(), threading.Event()

    def hook(frame):
        entered.set()
        proceed.wait(60)
        return ()

    cell.node.cell.worker.stages.segmentation.segment = hook
    cell.show(draw_tote())
    assert entered.wait(30)
    return proceed


def test_a_network_that_hangs_is_given_up_and_a_new_start_needs_new_networks(make_cell):
    cell = make_cell(health__hang_s=0.5, health__on_fatal="deactivate")
    cell.start()
    proceed = hang(cell)
    try:
        assert cell.status("lifecycle", lambda s: s.message.startswith("inactive"))
        assert "hang" in cell.status("model", lambda s: s.level == b"\x02").message
        assert cell.counts()["failed"] == 1
        assert not cell.transition("activate")
        assert cell.transition("cleanup")
        assert cell.transition("configure")
        assert cell.transition("activate")
        cell.wait(cell.images.get_subscription_count, "a subscription")
        cell.show(draw_tote(), stamp=(9, 0))
        assert cell.answers("detections", 1)[0].header.stamp.sec == 9
    finally:
        proceed.set()


def test_deactivate_does_not_wait_longer_than_a_network_may_take(make_cell):
    cell = make_cell(health__hang_s=0.5, health__on_fatal="continue")
    cell.start()
    proceed = hang(cell)
    try:
        begun = time.monotonic()
        assert cell.transition("deactivate")
        assert time.monotonic() - begun < 5.0
    finally:
        proceed.set()


@pytest.mark.parametrize("action", ["deactivate", "exit", "continue"])
def test_networks_that_fail_in_a_row_stop_the_node_as_configured(make_cell, action):
    cell = make_cell(health__error_after=3, health__on_fatal=action)
    cell.start()

    def fail(frame):
        raise RuntimeError("the device is lost")

    cell.node.cell.worker.stages.segmentation.segment = fail
    for second in (1, 2, 3):
        cell.show(draw_tote(), stamp=(second, 0))
        assert not cell.answers("detections", second)[-1].detections
    expected = "active" if action == "continue" else "inactive"
    assert "3 times in a row" in cell.status("model", lambda s: "in a row" in s.message).message
    cell.status("lifecycle", lambda s: s.message.startswith(expected))
    assert cell.node.exit_code == (70 if action == "exit" else 0)
