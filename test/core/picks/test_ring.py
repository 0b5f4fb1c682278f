# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The newest frames are kept within their limits, and a view means the frame it should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.picks.event import PickView
from robollm_core.picks.ring import BACK_NS, FrameRing, Kept

MS = 1_000_000
START = 100.0
"""Clock of the node when the frame of stamp 0 ms arrives."""


def kept(ms, camera="a", size=1):
    """A frame stamped and come at `ms`; its payload is its name."""
    return Kept(camera, ms * MS + 1, START + ms / 1e3, f"{camera}{ms}", size)


def ring_of(*times, frames=16, max_bytes=1000, stale_s=2.0):
    ring = FrameRing(["a", "b"], frames, max_bytes, stale_s)
    for ms in times:
        ring.put(kept(ms))
    return ring


def found(ring, view, asked_ms=0, settle=False):
    match = ring.find(view, "a", START + asked_ms / 1e3, settle=settle)
    return match.frame.payload if match.frame else match.lost or None


def at(match, ms=None, tol_ms=50.0):
    return PickView("a", match, None if ms is None else ms * MS + 1, "pick", tol_ms)


def test_exact_means_that_stamp_alone():
    ring = ring_of(0, 100, 200)
    assert found(ring, at("exact", 100)) == "a100"
    assert found(ring, at("exact", 300)) is None


def test_an_exact_frame_that_was_overtaken_or_has_gone_is_lost():
    assert "newer frames came" in found(ring_of(0, 200), at("exact", 100))
    assert "newer frames came" in found(ring_of(0, 100, 200, frames=2), at("exact", 0))


def test_nearest_waits_for_a_frame_behind_the_time():
    ring = ring_of(0, 90)
    assert found(ring, at("nearest", 100)) is None
    ring.put(kept(105))
    assert found(ring, at("nearest", 100)) == "a105"
    assert found(ring_of(0, 98, 105), at("nearest", 100)) == "a98"


def test_nearest_takes_what_there_is_when_it_is_told_to_settle():
    assert found(ring_of(0, 90), at("nearest", 100), settle=True) == "a90"
    assert found(ring_of(), at("nearest", 100), settle=True) is None


def test_nearest_keeps_to_its_tolerance():
    assert found(ring_of(0, 200), at("nearest", 100, tol_ms=100)) in ("a0", "a200")
    assert "100 ms off" in found(ring_of(0, 200), at("nearest", 100, tol_ms=99))
    # a frame may still come within it
    assert found(ring_of(0), at("nearest", 100), settle=True) is None


def test_without_a_stamp_nearest_goes_by_the_time_of_arrival():
    ring = FrameRing(["a"], 4, 1000, 2.0)
    ring.put(Kept("a", 5, START - 0.010, "before", 1))
    ring.put(Kept("a", 6, START + 0.020, "after", 1))
    assert found(ring, at("nearest")) == "before"


def test_next_is_the_first_at_or_after():
    ring = ring_of(0, 100, 200)
    assert found(ring, at("next", 100)) == "a100"
    assert found(ring, at("next", 101)) == "a200"
    assert found(ring, at("next", 201)) is None
    assert found(ring, at("next"), asked_ms=150) == "a200"
    assert found(ring, at("next"), asked_ms=250) is None


def test_latest_is_the_newest_that_is_not_stale():
    ring = ring_of(0, 100)
    assert found(ring, at("latest"), asked_ms=100) == "a100"
    assert found(ring, at("latest"), asked_ms=2050) == "a100"
    assert found(ring, at("latest"), asked_ms=2150) is None


def test_a_camera_keeps_so_many_frames_and_others_are_let_alone():
    ring = ring_of(0, 100, 200, frames=2)
    ring.put(kept(0, "b"))
    assert ring.sizes == {"frames": 3, "bytes": 3}


def test_over_the_bytes_the_camera_that_has_most_gives_its_oldest():
    ring = FrameRing(["a", "b"], 8, 10, 2.0)
    ring.put(kept(0, "b", size=3))
    for ms in (1, 2, 3):
        ring.put(kept(ms, "a", size=3))
    assert ring.sizes == {"frames": 3, "bytes": 9}
    assert ring.find(PickView("b", "latest"), "b", START).frame.payload == "b0"
    assert "newer frames came" in found(ring, at("exact", 1))


def test_a_frame_larger_than_all_room_is_not_kept_and_that_is_said():
    ring = ring_of(max_bytes=10)
    ring.put(kept(0, size=11))
    assert ring.sizes == {"frames": 0, "bytes": 0}
    assert "raise it" in found(ring, at("latest"))
    ring.put(kept(1, size=10))
    assert found(ring, at("latest")) == "a1"
    assert found(ring, at("exact", 5)) is None


def test_a_clock_set_back_clears_the_camera_but_a_late_frame_does_not():
    back_ms = BACK_NS // MS
    ring = ring_of(5000)
    ring.put(kept(5000 - back_ms))
    assert ring.sizes["frames"] == 2
    ring = ring_of(5000)
    ring.put(kept(5000 - back_ms - 1))
    assert ring.sizes["frames"] == 1
    assert found(ring, at("exact", 5000)) is None


def test_cleared_it_holds_nothing():
    ring = ring_of(0, 100, max_bytes=10)
    ring.put(kept(0, size=11))
    ring.clear()
    assert ring.sizes == {"frames": 0, "bytes": 0}
    assert found(ring, at("latest")) is None


FRAMES = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 5000), st.integers(0, 12)), max_size=30
)


@given(FRAMES, st.integers(1, 4), st.integers(1, 20))
def test_no_sequence_of_frames_breaks_the_limits(frames, most, max_bytes):
    ring, shadow = FrameRing(["a", "b"], most, max_bytes, 2.0), 0
    for camera, ms, size in frames:
        ring.put(kept(ms, camera, size))
        shadow = sum(one.size for own in ring._kept.values() for one in own)
        assert ring.sizes["bytes"] == shadow <= max_bytes
        assert all(len(own) <= most for own in ring._kept.values())


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8, unique=True), st.integers(0, 300))
@pytest.mark.parametrize("match", ["exact", "nearest", "next"])
def test_what_is_found_is_what_a_plain_search_finds(match, times, wanted):
    ring = ring_of(*sorted(times))
    later = [ms for ms in times if ms >= wanted]
    near = min(times, key=lambda ms: (abs(ms - wanted), ms))
    plain = {
        "exact": wanted if wanted in times else None,
        "next": min(later, default=None),
        "nearest": near if later and abs(near - wanted) <= 50 else None,
    }[match]
    got = ring.find(at(match, wanted), "a", START).frame
    assert (got.payload if got else None) == (None if plain is None else f"a{plain}")
