# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Perception for warehouse robot cells: where, which item, anything wrong."""

__version__ = "0.1.0"
