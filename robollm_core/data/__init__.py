# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Readers of data sets and bags, in the layouts they have on disk."""
