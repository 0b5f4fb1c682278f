# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the cameras of a running cell: no frames, other types, old frames."""

from collections.abc import Iterator

from robollm_ros.graph_seen import ERROR, OK, WARN, CellSeen, Finding, StatusSeen, Survey
from robollm_ros.qos_events import fits

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
OLD_MS = 500.0
"""Frames that are so old on arrival come late, or the clocks differ."""
_PREFIX = "input/"


def input_findings(survey: Survey, cell: CellSeen) -> Iterator[Finding]:
    """What is wrong with each camera of an active cell."""
    if cell.state != "active":
        return
    for name, status in cell.statuses.items():
        if name.startswith(_PREFIX):
            yield from _camera(survey, cell, name.removeprefix(_PREFIX), status)


def _camera(survey: Survey, cell: CellSeen, camera: str, status: StatusSeen) -> Iterator[Finding]:
    topic = status.values.get("topic", "")
    if status.level == ERROR and "refused" not in status.message:
        yield from _missing(survey, cell, camera, status, topic)
    elif status.level and "QoS mismatch" not in status.message:
        mend = "the sender must be corrected; the node's log has the whole reason"
        yield Finding(status.level, 14, cell.name, f"camera {camera}: {status.message}", mend)
    yield from _mixed(survey, cell, camera, topic)
    if status.number("received"):
        yield from _stream(cell, camera, status)


def _mixed(survey: Survey, cell: CellSeen, camera: str, topic: str) -> Iterator[Finding]:
    seen = survey.topics.get(topic)
    drivers = sorted(end.node for end in seen.publishers) if seen else []
    if len(drivers) > 1:
        what = (
            f"camera {camera}: {len(drivers)} publishers share {topic} ({', '.join(drivers)}): "
            "frames of several cameras are mixed"
        )
        yield Finding(WARN, 2, cell.name, what, "a topic for each camera; see camera_names")


def _missing(
    survey: Survey, cell: CellSeen, camera: str, status: StatusSeen, topic: str
) -> Iterator[Finding]:
    seen = survey.topics.get(topic)
    listened = {end.kind for end in seen.subscriptions if end.node == cell.name} if seen else set()
    publishers = seen.publishers if seen else ()
    fitting = [end for end in publishers if end.kind in listened]
    mine = [end for end in seen.subscriptions if end.node == cell.name] if seen else []
    if publishers and listened and not fitting:
        kinds = ", ".join(sorted({end.kind for end in publishers}))
        what = f"camera {camera}: {topic} carries {kinds}, and the node listens to "
        yield Finding(
            ERROR, 9, cell.name, what + ", ".join(listened), _transport_mend(camera, kinds)
        )
        return
    if fitting and not any(fits(end.qos, me.qos) for end in fitting for me in mine):
        return  # told of as a mismatch of QoS already
    if publishers:
        yield _mute(cell, camera, status, survey.frames.get(topic, 0))
        return
    yield _nobody(survey, cell, camera, status, topic)


def _mute(cell: CellSeen, camera: str, status: StatusSeen, heard: int) -> Finding:
    """Somebody publishes what fits, and nothing arrives at the cell."""
    lead = f"camera {camera}: {status.message.partition(';')[0]}"
    if heard:
        what = f"{lead}, but the doctor hears them: {heard} frame(s)"
        mend = "the way to the node loses them, or it is overloaded: its log, docs/qos.md"
    else:
        what = f"{lead}, at the doctor neither"
        mend = (
            "look at the driver's log; for large raw images load config/fastdds_shm.xml before it "
            "starts, or send JPEG"
        )
    return Finding(ERROR, 1, cell.name, what, mend)


def _nobody(survey: Survey, cell: CellSeen, camera: str, status: StatusSeen, topic: str) -> Finding:
    lead = status.message.partition("; ")[0]
    others = {
        name: seen.publishers[0].kind
        for name, seen in sorted(survey.topics.items())
        if name != topic and any(end.kind in (IMAGE, COMPRESSED) for end in seen.publishers)
        # what a cell draws itself is no camera
        if not any(name.startswith(f"{known}/") for known in survey.cells)
    }
    if not others:
        mend = "start the camera driver; check that it is in the same ROS_DOMAIN_ID"
        return Finding(ERROR, 1, cell.name, f"camera {camera}: {lead}", mend)
    twin = f"{topic}/compressed" if not topic.endswith("/compressed") else topic[:-11]
    if twin in others:
        what = f"camera {camera}: {lead}, but {twin} is there"
        return Finding(ERROR, 9, cell.name, what, _transport_mend(camera, others[twin]))
    what = f"camera {camera}: {lead}; images are published on {', '.join(others)}"
    mend = f"set cameras.{camera}.topic, or remap the topic at the start of one of both"
    return Finding(ERROR, 1, cell.name, what, mend)


def _transport_mend(camera: str, kinds: str) -> str:
    transport = "compressed" if COMPRESSED in kinds else "raw"
    return f"set input.transport (or cameras.{camera}.transport) to {transport}"


def _stream(cell: CellSeen, camera: str, status: StatusSeen) -> Iterator[Finding]:
    """What is worth to know of frames that arrive."""
    values, number = status.values, status.number
    if "age_p50_ms" not in values:
        what = f"camera {camera}: stamps are zero or in the future, so no age is known"
        yield Finding(OK, 5, cell.name, what, "let the driver stamp with the time of exposure")
    elif number("age_p50_ms") > OLD_MS:
        what = (
            f"camera {camera}: frames are {number('age_p50_ms') / 1e3:.1f} s old when they arrive"
        )
        mend = "compare the clocks of both machines (chronyc tracking), then look at the network"
        yield Finding(WARN, 6, cell.name, what, mend)
    if not values.get("frame_id", "x"):
        what = f"camera {camera}: frame_id is empty, so nobody can tell cameras apart by header"
        yield Finding(OK, 5, cell.name, what, "set frame_id in the driver")
    received, processed = number("received"), number("processed")
    dropped = number("dropped_mailbox")
    if dropped > received / 2:
        what = (
            f"camera {camera}: {processed:.0f} of {received:.0f} frames were answered, the "
            "others were overtaken by newer ones"
        )
        mend = "that is meant so; to spare the network, let the camera send fewer frames"
        yield Finding(OK, 6, cell.name, what, mend)
