# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The types our TensorRT code is checked with are those of NVIDIA's real bindings.

The stubs in fixtures/tensorrt_stubs were read from the compiled bindings of
TensorRT 10.3 (Jetson), 10.16, 11.4 and TensorRT-RTX. That names and signatures
agree says nothing about what the functions do: that takes a GPU.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import make_tensorrt_stubs as stubs
import pytest

ROOT = Path(__file__).parents[3]
FLAVOURS = sorted(path.stem for path in stubs.STUBS.glob("*.pyi"))


def snippet(flavour):
    """A program that is well typed when the bindings do what the protocols say."""
    rtx = flavour == "tensorrt_rtx"
    module = "TargetedBindings" if rtx else "Bindings"
    lines = [
        f"import {flavour} as real",
        "from robollm_core.runtime import tensorrt_api as api",
        f"bindings: api.{module} = real",
    ]
    for protocol, name in stubs.CLASSES.items():
        if name and (rtx or protocol not in stubs.RTX_ALONE):
            # an enumeration is used as a class, anything else as an object
            kind = f"type[real.{name}]" if protocol in ENUMERATIONS else f"real.{name}"
            lines.append(f"def as_{protocol}(x: {kind}) -> api.{protocol}: return x")
    for name in ("LayerType", "TensorIOMode"):
        lines.append(f"def as_{name}(x: real.{name}) -> api.Named: return x")
    # a check that finds nothing wrong anywhere would be reported here
    lines.append("def no(x: real.ILayer) -> api.Context: return x  # type: ignore[return-value]")
    return "\n".join(lines) + "\n"


ENUMERATIONS = (
    "AllocationStrategies BuilderFlags CreationFlags KernelStrategies MemoryPools"
).split()


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Run mypy over all flavours at once; its complaints by flavour."""
    folder = tmp_path_factory.mktemp("typed")
    files = []
    for flavour in FLAVOURS:
        files.append(folder / f"use_{flavour}.py")
        files[-1].write_text(snippet(flavour))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache")]
    done = subprocess.run(
        [*command, "--config-file", os.devnull, *map(str, files)],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": f"{ROOT}{os.pathsep}{stubs.STUBS}"},
        cwd=folder,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_our_types_are_those_of_the_bindings(mypy, flavour):
    ours = [line for line in mypy.splitlines() if f"use_{flavour}.py" in line]
    assert not ours, "\n".join(ours)


def test_four_generations_are_covered():
    assert FLAVOURS == ["tensorrt_10_16", "tensorrt_10_3", "tensorrt_11_4", "tensorrt_rtx"]


def test_every_protocol_is_held_against_a_class():
    tree = ast.parse(stubs.API.read_text())
    assert {x.name for x in tree.body if isinstance(x, ast.ClassDef)} == set(stubs.CLASSES)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_name_in_use_is_in_the_stubs(flavour):
    tree = ast.parse((stubs.STUBS / f"{flavour}.pyi").read_text())
    found = {x.name: ast.dump(x) for x in tree.body if isinstance(x, ast.ClassDef)}
    rtx_alone = {"ComputeCapability", *(stubs.CLASSES[x] for x in stubs.RTX_ALONE)}
    rtx_alone -= {"ICudaEngine", "IBuilderConfig"}
    rtx_members = {
        "num_compute_capabilities",
        "set_compute_capability",
        "create_runtime_config",
    }
    for name, members in stubs.members().items():
        if flavour != "tensorrt_rtx":
            if name in rtx_alone:
                continue
            members -= rtx_members
        missing = [x for x in members - {"__init__"} if f"'{x}'" not in found[name]]
        assert not missing, f"{flavour}: {name} lacks {missing}"


def test_the_installed_bindings_have_every_name_in_use():
    real = pytest.importorskip("tensorrt_rtx_bindings")
    for name, members in stubs.members().items():
        missing = [member for member in members if not hasattr(getattr(real, name), member)]
        assert not missing, f"{name} lacks {missing}"
