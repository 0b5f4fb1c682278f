# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which item of the manifest a crop shows: retrieval among reference images."""
