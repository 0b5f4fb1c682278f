# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pick events are read whole or refused with the path of the field."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.errors import PickError
from robollm_core.picks.event import (
    MAX_BYTES,
    TOLERANCE_MS,
    PickView,
    names_in,
    parse_pick_event,
)

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = ROOT / "config/schema/pick_event.schema.json"
STAMP = {"sec": 1, "nanosec": 2}
VIEW = {"camera": "tote_top", "stamp": STAMP, "role": "pick", "match": "exact"}


def text(**changes):
    tree = {"event_id": "e-1", "pick_id": "P-1", "phase": "pre_pick", "views": [VIEW], **changes}
    return json.dumps({name: value for name, value in tree.items() if value is not None})


def view(**changes):
    return {name: value for name, value in {**VIEW, **changes}.items() if value is not None}


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_every_field_of_the_contract_is_read():
    got = parse_pick_event(
        text(
            schema="robollm.pick_event/1", container_id="T-1", manifest_version=7, min_views=1,
            deadline_ms=800, selection={"detection_id": "tote_top/1700000000/3"},
            roi={"x": 1, "y": 2, "w": 3, "h": 4},
            views=[
                VIEW,
                {"camera": "tote_wall", "role": "post", "match": "next"},
                {"camera": "on_arm", "role": "post", "match": "nearest", "tol_ms": 30,
                 "roi": {"x": 5, "y": 6, "w": 7, "h": 8}},
            ],
        ),
        "x",
    )  # fmt: skip
    assert (got.event_id, got.pick_id, got.phase) == ("e-1", "P-1", "pre_pick")
    assert (got.container_id, got.manifest_version) == ("T-1", 7)
    assert (got.min_views, got.deadline_ms) == (1, 800.0)
    assert got.detection_id == "tote_top/1700000000/3"
    assert got.roi_xyxy_px == (1, 2, 4, 6)
    assert got.views == (
        PickView("tote_top", "exact", 1_000_000_002, "pick", TOLERANCE_MS),
        PickView("tote_wall", "next", None, "post", TOLERANCE_MS),
        PickView("on_arm", "nearest", None, "post", 30.0, (5, 6, 12, 14)),
    )


def test_what_is_not_said_stays_open():
    got = parse_pick_event(text(views=[{"camera": "c"}, {"camera": "d", "stamp": STAMP}]), "x")
    assert (got.container_id, got.manifest_version, got.min_views) == ("", None, None)
    assert (got.deadline_ms, got.detection_id, got.roi_xyxy_px) == (None, "", None)
    assert [(view.match, view.stamp_ns) for view in got.views] == [
        ("latest", None),
        ("exact", 1_000_000_002),
    ]


def test_a_region_without_size_is_none():
    assert parse_pick_event(text(roi={"x": 0, "y": 0, "w": 0, "h": 0}), "x").roi_xyxy_px is None


def test_a_cancel_needs_no_views():
    assert parse_pick_event(text(phase="cancel", views=None), "x").views == ()


def test_labels_of_recordings_are_taken_and_play_no_part():
    labelled = text(
        item_id="B0A", references=["a"], unreferenced={},
        views=[view(view="PickRGB", topic="/cell/tote/image", outline={"box": [0, 0, 1, 1]})],
    )  # fmt: skip
    assert parse_pick_event(labelled, "x").views == parse_pick_event(text(), "x").views


@pytest.mark.parametrize(
    "source, told",
    [
        ("", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff{}", "not JSON"),
        ("9" * 5000, "not JSON"),
        ("[]", r"\$: \[\] is not of type 'object'"),
        ('{"event_id": "a", "event_id": "b"}', "'event_id' is twice"),
        ('{"deadline_ms": NaN}', "NaN is not a JSON number"),
        (text(deadline_ms=5).replace("5}", "1e999}"), r"\$\.deadline_ms: inf"),
        (text(event_id=None), "'event_id' is a required property"),
        (text(event_id=""), r"\$\.event_id"),
        (text(event_id="a\nb"), r"\$\.event_id"),
        (text(event_id="\ud800"), r"\$\.event_id: '\\ud800'"),
        (text(pick_id=7), r"\$\.pick_id: 7 is not of type 'string'"),
        (text(phase="post"), r"\$\.phase"),
        (text(views=None), "'views' is a required property"),
        (text(views=[]), r"\$\.views"),
        (text(views=[VIEW] * 17), r"\$\.views"),
        (text(views=[{}]), r"\$\.views\[0\]: 'camera' is a required"),
        (text(views=[view(match="newest")]), r"\$\.views\[0\]\.match"),
        (text(views=[view(role="held")]), r"\$\.views\[0\]\.role"),
        (text(views=[view(stamp=None)]), r"\$\.views\[0\]: match exact needs the stamp"),
        (text(views=[view(stamp={"sec": 1, "nanosec": 10**9})]), r"\$\.views\[0\]\.stamp\.nanosec"),
        (text(views=[view(stamp={"sec": -1, "nanosec": 0})]), r"\$\.views\[0\]\.stamp\.sec"),
        (text(views=[view(tol_ms=-1)]), r"\$\.views\[0\]\.tol_ms"),
        (text(views=[view(), view()]), r"\$\.views\[1\] asks for the same frame as \$\.views\[0\]"),
        (text(min_views=2), r"\$\.min_views: 2 of 1 views can never come"),
        (text(min_views=0), r"\$\.min_views"),
        (text(min_views=True), r"\$\.min_views"),
        (text(deadline_ms=0), r"\$\.deadline_ms"),
        (text(manifest_version=3), r"\$\.manifest_version: a version is one of a container"),
        (text(selection={"detection_id": "3"}), r"\$\.selection\.detection_id"),
        (text(roi={"x": 0, "y": 0, "w": 1}), r"\$\.roi: 'h' is a required"),
        (text(roi={"x": 0, "y": 0, "w": -1, "h": 1}), r"\$\.roi\.w"),
        (text(views=[view(roi={"x": 0, "y": 0, "w": 1, "h": "1"})]), r"\$\.views\[0\]\.roi\.h"),
        (text(schema="robollm.pick_event/2"), r"\$\.schema"),
        (text(min_view=1), "'min_view' was unexpected"),
        (text(views=[view(colour="red")]), r"\$\.views\[0\]: .*'colour' was unexpected"),
    ],
)
def test_a_wrong_event_is_refused_with_its_place(source, told):
    with pytest.raises(PickError, match=told) as caught:
        parse_pick_event(source, "pick/event")
    assert str(caught.value).startswith("pick/event")
    assert len(str(caught.value)) < 600
    str(caught.value).encode()  # may be logged and sent


def test_the_events_in_the_documents_are_events():
    blocks = [
        block
        for page in (ROOT / "docs").glob("*.md")
        for block in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
        if "robollm.pick_event/1" in block
    ]
    assert blocks
    for block in blocks:
        assert parse_pick_event(block, "a document").views


def test_an_unknown_camera_is_refused_with_those_there_are():
    with pytest.raises(PickError, match=r"\$\.views\[0\]\.camera: 'tote_top' .* are left, right"):
        parse_pick_event(text(), "x", {"left", "right"})
    assert parse_pick_event(text(), "x", {"tote_top"}).views[0].camera == "tote_top"


def test_a_huge_event_is_refused_unread():
    with pytest.raises(PickError, match="at most"):
        parse_pick_event(" " * (MAX_BYTES + 1), "x")
    assert names_in(" " * (MAX_BYTES + 1)) == ("", "")


@pytest.mark.parametrize(
    "source, names",
    [
        (text(views=[]), ("e-1", "P-1")),
        ('{"event_id": "e-2"}', ("e-2", "")),
        ('{"event_id": 3, "pick_id": "a\\nb"}', ("", "")),
        ('{"event_id": "\\ud800"}', ("", "")),
        ("[1]", ("", "")),
        ("{", ("", "")),
    ],
)
def test_names_are_read_of_refused_texts_where_they_can_be(source, names):
    assert names_in(source) == names


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.sampled_from(["event_id", "views", "roi", "selection", "min_views", "phase"]), JSONS)
def test_whatever_a_field_holds_it_is_read_or_refused(name, value):
    source = json.dumps({**json.loads(text()), name: value})
    try:
        got = parse_pick_event(source, "x")
    except PickError:
        names_in(source)
    else:
        assert got.event_id and got.pick_id


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(data):
    with pytest.raises(PickError):
        parse_pick_event(data, "x")
    assert names_in(data) == ("", "")
