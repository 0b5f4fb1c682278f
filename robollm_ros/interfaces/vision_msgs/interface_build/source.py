# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is to be built: the message files, and the installed packages they depend on."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import rosidl_pycommon

_DEPENDENCY_TAGS = ("depend", "build_depend", "build_export_depend", "exec_depend")


@dataclass(frozen=True)
class Source:
    """One message package.

    Attributes:
        root: folder with package.xml and msg/.
        package: name of the ROS package.
        messages: message files relative to `root`, sorted.
        prefix: where the ROS wheels put lib/, include/ and share/.
        dependencies: interface packages needed, direct and indirect, sorted.
    """

    root: Path
    package: str
    messages: tuple[Path, ...]
    prefix: Path
    dependencies: tuple[str, ...]


def read_source(root: Path) -> Source:
    """Read a package folder and look up its dependencies among the installed wheels.

    Args:
        root: folder with package.xml and msg/.

    Returns:
        The package.

    Raises:
        SystemExit: If there is no message, or a dependency is not installed.
    """
    # <prefix>/lib/python3.X/site-packages/rosidl_pycommon/__init__.py
    prefix = Path(rosidl_pycommon.__file__).resolve().parents[4]
    name = ElementTree.parse(root / "package.xml").getroot().findtext("name", "").strip()
    messages = tuple(sorted(path.relative_to(root) for path in root.glob("msg/*.msg")))
    if not messages:
        raise SystemExit(f"{root / 'msg'} must hold at least one .msg file and holds none.")
    return Source(root, name, messages, prefix, _dependencies(root / "package.xml", prefix))


def _dependencies(package_xml: Path, prefix: Path) -> tuple[str, ...]:
    interfaces = prefix / "share/ament_index/resource_index/rosidl_interfaces"
    found: set[str] = set()
    todo = [package_xml]
    while todo:
        described = todo.pop()
        for name in _named(described) - found:
            if (interfaces / name).exists():
                found.add(name)
                todo.append(prefix / "share" / name / "package.xml")
            elif described == package_xml:
                raise SystemExit(f"{name} is not installed below {prefix}; install its ROS wheel.")
    return tuple(sorted(found))


def _named(package_xml: Path) -> set[str]:
    root = ElementTree.parse(package_xml).getroot()
    elements = (element for tag in _DEPENDENCY_TAGS for element in root.findall(tag))
    return {element.text.strip() for element in elements if element.text}
