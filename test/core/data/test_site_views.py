# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Picks whose recorded images are whole views: what is left out, and what is said of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import small_sets

from robollm_core.data import rostypes, site_views
from robollm_core.data.armbench_bag import IMAGES, TOPICS, PickBagOrder, write_pick_bag
from robollm_core.data.armbench_identification import ALL_VIEWS, read_identification
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import BagWriter
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.site import SiteOrder, write_site
from robollm_core.data.site_labels import Moment
from robollm_core.data.site_views import View, read_views, viewed_picks

EVENTS = "/cell/pick/event"


@pytest.fixture
def source(tmp_path):
    return small_sets.write_picks(tmp_path / "armbench")


def rewrite(tmp_path, source, change):
    """The bag of the test picks with every message as `change(topic, message)` has it."""
    write_pick_bag(PickBagOrder(source), tmp_path / "whole.mcap", BrokenFiles())
    kinds = {topic.name: topic.msgtype for topic in TOPICS}
    with BagWriter(tmp_path / "x.mcap", TOPICS) as bag:
        for topic, log_ns, message in read_topics(tmp_path / "whole.mcap", kinds):
            for each in change(topic, message):
                bag.write(topic, log_ns, each)
    return tmp_path / "x.mcap"


def in_events(change):
    """Change the JSON of pick events with `change(tree)`, which says what takes its place."""

    def apply(topic, message):
        if topic != EVENTS:
            return [message]
        trees = change(json.loads(message.data))
        return [rostypes.make(rostypes.STRING, data=json.dumps(tree)) for tree in trees]

    return apply


def site(tmp_path, bag, source, **more):
    order = SiteOrder((bag,), references=source, val_share=0.0, test_share=1.0, **more)
    summary = write_site(order, tmp_path / "site")
    picks = read_identification(tmp_path / "site/picks", "test", views=ALL_VIEWS).picks
    return {pick.pick_id: pick for pick in picks}, {
        reason: each["count"] for reason, each in summary["left_out"].items()
    }


def test_a_lost_image_leaves_the_pick_with_its_other_views(tmp_path, source):
    lost = IMAGES["ToteWallRGB"].name
    seen = []

    def change(topic, message):
        seen.append(topic)
        return [] if topic == lost and seen.count(lost) == 3 else [message]

    picks, left_out = site(tmp_path, rewrite(tmp_path, source, change), source)
    assert len(picks) == 12
    assert left_out == {"view of a pick that is not in the bag": 1}
    lacking = [name for name, pick in picks.items() if "ToteWallRGB" not in pick.views]
    assert lacking == ["test-13-0"]


def test_a_broken_view_is_left_out_and_a_broken_first_one_takes_the_pick_along(tmp_path, source):
    seen = []

    def change(topic, message):
        seen.append(topic)
        if topic in (IMAGES["PickRGB"].name, IMAGES["OnArmLowRGB"].name) and seen.count(topic) == 2:
            header, data = message.header, np.asarray(message.data)[:-300]
            return [rostypes.make(rostypes.COMPRESSED, header=header, format="jpeg", data=data)]
        return [message]

    picks, left_out = site(tmp_path, rewrite(tmp_path, source, change), source)
    assert "test-12-1" not in picks
    assert len(picks) == 11
    assert left_out == {"frame that cannot be decoded": 2}


def test_a_png_in_the_bag_becomes_the_jpeg_that_its_name_says(tmp_path, source):
    import cv2

    png = cv2.imencode(".png", np.full((100, 120, 3), 90, np.uint8))[1].reshape(-1)

    def change(topic, message):
        if topic != IMAGES["OnArmLowRGB"].name:
            return [message]
        return [rostypes.make(rostypes.COMPRESSED, header=message.header, format="png", data=png)]

    picks, left_out = site(tmp_path, rewrite(tmp_path, source, change), source)
    assert left_out == {}
    data = picks["test-12-0"].views["OnArmLowRGB"].path.read_bytes()
    assert data[:2] == b"\xff\xd8"


def test_a_cancelled_pick_gives_none(tmp_path, source):
    def change(tree):
        cancel = {"phase": "cancel", "pick_id": "test-14-0"}
        return [tree, cancel] if tree["pick_id"] == "test-14-0" else [tree]

    picks, left_out = site(tmp_path, rewrite(tmp_path, source, in_events(change)), source)
    assert "test-14-0" not in picks
    assert left_out["pick that was cancelled"] == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"item_id": "a/b"}, "pick with an id that cannot be the name of a folder"),
        ({"pick_id": ".."}, "pick with an id that cannot be the name of a folder"),
        ({"unreferenced": {"../x": {}}}, "pick with an id that cannot be the name of a folder"),
        ({"unreferenced": ["x"]}, "pick event whose views cannot be read"),
    ],
)
def test_what_an_event_says_is_not_trusted(tmp_path, source, changes, reason):
    def change(tree):
        return [{**tree, **changes} if tree["pick_id"] == "test-12-0" else tree]

    picks, left_out = site(tmp_path, rewrite(tmp_path, source, in_events(change)), source)
    assert left_out[reason] >= 1
    assert "test-12-1" in picks
    assert sorted(p.name for p in (tmp_path / "site").iterdir()) == ["picks", "summary.json"]
    assert not (tmp_path / "site" / "x").exists()


def test_corrected_labels_go_before_the_views(tmp_path, source):
    bag = rewrite(tmp_path, source, lambda _, message: [message])
    stamp = {"sec": 1_767_225_600, "nanosec": 0}
    frame = {"camera": "pick", "stamp": stamp, "complete": False,
             "instances": [{"item_id": "P13", "bbox": [10, 10, 60, 60]}]}  # fmt: skip
    (tmp_path / "l.json").write_text(
        json.dumps({"schema": "robollm.site_labels/1", "frames": [frame]})
    )
    picks, _ = site(tmp_path, bag, source, labels=tmp_path / "l.json")
    assert len(picks) == 12
    assert "test-12-0" not in picks
    assert picks["01-pick-1767225600000000000-00"].item_id == "P13"


def test_events_without_views_are_none_of_its_business():
    events = [json.dumps({"phase": "pre_pick", "pick_id": "a", "item_id": "b"}), "no json", "[]"]
    picks, wrong = viewed_picks(events, ())
    assert picks == {}
    assert len(wrong) == 2


def test_a_pick_whose_view_never_comes_does_not_wait_for_the_end(tmp_path, source, monkeypatch):
    bag = rewrite(tmp_path, source, lambda _, message: [message])
    events = [m.data for _, _, m in read_topics(bag, {EVENTS: rostypes.STRING})]
    picks, _ = viewed_picks(events, ())
    gone = View("/far", Moment("far", 0), {})
    never = [replace(p, views={**p.views, "FarTrayRGB": gone}) for p in picks.values()]
    read = []

    def counted(*given):
        for each in read_topics(*given):
            read.append(each)
            yield each

    monkeypatch.setattr(site_views, "read_topics", counted)
    monkeypatch.setattr(site_views, "_PENDING", 3)
    photos = read_views(bag, never)
    first, views = next(photos)
    assert first.pick_id == "test-12-0"
    assert set(views) == {"PickRGB", "OnArmLowRGB", "ToteWallRGB"}
    assert len(read) == 3 * 3 + 1  # three picks wait, the fourth begins
    assert [pick.pick_id for pick, _ in photos] == [pick.pick_id for pick in never[1:]]
