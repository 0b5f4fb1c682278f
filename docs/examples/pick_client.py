# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Asks a running cell about one pick: python pick_client.py CAMERA PICK_ID [ITS NAMESPACE]."""

import json
import sys
import time
import uuid

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray


def ask(node, event, patience_s=15.0):
    """Publish an event and wait: {"status": dict, "identity": array, "defects": array}."""
    heard, qos = {}, QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)

    def keep(name, message):
        status = json.loads(message.data) if name == "status" else None
        about = status["event_id"] if status else message.header.frame_id
        if about == event["event_id"] and (status is None or status["final"]):
            heard[name] = status or message

    for name in ("identity", "defects", "status"):
        kind = String if name == "status" else Detection2DArray
        node.create_subscription(kind, f"pick/{name}", lambda m, n=name: keep(n, m), qos)
    publisher = node.create_publisher(String, "pick/event", qos)
    end, due = time.monotonic() + patience_s, 0.0
    while len(heard) < 3 and time.monotonic() < end:
        if time.monotonic() >= due:  # an event_id is answered once, so asking again is safe
            publisher.publish(String(data=json.dumps(event)))
            due = time.monotonic() + 0.5
        rclpy.spin_once(node, timeout_sec=0.05)
    return heard


if __name__ == "__main__":
    rclpy.init()
    view = {"camera": sys.argv[1], "match": "latest"}
    asked = {"event_id": str(uuid.uuid4()), "pick_id": sys.argv[2], "phase": "pre_pick",
             "deadline_ms": 2000, "views": [view]}  # fmt: skip
    answer = ask(rclpy.create_node("pick_client", namespace="".join(sys.argv[3:])), asked)
    if len(answer) < 3:
        sys.exit("no answer: is the perception node active, in this namespace and domain?")
    best = answer["identity"].detections[0].results[0].hypothesis
    defect = answer["defects"].detections[0].results[0].hypothesis
    print(f"{answer['status']['state']}: {best.class_id} {best.score:.2f}, {defect.class_id}")
