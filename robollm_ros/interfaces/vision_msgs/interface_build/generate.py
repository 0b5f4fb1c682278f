# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the rosidl generators: message text to IDL, type hashes, C and Python sources.

The calls and their argument files are those that ROS's CMake macro
`rosidl_generate_interfaces` makes.
"""

import json
from pathlib import Path
from typing import Any

import rosidl_typesupport_c
import rosidl_typesupport_fastrtps_c
import rosidl_typesupport_introspection_c
from rosidl_adapter import convert_to_idl
from rosidl_generator_c import generate_c
from rosidl_generator_py import generate_py
from rosidl_generator_type_description import generate_type_hash

from interface_build.source import Source

TYPESUPPORTS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")


def generate(source: Source, out: Path) -> None:
    """Write every generated file below `out/<generator>/<package>`.

    Args:
        source: the package.
        out: build folder; it is created.
    """
    idl_root = out / "rosidl_adapter" / source.package
    for message in source.messages:
        convert_to_idl(source.root, source.package, message, idl_root)
    share = source.prefix / "share"
    includes = [f"{name}:{share / name}" for name in source.dependencies]
    generate_type_hash(
        _arguments(source, out, "rosidl_generator_type_description", include_paths=includes)
    )
    _generate_c(source, out)
    _generate_python(source, out)


def _generate_c(source: Source, out: Path) -> None:
    hashes = out / "rosidl_generator_type_description" / source.package
    files = [str(source.root / message) for message in source.messages]
    descriptions = [
        f"{message.with_suffix('.idl').as_posix()}:{hashes / message.with_suffix('.json')}"
        for message in source.messages
    ]
    generate_c(
        _arguments(
            source,
            out,
            "rosidl_generator_c",
            ros_interface_files=files,
            type_description_tuples=descriptions,
        )
    )
    rosidl_typesupport_c.generate_c(
        _arguments(source, out, "rosidl_typesupport_c"), list(TYPESUPPORTS)
    )
    rosidl_typesupport_fastrtps_c.generate_typesupport_fastrtps_c(
        _arguments(source, out, "rosidl_typesupport_fastrtps_c")
    )
    rosidl_typesupport_introspection_c.generate_c(
        _arguments(source, out, "rosidl_typesupport_introspection_c")
    )


def _generate_python(source: Source, out: Path) -> None:
    arguments = _arguments(source, out, "rosidl_generator_py")
    package = out / "rosidl_generator_py" / source.package
    (package / "msg").mkdir(parents=True, exist_ok=True)
    generate_py(arguments, [*TYPESUPPORTS, "rosidl_typesupport_c"])
    (package / "__init__.py").touch()


def _arguments(source: Source, out: Path, generator: str, **extra: Any) -> str:
    """Write the argument file of one generator and return its path."""
    share = source.prefix / "share"
    target = out / generator / source.package
    target.mkdir(parents=True, exist_ok=True)
    idl_root = out / "rosidl_adapter" / source.package
    arguments = {
        "package_name": source.package,
        "output_dir": str(target),
        "idl_tuples": [f"{idl_root}:{m.with_suffix('.idl').as_posix()}" for m in source.messages],
        "template_dir": str(share / generator / "resource"),
        "ros_interface_dependencies": [
            f"{name}:{idl}"
            for name in source.dependencies
            for idl in sorted((share / name).glob("*/*.idl"))
        ],
        "target_dependencies": [],
        **extra,
    }
    _write_visibility_header(source, share / generator / "resource", target)
    path = out / f"{generator}__arguments.json"
    path.write_text(json.dumps(arguments), encoding="utf-8")
    return str(path)


def _write_visibility_header(source: Source, templates: Path, target: Path) -> None:
    """Fill in the header that CMake's configure_file would fill in, where there is one."""
    for template in templates.glob("*__visibility_control.h.in"):
        text = template.read_text(encoding="utf-8")
        text = text.replace("@PROJECT_NAME_UPPER@", source.package.upper())
        text = text.replace("@PROJECT_NAME@", source.package)
        (target / "msg").mkdir(exist_ok=True)
        (target / "msg" / template.name.removesuffix(".in")).write_text(text, encoding="utf-8")
