# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the documents say of the statuses is what health says: every level and every value."""

import inspect
import re

import numpy as np
import pytest
from hand_clock import HandClock

from robollm_core.config import Config, update
from robollm_core.picks.tally import Tally
from robollm_core.types import Frame, Manifest, ManifestItem
from robollm_ros import gpu, health
from robollm_ros.health import MANIFEST, Health
from robollm_ros.meanings import MEANINGS
from robollm_ros.status import CameraFacts, Facts, Mismatch, PickFacts, Status

LEVELS = {"": 0, "warn": 1, "error": 2}
STAGES = ("queue", "decode", "segment", "identify", "inspect", "publish", "total", "answer",
          "age")  # fmt: skip
COUNTS = {"received": 9, "processed": 3, "dropped_mailbox": 1, "dropped_age": 1,
          "dropped_rate": 1, "dropped_disabled": 1, "dropped_jump": 0, "decode_errors": 1,
          "failed": 0, "waiting": 1}  # fmt: skip
GALLERY = ("container_id", "container_version", "products", "embedded", "from_file", "references",
           "missing", "missing_count", "unreadable", "file", "file_items", "sha256", "writable",
           "model", "note", "version")  # fmt: skip
STAGE = r"^[a-z]+_(p\d+|max)_ms$"
CARD = dict.fromkeys(
    ("name", "uuid", "temperature_c", "utilization_percent", "memory_used_mib",
     "memory_total_mib", "throttled"), 0
)  # fmt: skip
MANIFEST_7 = Manifest("T-7", 4, (ManifestItem("A"),))


def cell(state="active"):
    made = Health(HandClock())
    made.config = update(Config(), {"health.budget_ms": 100.0, "health.error_after": 2})
    made.state = state
    return made


def camera(publishers=1, **counts):
    return {"camera": CameraFacts("/image", 2.0, {**COUNTS, **counts}, publishers)}


def well():
    made = cell()
    made.model = {"segmentation": "x", "identification": "y", "defects": "z", "bundle": "b"}
    made.arrived("camera", 5.0)
    made.described("camera", Frame(np.zeros((4, 6, 3), np.uint8), camera="tote"), "rgb8")
    made.answered("camera", dict.fromkeys(STAGES, 10.0))
    return made


def gallery_of(embedded, missing=()):
    """As the identification tells it, which a test of its own holds it to."""
    told = dict.fromkeys(GALLERY, 0)
    lacking = [{"item_id": item, "reason": "gone"} for item in missing]
    return {**told, "products": embedded + len(missing), "embedded": embedded, "sha256": "s",
            "model": "m", "missing": lacking, "missing_count": len(missing)}  # fmt: skip


def everything(made):
    """A report of all that can be known."""
    gallery = gallery_of(1)
    picks = PickFacts({**Tally().counts(), "pending": 0}, {"done": 1}, [4.0])
    return made.statuses(Facts(camera(), {"masks": 1}, MANIFEST_7, gallery, picks, ("camera", 0.1)))


def slow(times):
    made = well()
    for _ in range(times):
        made.answered("camera", {"total": 500.0})
    return made.statuses(Facts(camera(), {}))


def failing(times):
    made = well()
    made._clock.now += 1.0
    for _ in range(times):
        made.failed("image", "NaN")
    return made.statuses(Facts(camera(), {}))


def picked(**recent):
    return well().statuses(Facts(camera(), {}, picks=PickFacts({}, recent)))


def matched(embedded, missing):
    return well().statuses(Facts(camera(), {}, gallery=gallery_of(embedded, missing)))


def troubled():
    made = cell("unconfigured")
    made.trouble = "cannot configure: models/x.onnx is missing"
    return made.statuses(Facts(camera(), {}))


def refused_manifest():
    made = well()
    made.refused(MANIFEST, "no JSON")
    return made.statuses(Facts(camera(), {}, MANIFEST_7))


def scenarios():
    unfit = {"/image": Mismatch(1, "QoS mismatch on /image")}
    deaf = {"/cell/detections": Mismatch(1, "QoS mismatch on /cell/detections")}
    yield everything(well())
    yield cell("unconfigured").statuses(Facts(camera(), {}))
    yield troubled()
    yield well().statuses(Facts(camera(2), {}, mismatches=unfit))
    yield well().statuses(Facts(camera(), {}, mismatches=deaf))
    yield from (slow(times) for times in (1, 2))
    yield from (failing(times) for times in (1, 2))
    yield from (picked(timeout=1), picked(error=1), picked(rejected=1))
    yield from (matched(1, ["A"]), matched(0, ["A", "B"]))
    yield refused_manifest()


def documented(name):
    return MEANINGS["input/<camera>" if name.startswith("input/") else name]


@pytest.fixture
def cards(monkeypatch):
    """A card that is well, slowed down, and silent, one a report."""
    levels = iter([0, 1, 2] * 20)
    monkeypatch.setattr(health, "read_gpu", lambda: Status("gpu", next(levels), "", CARD))


def test_every_level_that_is_documented_occurs_and_no_other(cards):
    seen = {(status.name, status.level) for found in scenarios() for status in found}
    seen = {(re.sub(r"^input/.*", "input/<camera>", name), level) for name, level in seen}
    told = {
        (name, LEVELS[field])
        for name, meaning in MEANINGS.items()
        for field in LEVELS
        if not field or getattr(meaning, field)
    }
    assert seen == told


def test_every_value_is_documented_and_every_documented_value_occurs(cards):
    named = {"model": ("segmentation", "identification", "defects"), "output": ("masks",),
             "errors": ("image",)}  # fmt: skip
    found = {status.name: dict(status.values) for status in everything(well())}
    found["errors"] |= {"image": 1}
    for name, values in found.items():
        known = set(documented(name).values)
        patterns = {key for key in known if "<" in key}
        keys = set(values)
        if name == "latency":
            keys = {re.sub(STAGE, r"<stage>_\1_ms", key) for key in values}
        free = set(named.get(name, ()))
        assert keys - free == (known - patterns) | {k for k in patterns if k in keys}, name
        assert bool(free) == bool(patterns - keys), name


def test_the_statuses_come_in_the_order_of_the_document(cards):
    names = [status.name for status in everything(well())]
    assert [re.sub(r"^input/.*", "input/<camera>", name) for name in names] == list(MEANINGS)


def test_without_a_card_the_rest_is_told(monkeypatch):
    monkeypatch.setattr(health, "read_gpu", lambda: None)
    assert "gpu" not in {status.name for status in everything(well())}
    assert gpu.read_gpu.__doc__


def test_the_identification_tells_of_its_gallery_what_is_documented():
    from robollm_core.identification.stage import Identifier

    told = re.findall(r'^            "(\w+)": ', inspect.getsource(Identifier.gallery_status), re.M)
    assert set(told) == set(GALLERY)
