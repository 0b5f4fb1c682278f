# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from types import SimpleNamespace

import pytest

from robollm_core.errors import DependencyError
from robollm_core.synthetic import backend


def drawing_with(name):
    """A module like MuJoCo, imported with this way of drawing."""
    return SimpleNamespace(GLContext=type("GLContext", (), {"__module__": f"mujoco.{name}"}))


def test_a_missing_graphics_library_names_the_package(monkeypatch):
    def broken(name):
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    monkeypatch.setattr(backend.importlib, "import_module", broken)
    for name, package in (("osmesa", "libosmesa6"), ("egl", "libegl1")):
        monkeypatch.setenv("MUJOCO_GL", name)
        with pytest.raises(DependencyError, match=package):
            backend.load_mujoco.__wrapped__()


@pytest.mark.parametrize(("gpu", "name"), [(True, "egl"), (False, "osmesa")])
def test_a_gpu_decides_where_nothing_is_said(monkeypatch, gpu, name):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(backend.Path, "exists", lambda path: gpu)
    monkeypatch.setattr(backend.Path, "glob", lambda path, pattern: iter(()))
    assert backend.chosen_backend() == name


def test_a_missing_mujoco_names_the_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")

    monkeypatch.setattr(backend.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match="pip install mujoco"):
        backend.load_mujoco.__wrapped__()


def test_the_chosen_backend_is_left_alone(monkeypatch):
    mujoco = drawing_with("glfw")
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setattr(backend.importlib, "import_module", lambda name: mujoco)
    assert backend.load_mujoco.__wrapped__() is mujoco
    assert backend.os.environ["MUJOCO_GL"] == "glfw"


def test_a_mujoco_imported_before_is_refused_and_not_crashed_into():
    code = (
        "import os; os.environ.pop('MUJOCO_GL', None); import mujoco\n"
        "from robollm_core.errors import DependencyError\n"
        "from robollm_core.synthetic.backend import load_mujoco\n"
        "os.environ['MUJOCO_GL'] = 'osmesa'\n"
        "try: load_mujoco()\n"
        "except DependencyError as error: print(error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "draws with glfw, not with osmesa" in told
    assert "MUJOCO_GL=osmesa" in told
