# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the live view knows of a cell, from its messages; bounded, whatever they say.

Whoever publishes is not trusted: texts are cut, lists have an end, numbers are
finite, and what cannot be read is left out.
"""

import json
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from robollm_core.errors import ManifestError
from robollm_core.manifests import parse_manifest

MAX_ITEMS = 200
"""Items of a manifest that are listed; the rest is counted."""
MAX_PICKS = 60
MAX_SETTLED = 2000
MAX_STATUSES = 64
MAX_VALUES = 64
MAX_TEXT = 160
UNKNOWN = ("", "unknown")
SILENT_S = 3.5
"""Without diagnostics for so long the node shows no sign of life."""
PERCENTILES = re.compile(r"^(.+)_(p50|p90|p99|max)_ms$")

Clock = Callable[[], float]


def brief(value: Any) -> str:
    """A text of a message, cut to `MAX_TEXT` characters."""
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def finite(value: Any) -> float | None:
    """A number of a message; None for what is none, or is not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return round(number, 4) if math.isfinite(number) else None


@dataclass(slots=True)
class Pick:
    """One pick event and its answer, as far as it has come.

    Attributes:
        event_id, pick_id, phase, state: as its receipt says.
        item: product id, "" for none of the known.
        score: of the item.
        verdict: of the defect stage.
        defect: its probability.
        ms: from the event to the answer.
        missing: cameras of the views that did not come.
        reason: why it is not done.
        at: when it was first heard of, hours, minutes and seconds of this machine.
    """

    event_id: str = ""
    pick_id: str = ""
    phase: str = ""
    state: str = ""
    item: str = ""
    score: float | None = None
    verdict: str = ""
    defect: float | None = None
    ms: float | None = None
    missing: list[str] = field(default_factory=list)
    reason: str = ""
    at: str = ""


@dataclass(slots=True)
class Health:
    """One status of /diagnostics."""

    level: int
    message: str
    values: dict[str, str]


class CellState:
    """Manifest, picks and health of one cell."""

    def __init__(self, node: str, clock: Clock = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            node: full name of the perception node, as its diagnostics name it.
            clock: seconds that never go back.
        """
        self.node = node
        self._clock = clock
        self._picks: OrderedDict[str, Pick] = OrderedDict()
        self._health: dict[str, Health] = {}
        self._heard = -math.inf
        self._manifest: dict[str, Any] | None = None
        self._refusal = ""
        self._counted: dict[str, str] = {}
        """Item by pick id, of what was picked since the manifest came."""
        self._settled: OrderedDict[str, None] = OrderedDict()
        """Picks that were counted before the manifest came, which knows of them."""

    def hear_manifest(self, text: str) -> None:
        """Take a manifest, with its own counts of what was picked."""
        try:
            manifest = parse_manifest(text, "the manifest")
        except ManifestError as error:
            self._refusal = brief(error)
            return
        self._refusal = ""
        # parse_manifest gives what is left; the page shows what there was
        products = json.loads(text).get("products", [])
        picked = {one["product_id"]: int(one.get("picked", 0)) for one in products}
        self._settled.update(dict.fromkeys(self._counted))
        while len(self._settled) > MAX_SETTLED:
            self._settled.popitem(last=False)
        self._counted = {}
        self._manifest = {
            "container": brief(manifest.container_id),
            "version": manifest.version,
            "items": [
                (item.item_id, brief(item.text), item.quantity, picked.get(item.item_id, 0))
                for item in manifest.items
            ],
        }

    def hear_status(self, text: str) -> None:
        """Take a receipt of a pick event, as JSON."""
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(tree, dict) or not tree.get("event_id"):
            return
        pick = self._pick(brief(tree["event_id"]), brief(tree.get("pick_id", "")))
        pick.phase = brief(tree.get("phase") or pick.phase)
        pick.state = brief(tree.get("state") or pick.state)
        pick.reason = brief(tree.get("reason") or pick.reason)
        pick.ms = finite(tree.get("answer_ms")) or pick.ms
        missing = tree.get("views_missing")
        pick.missing = [brief(one) for one in missing[:8]] if isinstance(missing, list) else []
        self._count(pick)

    def hear_identity(self, event_id: str, pick_id: str, item: str, score: float) -> None:
        """Take the fused identity that answers an event."""
        pick = self._pick(brief(event_id), brief(pick_id))
        pick.item = "" if item in UNKNOWN else brief(item)
        pick.score = finite(score)
        self._count(pick)

    def hear_defects(self, event_id: str, pick_id: str, verdict: str, score: float) -> None:
        """Take the fused verdict that answers an event."""
        pick = self._pick(brief(event_id), brief(pick_id))
        pick.verdict, pick.defect = brief(verdict), finite(score)

    def hear_health(self, statuses: Sequence[tuple[str, int, str, Mapping[str, str]]]) -> None:
        """Take statuses as (name, level, message, values); those of other nodes are left out."""
        start = f"{self.node}: "
        own = [one for one in statuses if one[0].startswith(start)][:MAX_STATUSES]
        if not own:
            return
        self._heard = self._clock()
        self._health = {
            brief(name.removeprefix(start)): Health(
                level,
                brief(message),
                {brief(k): brief(v) for k, v in list(values.items())[:MAX_VALUES]},
            )
            for name, level, message, values in own
        }

    @property
    def alive(self) -> bool:
        """Whether the node's diagnostics have come lately."""
        return self._clock() - self._heard < SILENT_S

    @property
    def lifecycle(self) -> str:
        """Label of the node's lifecycle state; "" without a sign of life."""
        if not self.alive or "lifecycle" not in self._health:
            return ""
        return self._health["lifecycle"].message

    @property
    def inputs(self) -> list[str]:
        """Names of the cameras, in the order of the node's diagnostics."""
        names = (name.partition("/") for name in self._health)
        return [camera for kind, _, camera in names if kind == "input" and camera]

    def stale(self, camera: str) -> bool:
        """Whether the node itself calls a camera's input an error."""
        status = self._health.get(f"input/{camera}")
        return self.alive and status is not None and status.level >= 2

    def manifest(self) -> dict[str, Any]:
        """The manifest as the page lists it: what is left, and what is ticked off."""
        if self._manifest is None:
            return {"container": "", "version": 0, "items": [], "more": 0, "total": 0, "left": 0,
                    "refusal": self._refusal}  # fmt: skip
        items = self._manifest["items"]
        taken = list(self._counted.values())
        left = [max(0, item[2] - taken.count(item[0])) for item in items]
        rows = [
            {"id": brief(name), "text": text, "left": rest, "total": quantity + picked}
            for (name, text, quantity, picked), rest in zip(items[:MAX_ITEMS], left, strict=False)
        ]
        return {
            "container": self._manifest["container"],
            "version": self._manifest["version"],
            "items": rows,
            "more": max(0, len(items) - MAX_ITEMS),
            "total": sum(item[2] + item[3] for item in items),
            "left": sum(left),
            "refusal": self._refusal,
        }

    def picks(self) -> list[dict[str, Any]]:
        """The newest picks first."""
        return [asdict(pick) for pick in reversed(self._picks.values())]

    def health(self) -> dict[str, Any]:
        """Percentiles of latency by stage, counts by camera, and every status."""
        latency: dict[str, dict[str, float | None]] = {}
        values = self._health["latency"].values if "latency" in self._health else {}
        for key, value in values.items():
            if found := PERCENTILES.match(key):
                latency.setdefault(found[1], {})[found[2]] = finite(value)
        return {
            "latency": latency,
            "inputs": {
                name: status.values
                for name, status in self._health.items()
                if name.partition("/")[0] == "input"
            },
            "statuses": [
                {"name": name, "level": status.level, "message": status.message}
                for name, status in self._health.items()
            ],
        }

    def _pick(self, event_id: str, pick_id: str) -> Pick:
        """The row of an event."""
        pick = self._picks.setdefault(event_id, Pick(event_id))
        pick.pick_id = pick_id or pick.pick_id
        pick.at = pick.at or time.strftime("%H:%M:%S")
        while len(self._picks) > MAX_PICKS:
            self._picks.popitem(last=False)
        return pick

    def _count(self, pick: Pick) -> None:
        """Tick an item off; a second look at the same pick replaces the first."""
        if pick.state != "done" or not pick.pick_id or pick.pick_id in self._settled:
            return
        self._counted.pop(pick.pick_id, None)
        if pick.item:
            self._counted[pick.pick_id] = pick.item
        while len(self._counted) > MAX_SETTLED:
            self._counted.pop(next(iter(self._counted)))
