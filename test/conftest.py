# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of every test, and a cache that is not the user's."""

import os
import shutil
import tempfile

from hypothesis import settings

# a machine under load must not fail a test: pytest's own timeout bounds the time
settings.register_profile("robollm", deadline=None, print_blob=True)
settings.load_profile("robollm")

# workers of one run share the folder of the process that started them: it is in their environment
_OWN = "PYTEST_XDIST_WORKER" not in os.environ
if _OWN:
    os.environ["ROBOLLM_CACHE"] = tempfile.mkdtemp(prefix="robollm_cache_")


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    if _OWN:
        shutil.rmtree(os.environ["ROBOLLM_CACHE"], ignore_errors=True)
