# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Hard requests: manifests, disks, transitions and parameters that a sound cell never sends."""

import itertools
import json
import os
import random
import resource
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")

from broken_cell import (
    IMAGE,
    SECOND,
    BrokenCell,
    build_gallery,
    event,
    intact,
    manifest,
    named_of,
)
from outside_probe import values
from std_srvs.srv import Trigger

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ITEMS = ["apple", "lime", "plum"]


@pytest.fixture
def broken(domain, cell, tmp_path):
    made = BrokenCell(domain, cell[1], tmp_path)
    yield made
    made.close()


def test_a_manifest_of_100_000_items_stops_neither_frames_nor_diagnostics(broken):
    node = broken.start()
    broken.named()
    products = manifest(ITEMS)["products"]
    # nothing is known of the others: they are candidates that cannot be matched
    products += [{"product_id": f"SKU-{n:06}", "quantity": 3} for n in range(100_000)]
    huge = {"container_id": "T-huge", "version": 1, "products": products}
    text = json.dumps(huge)
    broken.answered_as(ITEMS)
    broken.probe.tell(text)
    longest, begun, container = 0.0, time.monotonic(), ""
    while container != "T-huge":
        before = time.monotonic()
        assert named_of(broken.answered()) == ITEMS
        longest = max(longest, time.monotonic() - before)
        assert time.monotonic() - begun < 60, "the manifest never came into force"
        told = json.loads(broken.probe.heard["perception/timing"][-1].data)
        container = told["manifest"][0]
    # the interpreter's lock is shared while the text is read, so a frame may wait a while
    assert longest < 3.0
    broken.named(container_id="T-after", version=1)
    assert named_of(broken.answered()) == ITEMS
    assert node.end(signal.SIGINT, timeout=10) == 0


def test_a_pick_is_judged_by_the_manifest_its_event_names(broken):
    broken.start()
    broken.named("apple", version=1)
    broken.answered()
    broken.probe.meet(broken.probe.events)
    # the view comes only after the manifest has changed
    broken.probe.ask(event("old", match="next", deadline_ms=20_000, container_id="T-1",
                           manifest_version=1))  # fmt: skip
    broken.probe.wait(
        lambda: any("old" in m.data for m in broken.probe.heard["pick/status"]), "the receipt"
    )
    broken.named("lime", version=2)
    broken.answered()
    broken.probe.wait(lambda: broken.probe.answers("old") == (1, 1, 1), "the answer")
    (final,) = broken.probe.finals("old")
    assert final["state"] == "done"
    assert "1" in json.dumps(final["manifest"])
    (identity,) = [m for m in broken.probe.heard["pick/identity"] if m.header.frame_id == "old"]
    said = {r.hypothesis.class_id for r in identity.detections[0].results}
    assert "lime" not in said
    assert "apple" in said


def test_a_full_disk_takes_the_gallery_but_not_the_answers(broken):
    gallery = build_gallery(broken)
    node = broken.start(identification__gallery=str(gallery))
    size = gallery.stat().st_size
    # from now on no file of the node may grow: as on a full disk
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (size, size))
    broken.named()
    assert named_of(broken.answered()) == ITEMS
    assert broken.picked("on a full disk")["state"] == "done"
    assert intact(gallery)[0]
    assert node.end(signal.SIGINT, timeout=10) == 0
    assert not [line for line in node.errors if "Traceback" in line]


def test_a_debug_frame_that_no_disk_takes_is_refused_with_the_reason(broken):
    node = broken.start()
    broken.named()
    broken.answered()
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (0, 0))
    answer = broken.probe.call(Trigger, "perception/save_debug_frame", Trigger.Request())
    assert not answer.success
    assert "cannot write" in answer.message
    assert named_of(broken.answered()) == ITEMS


def test_a_home_that_cannot_be_written_is_no_reason_to_stop(broken, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    place = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    if os.access(home / "x", os.W_OK) or _can_write(home):
        # the superuser may write anywhere: a file in place of the folder stops him as well
        home.chmod(0o700)
        home.rmdir()
        home.write_text("no folder")
    place |= {"ROBOLLM_CACHE": str(home / "cache"), "ROS_LOG_DIR": str(home / "log")}
    node = broken.start(environment=place)
    broken.named()
    assert named_of(broken.answered()) == ITEMS
    assert node.end(signal.SIGINT, timeout=10) == 0


def _can_write(folder):
    done = subprocess.run(["touch", str(folder / "probe")], capture_output=True)
    (folder / "probe").unlink(missing_ok=True)
    return done.returncode == 0


NEXT = {
    # state: transition: state after it
    "unconfigured": {"configure": "inactive"},
    "inactive": {"activate": "active", "cleanup": "unconfigured"},
    "active": {"deactivate": "inactive"},
}
REQUESTS = ("configure", "activate", "deactivate", "cleanup")


def test_transitions_in_every_order_do_what_the_state_allows_and_nothing_else(broken):
    node = broken.start(autostart=False)
    state = "unconfigured"
    # every pair of requests from every state lies on this walk
    orders = list(itertools.product(REQUESTS, repeat=3))
    random.Random(0).shuffle(orders)
    for request in itertools.chain.from_iterable(orders):
        expected = NEXT[state].get(request)
        assert broken.probe.transition(request) is (expected is not None), (state, request)
        state = expected or state
        assert broken.probe.state() == state
    if state == "unconfigured":
        assert broken.probe.transition("configure")
        state = "inactive"
    if state == "inactive":
        assert broken.probe.transition("activate")
    broken.probe.meet()
    broken.named()
    assert named_of(broken.answered()) == ITEMS
    assert broken.probe.transition("active_shutdown")
    assert broken.probe.state() == "finalized"
    assert not broken.probe.transition("configure")
    assert node.end(signal.SIGINT, timeout=10) == 0
    assert not [line for line in node.errors if "Traceback" in line]


@contextmanager
def shown(broken):
    """A camera in a thread, 20 frames a second; gives the stamps sent so far."""
    stop, sent = threading.Event(), []

    def show():
        while not stop.is_set():
            sent.append(7000 * SECOND + 50_000_000 * len(sent))
            broken.probe.show(IMAGE, sent[-1])
            time.sleep(0.05)

    camera = threading.Thread(target=show)
    camera.start()
    try:
        yield sent
    finally:
        stop.set()
        camera.join()


def allowed(rng):
    return rng.choice([
        ("segmentation__score_threshold", rng.random() * 0.6),
        ("defects__threshold", rng.random()),
        ("identification__top_k", rng.randint(1, 5)),
        ("health__budget_ms", 10.0 ** rng.randint(0, 4)),
        ("segmentation__max_instances", rng.randint(1, 254)),
    ])  # fmt: skip


def forbidden(rng):
    return rng.choice([
        ("segmentation__score_threshold", 7.0), ("segmentation__score_threshold", "x"),
        ("identification__top_k", 0), ("runtime__name", "torch"), ("no__such", 1),
    ])  # fmt: skip


def test_a_storm_of_parameters_loses_no_frame_and_ends_as_the_last_one_said(broken):
    node, rng = broken.start(), random.Random(0)
    broken.named()
    broken.answered()
    with shown(broken) as sent:
        for _ in range(300):
            name, value = allowed(rng)
            (result,) = broken.probe.set_parameters(**{name: value})
            assert result.successful, (name, value, result.reason)
            name, value = forbidden(rng)
            (result,) = broken.probe.set_parameters(**{name: value})
            assert not result.successful, (name, value)
            assert result.reason
    last = {"segmentation__score_threshold": 0.75, "segmentation__max_instances": 60}
    assert all(result.successful for result in broken.probe.set_parameters(**last))
    # the networks of the stand-in cell give 0.9, 0.8 and 0.7
    broken.answered_as(ITEMS[:2])
    told = values(broken.probe.status("input/camera", lambda status: True))
    assert int(told["decode_errors"]) == 0
    assert int(told["received"]) > 0.95 * len(sent)
    assert node.end(signal.SIGINT, timeout=10) == 0
    assert not [line for line in node.errors if "Traceback" in line]
