# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of a simulated cell: each does what it says, often enough, and is accounted for."""

import json
from itertools import takewhile

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the hand-drawn cell needs onnx")

import small_sim

from robollm_core.errors import ConfigError, ManifestError, PickError
from robollm_core.images import decode_image
from robollm_core.manifests import parse_manifest
from robollm_core.picks.event import parse_pick_event
from robollm_core.synthetic.states import HELD_CAMERAS
from robollm_ros.sim_faults import KINDS, STALE_S, inject, parse_faults
from robollm_ros.sim_script import Manifest, Note, Pace, PickEvent, Picture, script

PACE = Pace(10.0, 1.0, "tote_top", True, "run")
SECONDS = 120.0


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    return small_sim.write_cell_states(tmp_path_factory.mktemp("cell"))


@pytest.fixture(scope="module")
def plain(states):
    return list(takewhile(lambda step: step.at_s < SECONDS, script(states, PACE)))


def broken(plain, faults, seed=0):
    return list(inject(iter(plain), parse_faults(faults), seed, PACE.cameras))


def touched(steps, name):
    return [step for step in steps if any(m.fault == name for m in getattr(step, "marks", ()))]


def hit_by(steps, name):
    """(picture, camera of the window it lies in or None) of all pictures, by the notes alone."""
    camera, found = None, []
    for step in steps:
        if isinstance(step, Note) and step.mark.fault == name:
            camera = step.tree["camera"] if step.mark.did == "began" else None
        elif isinstance(step, Picture):
            found.append((step, camera))
    return found


def test_without_faults_nothing_is_touched(plain):
    assert broken(plain, "") == plain


@pytest.mark.parametrize("name", KINDS)
def test_what_a_fault_does_not_mark_is_as_it_was(plain, name):
    steps = broken(plain, f"{name}=10")
    assert touched(steps, name)
    kept = [step for step in steps if not isinstance(step, Note) and not step.marks]
    untouched = iter(plain)
    # in the same order, and the very same objects
    assert all(any(step is other for other in untouched) for step in kept)


@pytest.mark.parametrize("name", KINDS)
def test_a_fault_comes_about_as_often_as_it_was_asked_for_and_by_seed(plain, name):
    found = [broken(plain, f"{name}=6", seed) for seed in range(12)]
    numbers = [
        max((m.number for s in steps for m in getattr(s, "marks", ())), default=0)
        for steps in found
    ]
    # 12 in two minutes, less what falls into a window or between two picks
    assert 6 <= np.mean(numbers) <= 16
    assert len(set(numbers)) > 1
    again = broken(plain, f"{name}=6", 3)
    assert [getattr(s, "marks", s) for s in again] == [getattr(s, "marks", s) for s in found[3]]


@pytest.mark.parametrize("name", ["blackout", "blur", "stale_stamps", "clock_jump"])
def test_in_its_time_every_frame_of_the_camera_is_hit_and_no_other(plain, name):
    found = hit_by(broken(plain, f"{name}=6", 1), name)
    for step, camera in found:
        assert bool(step.marks) == (camera is not None and camera in ("", step.camera))
    assert {camera for _, camera in found} & {"tote_top", ""}


@pytest.mark.parametrize("name", ["blackout", "blur", "stale_stamps", "clock_jump"])
def test_it_lasts_as_long_as_it_says(plain, name):
    notes = [step for step in broken(plain, f"{name}=6", 1) if isinstance(step, Note)]
    assert [note.mark.did for note in notes[:6]] == ["began", "ended"] * 3
    for begun, ended in zip(notes[::2], notes[1::2], strict=False):
        # to the next step, which at ten frames a second is near
        assert 0 <= ended.at_s - begun.at_s - begun.tree["seconds"] < 0.11
        assert 1.0 <= begun.tree["seconds"] <= 4.0


def test_a_blackout_withholds(plain):
    hit = touched(broken(plain, "blackout=6", 1), "blackout")
    assert all(step.withheld for step in hit)


def test_a_blur_blurs(plain):
    steps = broken(plain, "blur=6", 1)

    def sharpness(step):
        return cv2.Laplacian(decode_image(step.jpeg, "a frame"), cv2.CV_64F).var()

    sharp = min(sharpness(s) for s in steps if isinstance(s, Picture) and not s.marks)
    assert all(sharpness(step) < sharp / 4 for step in touched(steps, "blur"))


def test_stale_stamps_are_old_and_a_jump_takes_all_cameras_back(plain):
    assert {s.shift_s for s in touched(broken(plain, "stale_stamps=6", 1), "stale_stamps")} == {
        -STALE_S
    }
    jumps = {}
    for step in touched(broken(plain, "clock_jump=6", 1), "clock_jump"):
        jumps.setdefault(step.marks[0].number, []).append(step)
    for steps in jumps.values():
        (jump,) = {step.shift_s for step in steps}
        assert -121 < jump < -29
    assert any({s.camera for s in steps} == set(PACE.cameras) for steps in jumps.values())


def test_a_corrupt_image_is_one_frame(plain):
    hit = touched(broken(plain, "corrupt_image=6", 1), "corrupt_image")
    assert all(step.broken and not step.withheld for step in hit)
    assert len(hit) == max(step.marks[0].number for step in hit)


def test_a_missing_view_is_one_that_the_event_names(plain):
    steps = broken(plain, "missing_view=6", 1)
    for step in touched(steps, "missing_view"):
        assert step.withheld and step.camera in HELD_CAMERAS
        event = next(s for s in steps[steps.index(step) :] if isinstance(s, PickEvent))
        assert step.camera in event.cameras


def test_a_wrong_manifest_is_refused_by_its_reader_or_lists_strangers(plain):
    steps = broken(plain, "wrong_manifest=20", 1)
    found = {"malformed": 0, "older": 0, "unknown_items": 0}
    versions = {}
    for step in (step for step in steps if isinstance(step, Manifest)):
        did = step.marks[0].did if step.marks else ""
        if did == "malformed":
            with pytest.raises(ManifestError):
                parse_manifest(step.text, "a fault")
        else:
            manifest = parse_manifest(step.text, "a fault")
            last = versions.get(manifest.container_id, -1)
            assert (manifest.version < last) == (did == "older")
            versions[manifest.container_id] = max(last, manifest.version)
            strange = any("STRANGER" in item.item_id for item in manifest.items)
            assert strange == (did == "unknown_items")
        if did:
            found[did] += 1
    assert all(found.values())


def test_a_malformed_event_is_refused_and_the_right_one_follows(plain):
    steps = broken(plain, "malformed_event=6", 1)
    for step in touched(steps, "malformed_event"):
        with pytest.raises(PickError):
            parse_pick_event(step.text, "a fault")
        after = steps[steps.index(step) + 1]
        assert isinstance(after, PickEvent) and not after.marks


def test_a_repeated_event_is_the_same_event(plain):
    steps = broken(plain, "repeated_event=6", 1)
    for step in touched(steps, "repeated_event"):
        assert step.event == steps[steps.index(step) - 1].event


def test_a_cancelled_pick_has_no_views_and_a_cancel_event(plain):
    steps = broken(plain, "cancelled_pick=6,repeated_event=60", 1)
    told = [step for step in steps if isinstance(step, PickEvent)]
    cancels = [step for step in told if step.event["phase"] == "cancel"]
    assert cancels
    for step in cancels:
        parse_pick_event(json.dumps(dict(step.event)), "a fault")
        same = [s.event["phase"] for s in told if s.event["pick_id"] == step.event["pick_id"]]
        assert set(same) == {"pre_pick", "cancel"}
    withheld = [s for s in touched(steps, "cancelled_pick") if isinstance(s, Picture)]
    assert len(withheld) == len(HELD_CAMERAS) * len({s.event["pick_id"] for s in cancels})


def test_random_draws_from_all(plain):
    assert parse_faults("random=20") == dict.fromkeys(KINDS, 20 / len(KINDS))
    steps = broken(plain, "random=300", 5)
    assert {m.fault for s in steps for m in getattr(s, "marks", ())} == set(KINDS)


def test_rates_add_up_and_a_name_alone_has_one():
    assert parse_faults(" blur , blackout=3,blur=1") == {"blackout": 3.0, "blur": 3.0}
    assert parse_faults("") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blackot", "no fault 'blackot'. There are blackout, blur"),
        ("blur=often", "blur must happen .* got 'often'"),
        ("blur=0", "more than 0"),
        ("blur=-1", "more than 0"),
        ("blur=nan", "more than 0"),
        ("blur=inf", "at most 600"),
    ],
)
def test_a_wrong_wish_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_faults(text)
