# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The account of a soak: each way to lose something breaks the claim that belongs to it."""

import copy
import json

import pytest

from robollm_core.bench.ros_soak import judge, lines, logged, unexplained
from robollm_core.bench.ros_soak_page import draw, page


def looks(rss=lambda i: 200_000, handles=30, threads=12, count=200):
    return [
        {"s": float(i), "rss_kib": rss(i), "peak_kib": rss(i), "handles": handles,
         "threads": threads, "cpu_s": 0.2 * i}
        for i in range(count)
    ]  # fmt: skip


def status(values=None, sentences=("0 well",), level=0):
    return {"level": level, "message": "", "worst": level, "values": values or {},
            "sentences": dict.fromkeys(sentences, 1)}  # fmt: skip


def whole():
    """An account in which everything is in order; faults were injected and counted."""
    return {
        "sent": {
            "frames": {"tote_top": {"sent": 100, "broken": 2, "withheld": 5},
                       "far_tray": {"sent": 10, "broken": 0}},
            "events": {"pre_pick": 3, "post_pick": 1, "cancel": 1, "malformed": 2},
            "manifests": {"sent": 4},
            "faults": {"corrupt_image": {"altered": 2}},
        },
        "seen": {
            "answered": {"tote_top": 95, "far_tray": 10},
            "timing": {},
            "events": {"a": {"phase": "pre_pick", "asked": 2},
                       "b": {"phase": "pre_pick", "asked": 1},
                       "c": {"phase": "post_pick", "asked": 1},
                       "x": {"phase": "cancel", "asked": 1}},
            "malformed_events": 2,
            "answers": {"a": {"identity": 2, "defects": 2, "final": 1, "replayed": 1},
                        "b": {"identity": 1, "defects": 1, "final": 1},
                        "c": {"identity": 1, "defects": 1, "final": 1}, "x": {"final": 1}},
            "finals": {"done": 3, "cancelled": 1, "rejected": 2},
            "rejected_nameless": 2,
            "pick_ms": [5.0, 6.0, 300.0],
            "statuses": {
                "input/tote_top": status({
                    "received": "100", "processed": "94", "failed": "1", "decode_errors": "2",
                    "dropped_mailbox": "2", "dropped_age": "1", "hz": "10.0", "size": "64x48"}),
                "input/far_tray": status({"received": "10", "processed": "10"}),
                "errors": status({"tote_top/image/compressed": "2", "last": "x"},
                                 ("2 the image is truncated after # bytes",)),
            },
        },
        "looks": looks(),
        "log": ["[WARN] [1.5] [perception]: /tote_top/image/compressed: the image is truncated "
                "after 12 bytes. The frame is skipped.", "ready: active"],
        "end_s": 0.8,
    }  # fmt: skip


def broken(figures):
    return [claim["name"] for claim in figures["claims"] if not claim["kept"]]


def test_a_run_with_counted_losses_alone_keeps_every_claim():
    figures = judge(whole())
    assert broken(figures) == []
    assert figures["kept"]
    assert figures["frames"]["tote_top"]["dropped_mailbox"] == 2
    assert figures["picks"]["asked"] == 3
    assert figures["picks"]["asked_again"] == 1
    assert json.loads(json.dumps(figures, allow_nan=False))["kept"]


def _set(*path):
    def change(told, value):
        at = told
        for word in path[:-1]:
            at = at[word]
        at[path[-1]] = value

    return change


TOTE = ("seen", "statuses", "input/tote_top", "values")
FAULTS = {
    "frames sent that the node did not receive": (_set("sent", "frames", "tote_top", "sent"), 101),
    "frames received that are neither answered nor counted": (_set(*TOTE, "dropped_mailbox"), "1"),
    "answers that the watcher did not hear": (_set("seen", "answered", "tote_top"), 94),
    "pick events that the watcher did not hear": (_set("sent", "events", "pre_pick"), 4),
    "pick answers to nobody": (_set("seen", "answers", "ghost"), {"final": 1}),
    "seconds to end when asked": (_set("end_s"), 2.1),
    "share by which resident memory grew": (
        _set("looks"), looks(rss=lambda i: 200_000 + 100 * i)),
    "open files more than after warm-up": (
        _set("looks"), [*looks(count=150), *looks(handles=31, count=60)]),
    "threads more than after warm-up": (
        _set("looks"), [*looks(count=150), *looks(threads=13, count=60)]),
    "errors in the log that are not in the diagnostics": (
        _set("log"), ["Traceback (most recent call last):"]),
}  # fmt: skip


@pytest.mark.parametrize("claim", FAULTS)
def test_each_loss_breaks_its_claim_and_no_other(claim):
    change, value = FAULTS[claim]
    told = copy.deepcopy(whole())
    change(told, value)
    figures = judge(told)
    assert broken(figures) == [claim]
    assert not figures["kept"]
    assert any("NOT KEPT" in line for line in lines(figures))


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"identity": 1, "defects": 1},
        {"identity": 2, "defects": 1, "final": 1},
        {"identity": 1, "defects": 0, "final": 1},
        {"identity": 2, "defects": 2, "final": 2},
        {"identity": 1, "defects": 1, "final": 1, "replayed": 1},
    ],
)
def test_an_event_has_exactly_one_answer_in_all_three_messages(counts):
    told = whole()
    told["seen"]["answers"]["b"] = counts
    figures = judge(told)
    assert "pick events without exactly one answer" in broken(figures)
    assert figures["picks"]["not_once"] == {"b": counts}


def test_growth_before_the_warm_up_is_over_is_none():
    told = whole()
    told["looks"] = looks(rss=lambda i: 100_000 + 2_000 * min(i, 50))
    assert judge(told)["growth"]["rss_share"] == 0.0


def test_the_log_is_summed_up_by_sentence():
    log = [f"[WARN] [{i}.5] [perception]: frame {i} of 9 is old" for i in range(3)]
    assert logged([*log, "ready: active"]) == {"WARN frame # of # is old": 3}


def test_what_the_log_says_must_have_been_in_the_diagnostics():
    statuses = whole()["seen"]["statuses"]
    line = "[ERROR] [1.0] [perception]: the networks hang: a frame of a has not answered for 3 s"
    assert unexplained([line], statuses) == [line]
    said = "2 the networks hang: a frame of a has not answered for # s"
    told = {**statuses, "model": status(sentences=(said,), level=2)}
    assert unexplained([line], told) == []
    # a refusal on a topic of which none was counted
    other = "[WARN] [1.0] [perception]: /far_tray/image/compressed: the image is truncated"
    assert unexplained([other], statuses) == []  # the sentence was told, of another topic
    event = "[WARN] [1.0] [perception]: /pick/event: rejected: it is not JSON"
    assert unexplained([event], statuses) == [event]
    assert unexplained([event], {**statuses, "pick": status({"rejected": "1"})}) == []
    odd = "[WARN] [1.0] [perception]: /far_tray/image/compressed: an odd encoding"
    assert unexplained([odd], statuses) == [odd]


def test_page_and_figure_tell_the_account():
    facts = {"seconds": 600.0, "rate": 10.0, "picks_per_s": 1.0, "faults_asked": "random"}
    facts |= {"seed": 0, "command": "robollm soak", "machine": "a machine", "version": "1"}
    figures = {**facts, **judge(whole())}
    text = page(figures)
    assert "# A simulated cell for 10 min" in text
    assert "| tote_top | 100 | 100 | 95 | 1 | 2 | 1 | 0 | 2 | 0 | 0 | 0 |" in text
    assert "Every claim was kept." in text
    hours = page({**figures, "seconds": 7200.0, "kept": False})
    assert "for 2 h" in hours
    assert "Not every claim was kept." in hours
    pytest.importorskip("matplotlib")
    assert draw(figures).startswith(b"\x89PNG")
