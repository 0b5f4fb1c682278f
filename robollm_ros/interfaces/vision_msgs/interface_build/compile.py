# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles the generated sources and links libraries and Python extensions."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy

from interface_build.generate import TYPESUPPORTS
from interface_build.source import Source

_BASE = ("rosidl_runtime_c", "rcutils")
_RUNTIME_LIBRARIES = {
    "rosidl_generator_c": (),
    "rosidl_typesupport_c": ("rosidl_typesupport_c",),
    "rosidl_typesupport_fastrtps_c": (
        "rosidl_typesupport_fastrtps_c",
        "rosidl_typesupport_fastrtps_cpp",
        "fastcdr",
        "rmw",
    ),
    "rosidl_typesupport_introspection_c": ("rosidl_typesupport_introspection_c",),
    "rosidl_generator_py": (),
}
# a library links against those before it
_ORDER = (
    "rosidl_generator_c",
    *TYPESUPPORTS,
    "rosidl_typesupport_c",
    "rosidl_generator_py",
)


@dataclass(frozen=True)
class Toolchain:
    """The compilers and the flags of every source file."""

    cc: str
    cxx: str
    flags: tuple[str, ...]

    def compile(self, source: Path) -> Path:
        """Compile one C or C++ file; the object file lies beside it."""
        target = source.with_suffix(f"{source.suffix}.o")
        compiler = (self.cxx, "-std=c++17") if source.suffix == ".cpp" else (self.cc, "-std=gnu11")
        subprocess.check_call([*compiler, *self.flags, "-c", str(source), "-o", str(target)])
        return target

    def link(self, target: Path, objects: Sequence[Path], options: Sequence[str]) -> None:
        """Link a shared object; only libraries really used become its dependencies."""
        command = [self.cxx, "-shared", "-Wl,--as-needed", "-o", str(target)]
        subprocess.check_call([*command, *map(str, objects), *options, "-s"])


def compile_all(source: Source, out: Path, jobs: int) -> tuple[Path, ...]:
    """Compile and link everything that `generate` wrote.

    Args:
        source: the package.
        out: build folder; the libraries are put into `out/lib`.
        jobs: files compiled at a time.

    Returns:
        The Python extensions, inside `out/rosidl_generator_py/<package>`.

    Raises:
        SystemExit: If there is no compiler.
    """
    toolchain = _toolchain(source, out)
    units = {name: _unit(source, out, name) for name in _ORDER}
    modules = _module_sources(source, out)
    sources = [path for unit in units.values() for path in unit] + list(modules.values())
    with ThreadPoolExecutor(jobs) as pool:
        objects = dict(zip(sources, pool.map(toolchain.compile, sources), strict=True))
    (out / "lib").mkdir(exist_ok=True)
    for name in _ORDER:
        library = out / "lib" / f"lib{source.package}__{name}.so"
        options = [f"-Wl,-soname,{library.name}", *_link_options(source, out, name)]
        toolchain.link(library, [objects[path] for path in units[name]], options)
    return tuple(
        _link_module(source, out, toolchain, name, objects[path]) for name, path in modules.items()
    )


def _toolchain(source: Source, out: Path) -> Toolchain:
    cc, cxx = os.environ.get("CC", "gcc"), os.environ.get("CXX", "g++")
    for compiler in (cc, cxx):
        if not shutil.which(compiler.split()[0]):
            raise SystemExit(
                f"{compiler} is needed to build {source.package} and is not installed. "
                "Install it with: sudo apt install gcc g++ python3-dev"
            )
    python_headers = Path(sysconfig.get_paths()["include"])
    if not (python_headers / "Python.h").exists():
        raise SystemExit(
            f"{python_headers / 'Python.h'} is needed to build {source.package} and is not "
            "there. Install it with: sudo apt install python3-dev"
        )
    installed = source.prefix / "include"
    packages = (p for p in sorted(installed.iterdir()) if p.is_dir() and "python" not in p.name)
    folders = [*(out / name for name in _ORDER), *packages, installed, python_headers]
    flags = ["-fPIC", "-w", "-O2", f'-DROS_PACKAGE_NAME="{source.package}"']
    flags += [f"-D{name.upper()}_BUILDING_DLL_{source.package}" for name in _ORDER]
    flags += [f"-I{folder}" for folder in [*folders, numpy.get_include()]]
    return Toolchain(cc, cxx, tuple(flags))


def _unit(source: Source, out: Path, name: str) -> list[Path]:
    folder = out / name / source.package
    if name == "rosidl_generator_py":
        return sorted(folder.rglob("*_s.c"))
    return sorted([*folder.rglob("*.c"), *folder.rglob("*.cpp")])


def _module_sources(source: Source, out: Path) -> dict[str, Path]:
    folder = out / "rosidl_generator_py" / source.package
    names = (*TYPESUPPORTS, "rosidl_typesupport_c")
    return {name: folder / f"_{source.package}_s.ep.{name}.c" for name in names}


def _link_options(source: Source, out: Path, name: str) -> list[str]:
    own = [] if name == "rosidl_generator_c" else ["rosidl_generator_c"]
    if name == "rosidl_generator_py":
        own.append("rosidl_typesupport_c")
    libraries = [f"{source.package}__{other}" for other in own]
    for other in dict.fromkeys((name, "rosidl_generator_c")):
        libraries += [f"{dependency}__{other}" for dependency in source.dependencies]
    return _flags(source, out, [*libraries, *_RUNTIME_LIBRARIES[name], *_BASE])


def _link_module(
    source: Source, out: Path, toolchain: Toolchain, name: str, compiled: Path
) -> Path:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    folder = out / "rosidl_generator_py" / source.package
    target = folder / f"{source.package}_s__{name}{suffix}"
    own = ("rosidl_generator_py", name, "rosidl_typesupport_c", "rosidl_generator_c")
    libraries = [f"{source.package}__{other}" for other in dict.fromkeys(own)]
    toolchain.link(target, [compiled], _flags(source, out, [*libraries, "rmw", *_BASE]))
    return target


def _flags(source: Source, out: Path, libraries: Sequence[str]) -> list[str]:
    installed = source.prefix / "lib"
    folders = [f"-L{out / 'lib'}", f"-L{installed}", f"-Wl,-rpath-link,{installed}"]
    return [*folders, *(f"-l{library}" for library in libraries)]
