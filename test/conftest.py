# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of every test."""

from hypothesis import settings

# a machine under load must not fail a test: pytest's own timeout bounds the time
settings.register_profile("robollm", deadline=None, print_blob=True)
settings.load_profile("robollm")
