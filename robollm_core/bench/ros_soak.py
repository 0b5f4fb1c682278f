# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The account of a soak: what was sent is answered or counted, and nothing grows.

Three parties count on their own: the simulated cell what it sent, a watcher what it
heard, the node (through its diagnostics) what it received and dropped.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robollm_core.bench.ros_latency import spread

GROWTH = 0.02
"""Of resident memory after warm-up, at most."""
END_S = 2.0
_ASKING = ("pre_pick", "post_pick")
_LOGGED = re.compile(r"^\[(WARN|ERROR|FATAL)\] \[[0-9.]+\] \[(?P<name>[^\]]*)\]: (?P<text>.*)$")

Tree = Mapping[str, Any]


def judge(told: Tree) -> dict[str, Any]:
    """Settle the account.

    Args:
        told: "sent" (by the cell), "seen" (by the watcher), "looks" (at the node, with
            "s"), "log" (lines of the node's stderr) and "end_s" (it took to end).

    Returns:
        "frames" (by camera), "picks", "growth", "statuses", "logged" (warnings and
        errors of the log, by sentence), "claims" (each with "name", "value", "limit"
        and "kept") and "kept".
    """
    sent, seen = told["sent"], told["seen"]
    frames = {
        camera: _frames(camera, counts, seen) for camera, counts in sent.get("frames", {}).items()
    }
    picks, growth = _picks(sent, seen), _growth(told["looks"])
    silent = unexplained(told["log"], seen["statuses"])
    claims = [
        *_frame_claims(frames),
        _claim("pick events without exactly one answer", 0, len(picks["not_once"])),
        _claim("pick events that the watcher did not hear", 0, picks["unheard"]),
        _claim("pick answers to nobody", 0, len(picks["strays"])),
        _claim("share by which resident memory grew", GROWTH, growth["rss_share"]),
        _claim("open files more than after warm-up", 0, growth["handles"]),
        _claim("threads more than after warm-up", 0, growth["threads"]),
        _claim("errors in the log that are not in the diagnostics", 0, len(silent)),
        _claim("seconds to end when asked", END_S, told["end_s"]),
    ]
    return {
        "frames": frames,
        "picks": picks,
        "growth": growth,
        "faults": sent.get("faults", {}),
        "statuses": seen["statuses"],
        "logged": logged(told["log"]),
        "unexplained": silent,
        "looks": list(told["looks"]),
        "claims": claims,
        "kept": all(claim["kept"] for claim in claims),
    }


def _frames(camera: str, counts: Tree, seen: Tree) -> dict[str, int]:
    """What became of the frames of one camera."""
    values = seen["statuses"].get(f"input/{camera}", {}).get("values", {})
    told = {name: int(value) for name, value in values.items() if _counts(name, value)}
    answered = int(seen["answered"].get(camera, 0))
    # a frame that a network failed on is answered too, with nothing
    received, processed = told.get("received", 0), told.get("processed", 0) + told.get("failed", 0)
    drops = {name: count for name, count in told.items() if name.startswith("dropped")}
    errors = told.get("decode_errors", 0)
    return {
        "sent": int(counts.get("sent", 0)),
        "withheld": int(counts.get("withheld", 0)),
        "received": received,
        "answered": answered,
        **drops,
        "failed": told.get("failed", 0),
        "decode_errors": errors,
        "on_the_way": int(counts.get("sent", 0)) - received,
        "uncounted": received - processed - sum(drops.values()) - errors,
        "answers_lost": processed - answered,
    }


def _counts(name: str, value: str) -> bool:
    known = name in ("received", "processed", "failed", "decode_errors")
    known = known or name.startswith("dropped_")
    return known and value.isdecimal()


def _frame_claims(frames: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    names = {
        "on_the_way": "frames sent that the node did not receive",
        "uncounted": "frames received that are neither answered nor counted",
        "answers_lost": "answers that the watcher did not hear",
    }
    return [
        _claim(text, 0, sum(abs(one[name]) for one in frames.values()))
        for name, text in names.items()
    ]


def _picks(sent: Tree, seen: Tree) -> dict[str, Any]:
    """What became of the pick events; each has one identity, one defects, one final status."""
    asked = {name: one for name, one in seen["events"].items() if one["phase"] in _ASKING}
    answers = seen["answers"]
    odd = {name: answers.get(name, {}) for name in asked if not _once(answers.get(name, {}))}
    heard = sum(one["asked"] for one in seen["events"].values()) + seen["malformed_events"]
    return {
        "asked": len(asked),
        "asked_again": sum(one["asked"] - 1 for one in asked.values()),
        "cancels": sum(one["phase"] == "cancel" for one in seen["events"].values()),
        "malformed": seen["malformed_events"],
        "finals": seen["finals"],
        "not_once": dict(list(odd.items())[:20]),
        "strays": sorted(set(answers) - set(seen["events"]))[:20],
        "unheard": sum(sent.get("events", {}).values()) - heard,
        "answer_ms": spread(seen["pick_ms"]),
    }


def _once(counts: Tree) -> bool:
    """One answer, in all three messages; and all three again for each time it was replayed."""
    replayed = counts.get("replayed", 0)
    parts = (counts.get("identity", 0), counts.get("defects", 0))
    return counts.get("final", 0) == 1 and parts == (1 + replayed, 1 + replayed)


def _growth(looks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The last tenth against the first after warm-up, which is a quarter of the time."""
    rest = looks[len(looks) // 4 :]
    tenth = max(1, len(rest) // 10)

    def ends(name: str) -> tuple[float, float]:
        values = [one[name] for one in rest]
        return float(np.median(values[:tenth])), float(np.median(values[-tenth:]))

    before, after = ends("rss_kib")
    took = max(1e-9, looks[-1]["s"] - looks[0]["s"])
    return {
        "rss_share": round(after / before - 1.0, 4),
        "rss_kib": after,
        "handles": ends("handles")[1] - ends("handles")[0],
        "threads": ends("threads")[1] - ends("threads")[0],
        "cpu": round((looks[-1]["cpu_s"] - looks[0]["cpu_s"]) / took, 3),
    }


def logged(log: Sequence[str]) -> dict[str, int]:
    """Warnings and errors of a log, numbers left out, with how often each came."""
    found: dict[str, int] = {}
    for line in log:
        if match := _LOGGED.match(line):
            sentence = f"{match.group(1)} {re.sub(r'[0-9]+', '#', match.group('text'))}"
            found[sentence] = found.get(sentence, 0) + 1
    return found


def unexplained(log: Sequence[str], statuses: Tree) -> list[str]:
    """Lines of a log that tell of an error of which no diagnostics told.

    A refusal begins with its topic, and is explained when the status "errors" has
    counted one there, or "pick" a rejected event; a sentence of the node about itself
    when a status has said it. A trace is never explained.

    Args:
        log: lines of stderr.
        statuses: as the watcher tells them.

    Returns:
        The first twenty.
    """
    counted = dict(statuses.get("errors", {}).get("values", {}))
    # a rejected event is counted by the status of the picks, not by that of the errors
    if int(statuses.get("pick", {}).get("values", {}).get("rejected", "0")):
        counted["pick/event: rejected"] = "1"
    said = " ".join(s for one in statuses.values() for s in one["sentences"]).lower()
    silent = []
    for line in log:
        match = _LOGGED.match(line)
        if line.startswith("Traceback") or (match and not _explained(match, counted, said)):
            silent.append(line)
    return silent[:20]


def _explained(match: "re.Match[str]", counted: Tree, said: str) -> bool:
    text = match.group("text")
    if any(f"/{name}:" in text for name in _positive(counted)):
        return True
    if match.group(1) == "WARN" and "went back" in text:
        return True  # news of a jump of time, which is no error of the node
    return re.sub(r"[0-9]+", "#", text.split(": ", 1)[-1])[:60].lower() in said


def _positive(counted: Tree) -> list[str]:
    return [name for name, value in counted.items() if value.isdecimal() and int(value) > 0]


def _claim(name: str, limit: float, value: float) -> dict[str, Any]:
    return {"name": name, "limit": limit, "value": value, "kept": value <= limit}


def lines(figures: Tree) -> list[str]:
    """The account as lines of text."""
    told = [
        f"{camera}: {one['sent']} sent, {one['answered']} answered, "
        + ", ".join(f"{count} {name}" for name, count in one.items()
                    if count and name not in ("sent", "answered", "received"))
        for camera, one in figures["frames"].items()
    ]  # fmt: skip
    picks = figures["picks"]
    told.append(f"picks: {picks['asked']} asked, answered as {picks['finals']}")
    for claim in figures["claims"]:
        verdict = "kept" if claim["kept"] else "NOT KEPT"
        told.append(f"{claim['name']}: {claim['value']:g}, limit {claim['limit']:g}: {verdict}")
    return told
