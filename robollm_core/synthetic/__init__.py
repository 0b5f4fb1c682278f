# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The simulator: products, totes, picks and defects, rendered with MuJoCo."""
