# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A live node over a gallery file: reloaded without a missed frame, and widened where asked."""

import json
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("onnx")
from colour_cell import COLOURS, draw_tote
from small_gallery import Cell as Store
from std_srvs.srv import Trigger

pytestmark = pytest.mark.ros


@pytest.fixture
def store(stand_ins, tmp_path):
    """The gallery file of the node's own network."""
    return Store(stand_ins["identification.artifact"], tmp_path)


def names(answer):
    return [found.results[0].hypothesis.class_id for found in answer.detections]


def told(products, **more):
    return {"container_id": "T-1", "version": 1, "products": products, **more}


def test_a_reload_misses_no_frame_and_takes_what_was_put_in(make_cell, store, tmp_path):
    store.store(("apple", "lime"))
    cell = make_cell(
        identification__reference_root=str(tmp_path),
        identification__gallery=str(store.file.path),
    )
    cell.start()
    cell.tell(told([{"product_id": name} for name in COLOURS]))
    status = cell.status("gallery", lambda s: s.level == b"\x01")
    assert "plum" in json.dumps([pair.value for pair in status.values])
    store.store(("plum",))
    stop, shown = threading.Event(), []

    def film():
        while not stop.is_set():
            shown.append(len(shown) + 1)
            cell.show(draw_tote(), stamp=(5, shown[-1]))
            time.sleep(0.1)

    camera = threading.Thread(target=film)
    camera.start()
    try:
        for edition in range(1, 4):
            answer = cell.call(Trigger, "perception/reload_gallery", Trigger.Request())
            assert answer.success, answer.message
            assert json.loads(answer.message)["version"] == edition
    finally:
        time.sleep(0.2)
        stop.set()
        camera.join()
    cell.answers("detections", len(shown))
    stamps = [message.header.stamp.nanosec for message in cell.heard["detections"]]
    assert stamps == shown
    assert names(cell.heard["detections"][-1]) == list(COLOURS)
    counts = cell.counts()
    assert counts["received"] == counts["processed"] == len(shown)


def test_the_whole_gallery_is_asked_of_an_incomplete_manifest(make_cell, store, tmp_path):
    store.store()
    cell = make_cell(
        identification__reference_root=str(tmp_path),
        identification__gallery=str(store.file.path),
        identification__fallback="gallery",
    )
    cell.start()
    cell.tell(told([], complete=False))
    cell.status("manifest", lambda s: s.level == b"\x00")
    cell.show(draw_tote())
    (answer,) = cell.answers("detections", 1)
    assert names(answer) == list(COLOURS)


def test_a_gallery_file_that_is_missing_stops_configure(make_cell, logged, tmp_path):
    cell = make_cell(identification__gallery=str(tmp_path / "none.sqlite"))
    assert not cell.transition("configure")
    assert any("no gallery file" in text and "robollm gallery build" in text for _, text in logged)
