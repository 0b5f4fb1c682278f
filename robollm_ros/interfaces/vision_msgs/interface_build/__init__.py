# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Builds a ROS 2 message package from Python wheels alone: no ament_cmake, no colcon."""
