# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pick events: JSON from outside in, checked nouns out.

The form is config/schema/pick_event.schema.json. Every refusal names the JSON
path of the offending field.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema

from robollm_core.errors import PickError
from robollm_core.runtime.artifact import locate
from robollm_core.strict_json import brief, decode_json

SCHEMA = "robollm.pick_event/1"
MAX_BYTES = 2**18
PRE_PICK, POST_PICK, CANCEL = "pre_pick", "post_pick", "cancel"
PHASES = (PRE_PICK, POST_PICK, CANCEL)
EXACT, NEAREST, NEXT, LATEST = "exact", "nearest", "next", "latest"
PICK, POST = "pick", "post"
"""Roles of a view: the item lies where it is taken from, or is held."""
TOLERANCE_MS = 50.0
"""How far off `nearest` may be when the event does not say: half a period at 10 Hz."""

Box = tuple[float, float, float, float]
"""Edges (x0, y0, x1, y1), pixels."""

_SCHEMA_FILE = "config/schema/pick_event.schema.json"
_MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class PickView:
    """One image that an event asks for.

    Attributes:
        camera: name of a camera of the node, or the frame_id of its images.
        match: "exact", "nearest", "next" or "latest".
        stamp_ns: header stamp that `match` refers to; None refers to the time at
            which the event arrived, and then times of arrival are compared.
        role: "pick" or "post".
        tol_ms: how far off "nearest" may be.
        roi_xyxy_px: edges of where the item is in this view, None for none.
    """

    camera: str
    match: str = LATEST
    stamp_ns: int | None = None
    role: str = PICK
    tol_ms: float = TOLERANCE_MS
    roi_xyxy_px: Box | None = None


@dataclass(frozen=True, slots=True)
class PickEvent:
    """What a cell asks about one pick.

    Attributes:
        event_id: unique; a second event of the same id gets the same answer.
        pick_id: the pick; the same before and after the grasp.
        phase: one of `PHASES`.
        views: wanted images, at least one unless the phase is cancel.
        container_id: "" when not said.
        manifest_version: None when not said.
        min_views: None for the setting picks.min_views.
        deadline_ms: None for the setting picks.deadline_ms.
        detection_id: `<camera>/<stamp_ns>/<i>` of the detection that is grasped, "" for none.
        roi_xyxy_px: edges of where the item is in the first view of role "pick", None for
            none.
        sha256: hex digest of the text, by which a change under the same event_id shows.
    """

    event_id: str
    pick_id: str
    phase: str
    views: tuple[PickView, ...] = ()
    container_id: str = ""
    manifest_version: int | None = None
    min_views: int | None = None
    deadline_ms: float | None = None
    detection_id: str = ""
    roi_xyxy_px: Box | None = None
    sha256: str = ""


def parse_pick_event(
    text: str | bytes, source: str, cameras: Collection[str] | None = None
) -> PickEvent:
    """Read a pick event.

    Args:
        text: JSON, UTF-8 when bytes, at most `MAX_BYTES`.
        source: name for error messages, such as a topic.
        cameras: names that a view may say; None to allow any.

    Raises:
        PickError: If the text is too large, is no JSON, does not follow the
            schema, or contradicts itself.
    """
    data = _bytes(text)
    if len(data) > MAX_BYTES:
        raise PickError(f"{source}: a pick event has at most {MAX_BYTES} bytes, got {len(data)}.")
    tree = decode_json(data, source, "a pick event", PickError)
    # the first error is enough to refuse
    for error in jsonschema.Draft202012Validator(_schema()).iter_errors(tree):
        raise PickError(f"{source}: {brief(error.json_path)}: {brief(error.message)}")
    views = tuple(_view(view) for view in tree.get("views", ()))
    _check_views(views, source, cameras)
    _check_counts(tree, views, source)
    version = tree.get("manifest_version")
    return PickEvent(
        event_id=tree["event_id"],
        pick_id=tree["pick_id"],
        phase=tree["phase"],
        views=views,
        container_id=tree.get("container_id", ""),
        manifest_version=None if version is None else int(version),
        min_views=int(tree["min_views"]) if "min_views" in tree else None,
        deadline_ms=float(tree["deadline_ms"]) if "deadline_ms" in tree else None,
        detection_id=tree.get("selection", {}).get("detection_id", ""),
        roi_xyxy_px=_roi(tree.get("roi")),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def check_installed() -> None:
    """Load the schema ahead of the first event, which shall not wait for it.

    Raises:
        PickError: If it is not there.
    """
    tree = {"event_id": "e", "pick_id": "p", "phase": CANCEL}
    parse_pick_event(json.dumps(tree), "a trial")


def names_in(text: str | bytes) -> tuple[str, str]:
    """The event_id and pick_id of a text that `parse_pick_event` refused; "" where unreadable."""
    data = _bytes(text)
    if len(data) > MAX_BYTES:
        return "", ""
    try:
        tree = decode_json(data, "", "a pick event", PickError)
    except PickError:
        return "", ""
    names = tree if isinstance(tree, dict) else {}
    return _name(names.get("event_id")), _name(names.get("pick_id"))


def _name(value: object) -> str:
    whole = isinstance(value, str) and len(value) <= _MAX_NAME and value.isprintable()
    return str(value) if whole else ""


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _view(tree: Mapping[str, Any]) -> PickView:
    stamp = tree.get("stamp")
    stamp_ns = None if stamp is None else int(stamp["sec"]) * 10**9 + int(stamp["nanosec"])
    return PickView(
        camera=tree["camera"],
        match=tree.get("match", LATEST if stamp is None else EXACT),
        stamp_ns=stamp_ns,
        role=tree.get("role", PICK),
        tol_ms=float(tree.get("tol_ms", TOLERANCE_MS)),
        roi_xyxy_px=_roi(tree.get("roi")),
    )


def _check_views(views: tuple[PickView, ...], source: str, cameras: Collection[str] | None) -> None:
    for index, view in enumerate(views):
        where = f"{source}: $.views[{index}]"
        if view.match == EXACT and view.stamp_ns is None:
            raise PickError(f"{where}: match exact needs the stamp of a frame.")
        if view in views[:index]:
            raise PickError(f"{where} asks for the same frame as $.views[{views.index(view)}].")
        if cameras is not None and view.camera not in cameras:
            known = ", ".join(sorted(cameras)) or "none yet"
            raise PickError(
                f"{where}.camera: {brief(repr(view.camera))} is no camera of this node; there "
                f"are {known}."
            )


def _check_counts(tree: Mapping[str, Any], views: tuple[PickView, ...], source: str) -> None:
    least = tree.get("min_views", 0)
    if tree["phase"] != CANCEL and least > len(views):
        raise PickError(f"{source}: $.min_views: {least} of {len(views)} views can never come.")
    if "manifest_version" in tree and "container_id" not in tree:
        raise PickError(
            f"{source}: $.manifest_version: a version is one of a container; name it in "
            "$.container_id."
        )


def _roi(tree: Mapping[str, float] | None) -> Box | None:
    if tree is None or not (tree["w"] and tree["h"]):
        return None
    x, y, w, h = (float(tree[side]) for side in "xywh")
    return x, y, x + w, y + h


@cache
def _schema() -> Any:
    path = locate(_SCHEMA_FILE)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PickError(f"cannot read the schema {path}: {error}. Reinstall robollm.") from error
