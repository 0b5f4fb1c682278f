# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Comparisons of trainings: many short runs, their intervals, plots and pages."""
