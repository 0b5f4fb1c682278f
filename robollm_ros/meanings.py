# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What each status on /diagnostics means; docs/diagnostics.md is written from it.

A test holds it to what health really says: every level and every value, and no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Meaning:
    """Of one status.

    Attributes:
        about: what it tells.
        warn: when it is a warning; "" for never.
        error: when it is an error; "" for never.
        values: key to sentence; `<...>` stands for names.
    """

    about: str
    warn: str = ""
    error: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


_DROPS = {
    "received": "frames that came",
    "processed": "of them answered",
    "dropped_mailbox": "overtaken by a newer one while a network ran",
    "dropped_age": "older than `max_age_ms` when their turn came",
    "dropped_rate": "above `max_rate_hz`",
    "dropped_disabled": "while the stream was switched off",
    "dropped_jump": "waiting when time jumped back",
    "decode_errors": "of an encoding, size or content that cannot be read",
    "failed": "on which a network failed; an empty answer is published",
    "waiting": "in the mailbox now",
}

MEANINGS: Mapping[str, Meaning] = {
    "lifecycle": Meaning(
        "State of the node; during a long transition what it does and for how long, every period.",
        warn="the node is not active",
        error="the last transition failed: says why, as the log does",
        values={"uptime_s": "since the process started", "state_s": "in this state"},
    ),
    "model": Meaning(
        "The networks in use.",
        warn="none is loaded, or the newest frame made one fail",
        error="they failed `health.error_after` times in a row, or one hangs for longer than "
        "`health.hang_s`; the node then acts as `health.on_fatal` says",
        values={
            "<stage>": "network and runtime of segmentation, identification and defects",
            "bundle": "name, version and digest, when one is in use",
            "busy": "what the worker does now",
            "busy_s": "for how long",
            "failures": "in a row",
        },
    ),
    "input/<camera>": Meaning(
        "Frames of one camera; `camera` is the name of the only one.",
        warn="a publisher does not fit (QoS) while another does, or every frame is too old",
        error="active, and no frame for longer than `stale_after_s`: nobody publishes, who "
        "publishes does not fit (QoS), or what is sent does not arrive; or frames arrive and "
        "cannot be read",
        values={
            "topic": "resolved",
            "hz": "of the last 10 s",
            "silent_s": "since the newest frame",
            "age_p50_ms": "from stamp to arrival; absent while stamps are zero or in the future",
            "age_p99_ms": "the same, 99th percentile",
            **_DROPS,
            "publishers": "of the topic",
            "incompatible_qos": "publishers that cannot be heard",
            "size": "width x height",
            "encoding": "of the image message",
            "frame_id": "of the newest frame",
        },
    ),
    "latency": Meaning(
        "Milliseconds of the newest 512 answers, stage by stage, all cameras together.",
        warn="the newest frame, or more than one in ten, took longer than `health.budget_ms`",
        error="`health.error_after` frames in a row took longer",
        values={
            "over_budget_in_a_row": "frames",
            "<stage>_p50_ms": "queue, decode, segment, identify, inspect, publish; total (the "
            "networks, which the budget is for); answer (arrival to publication); age (stamp to "
            "publication)",
            "<stage>_p90_ms": "90th percentile",
            "<stage>_p99_ms": "99th percentile",
            "<stage>_max_ms": "the slowest",
        },
    ),
    "gallery": Meaning(
        "Products of the manifest that can be matched.",
        warn="some cannot, for want of a reference; a reference image cannot be read; or the "
        "gallery file is out of use",
        error="none of them can",
        values={
            "container_id": "of the manifest whose references are embedded",
            "container_version": "of that manifest",
            "products": "left in it",
            "embedded": "of them that can be matched",
            "from_file": "of these that came from the gallery file",
            "references": "embedded in all",
            "missing": "ids of products that cannot be matched, the first 10",
            "missing_count": "of all of them",
            "unreadable": "reference images",
            "file": "of the gallery; empty without one",
            "file_items": "in it",
            "sha256": "first digits; names its content",
            "writable": "whether new embeddings are kept in it",
            "model": "first digits of the network's sha256",
            "note": "what is wrong with the file",
            "version": "number of reloads",
        },
    ),
    "pick": Meaning(
        "Answers to pick events.",
        warn="one ended in timeout or was rejected in the last minute",
        error="one failed in the last minute",
        values={
            "requests": "events since the node was configured",
            "pending": "that wait for their views or the network",
            "done": "answered",
            "timeout": "answered at their deadline, or because a view was overtaken",
            "cancelled": "by the sender, a deactivation or a jump of time",
            "rejected": "that do not follow the schema",
            "error": "on which a view or a network failed",
            "replayed": "sent again, and answered again from memory",
            "cancels": "that asked to cancel another",
            "answer_p50_ms": "from event to answer",
            "answer_p99_ms": "the same, 99th percentile",
        },
    ),
    "gpu": Meaning(
        "The first NVIDIA GPU; absent without one, or without the package nvidia-ml-py.",
        warn="heat or the power brake slows it down",
        error="the driver does not answer",
        values={
            "name": "of the card",
            "uuid": "of the card",
            "temperature_c": "of the chip",
            "utilization_percent": "of the last sample",
            "memory_used_mib": "by all processes",
            "memory_total_mib": "of the card",
            "throttled": "why it is slowed down",
        },
    ),
    "output": Meaning(
        "Who listens to the answers; a recorder waits for it.",
        warn="somebody cannot hear an answer, or the manifest or pick events cannot be heard, for "
        "want of fitting QoS",
        values={"<output>": "listeners of this output"},
    ),
    "errors": Meaning(
        "Messages that were refused.",
        error="one was, in the last 10 s",
        values={"<topic>": "refused on it since activation", "last": "topic and reason"},
    ),
    "manifest": Meaning(
        "The manifest in force.",
        warn="there is none, or the newest was refused: says why, and which stays in force",
        values={
            "container_id": "of the container",
            "version": "of the manifest",
            "items": "on it",
            "sha256": "first digits",
        },
    ),
}
