# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: thin drivers of `robollm_core.pipeline.perceive`."""
