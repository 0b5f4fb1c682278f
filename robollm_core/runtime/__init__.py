# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One socket for every runtime: named NumPy arrays in, named NumPy arrays out."""
