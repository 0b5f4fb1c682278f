# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Says where each built file goes below the prefix, as ROS tools expect it."""

from pathlib import Path

from interface_build.generate import TYPESUPPORTS
from interface_build.source import Source

DataFiles = list[tuple[str, list[str]]]


def data_files(source: Source, out: Path) -> DataFiles:
    """List what goes into lib/, share/ and include/ of the prefix.

    Args:
        source: the package.
        out: build folder after `generate` and `compile_all`.

    Returns:
        (folder relative to the prefix, files) pairs, as setuptools takes them.
    """
    share = f"share/{source.package}"
    return [
        ("lib", sorted(str(path) for path in (out / "lib").glob("*.so"))),
        (share, [str(source.root / "package.xml")]),
        (f"{share}/msg", _interface_files(source, out)),
        *_index(source, out),
        *_headers(source, out),
    ]


def _interface_files(source: Source, out: Path) -> list[str]:
    idls = out / "rosidl_adapter" / source.package
    hashes = out / "rosidl_generator_type_description" / source.package
    return [
        *(str(source.root / message) for message in source.messages),
        *(str(idls / message.with_suffix(".idl")) for message in source.messages),
        *(str(hashes / message.with_suffix(".json")) for message in source.messages),
    ]


def _index(source: Source, out: Path) -> DataFiles:
    names = [
        message.with_suffix(suffix).as_posix()
        for suffix in (".msg", ".idl", ".json")
        for message in source.messages
    ]
    markers = {
        "packages": "",
        "package_run_dependencies": ";".join(source.dependencies),
        "parent_prefix_path": "",
        "rosidl_interfaces": "\n".join(names),
    }
    listed: DataFiles = []
    for kind, text in markers.items():
        path = out / "ament_index" / kind / source.package
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        listed.append((f"share/ament_index/resource_index/{kind}", [str(path)]))
    return listed


def _headers(source: Source, out: Path) -> DataFiles:
    """Headers, so that other interface packages and C nodes can build on this one."""
    grouped: dict[str, list[str]] = {}
    for generator in ("rosidl_generator_c", *TYPESUPPORTS):
        root = out / generator / source.package
        for header in sorted(root.rglob("*.h")):
            folder = f"include/{source.package}/{source.package}/{header.relative_to(root).parent}"
            grouped.setdefault(folder, []).append(str(header))
    return sorted(grouped.items())
