# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The one door to MuJoCo: which graphics library it draws with, and what is missing."""

import importlib
import os
from functools import cache
from pathlib import Path
from types import ModuleType

from robollm_core.errors import DependencyError


def chosen_backend() -> str:
    """What MuJoCo draws with: MUJOCO_GL where it is set, else EGL with a GPU, OSMesa without."""
    has_gpu = Path("/dev/nvidia0").exists() or bool(list(Path("/dev").glob("dri/renderD*")))
    return os.environ.get("MUJOCO_GL") or ("egl" if has_gpu else "osmesa")


def debian_package(backend: str) -> str:
    """The Debian package of the library that a backend draws with."""
    return "libegl1" if backend == "egl" else "libosmesa6"


@cache
def load_mujoco() -> ModuleType:
    """Import MuJoCo with an off-screen backend chosen; MUJOCO_GL overrides the choice.

    Raises:
        DependencyError: If MuJoCo or the graphics library it draws with is missing.
    """
    backend = os.environ["MUJOCO_GL"] = chosen_backend()
    os.environ.setdefault("PYOPENGL_PLATFORM", backend)
    # one worker process a core is faster than many threads a worker, and as exact
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        mujoco = importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"The simulator needs {error.name}: run `pip install mujoco`."
        ) from error
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        raise DependencyError(
            f"MuJoCo cannot draw with MUJOCO_GL={backend} ({error}). Run `apt-get install "
            f"{debian_package(backend)}`; on a machine without a GPU leave MUJOCO_GL unset."
        ) from error
    # MuJoCo chooses once, at its first import; with another choice than ours it would not raise
    # but end the process at the first picture
    drawn_by = mujoco.GLContext.__module__.rpartition(".")[2]
    if drawn_by != backend:
        raise DependencyError(
            f"MuJoCo was imported before the simulator and draws with {drawn_by}, not with "
            f"{backend}: set MUJOCO_GL={backend} before the first `import mujoco`."
        )
    return mujoco
