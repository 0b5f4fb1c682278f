# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The quality of service of every topic, in one place."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

IMAGES_IN = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Matches reliable and best effort cameras. Not depth 1: what the middleware overwrites nobody can
count; the slot behind it keeps the newest and counts the rest."""
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""A state and not an event: who comes late hears it too."""
ANSWERS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
IMAGES_OUT = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
