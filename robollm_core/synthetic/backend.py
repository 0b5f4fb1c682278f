# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The one door to MuJoCo: which graphics library it draws with, and what is missing."""

import importlib
import os
from functools import cache
from pathlib import Path
from types import ModuleType

from robollm_core.errors import DependencyError


@cache
def load_mujoco() -> ModuleType:
    """Import MuJoCo with an off-screen backend chosen; MUJOCO_GL overrides the choice.

    Raises:
        DependencyError: If MuJoCo or the graphics library it draws with is missing.
    """
    has_gpu = Path("/dev/nvidia0").exists() or bool(list(Path("/dev").glob("dri/renderD*")))
    os.environ.setdefault("MUJOCO_GL", "egl" if has_gpu else "osmesa")
    backend = os.environ["MUJOCO_GL"]
    os.environ.setdefault("PYOPENGL_PLATFORM", backend)
    # one worker process a core is faster than many threads a worker, and as exact
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        return importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"The simulator needs {error.name}: run `pip install mujoco`."
        ) from error
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        raise DependencyError(
            f"MuJoCo cannot draw with MUJOCO_GL={backend} ({error}). On a machine without a GPU "
            "run `apt-get install libosmesa6` and leave MUJOCO_GL unset."
        ) from error
