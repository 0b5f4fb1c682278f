# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a robot cell runs can neither be made to run foreign code nor to call elsewhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("robollm_ros", "robollm_core")

# modules that make code out of data, or open doors to the network
FORBIDDEN_MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pty",
    "ftplib", "smtplib", "telnetlib", "imaplib", "poplib", "xmlrpc", "socketserver", "requests",
    "httpx", "urllib3", "urllib.request", "http.client", "http.server", "wsgiref", "code",
    "codeop", "websockets", "zmq", "paramiko",
}  # fmt: skip
# may be used in these files alone, for what is said
ALLOWED_MODULES: dict[str, dict[str, str]] = {
    "aiohttp": {"robollm_ros/view_server.py": "serves the live view"},
    "asyncio": {"robollm_ros/view_server.py": "serves the live view"},
    "socket": {"robollm_ros/view_server.py": "asks for the name of this machine, opens none"},
    # always a list of words, the first of which is this Python
    "subprocess": {
        "robollm_core/cli/doctor_graph.py": "asks the graph in a process that has ROS",
        "robollm_core/runtime/tensorrt_cache.py": "builds an engine where a crash does no harm",
        "robollm_ros/sim_render.py": "renders the simulated cell",
    },
    "multiprocessing": {},
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
FORBIDDEN_CALLS = {
    "os.system", "os.popen", "os.startfile", "os.fork", "os.forkpty", "asyncio.open_connection",
    "asyncio.create_subprocess_shell", "asyncio.create_subprocess_exec", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "socket.create_connection",
    "socket.create_server", "socket.socket", "numpy.fromregex", "subprocess.getoutput",
    "subprocess.getstatusoutput", "code.interact",
}  # fmt: skip
OF_OS = ("os.exec", "os.spawn", "os.posix_spawn")


def module_file(name: str) -> Path | None:
    """The file of a module of this project; None for any other."""
    if name.partition(".")[0] not in PACKAGES:
        return None
    path = ROOT / name.replace(".", "/")
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            return found
    return None


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, in functions too; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def robot_files() -> list[Path]:
    """The programs of a robot cell, and all of the core that they can come to import."""
    waiting = list((ROOT / "robollm_ros").glob("*.py"))
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        waiting += [file for name in imported(tree) if (file := module_file(name)) is not None]
    return sorted(found)


def dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """The full name of what is called, as far as the file tells; "" for a computed one."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        start = dotted(node.value, aliases)
        return f"{start}.{node.attr}" if start else ""
    return ""


def aliases_of(tree: ast.AST) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def call_fault(node: ast.Call, aliases: dict[str, str]) -> str:
    """What is wrong with a call; "" for nothing."""
    name = dotted(node.func, aliases)
    said = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
    if name in FORBIDDEN_NAMES or name in FORBIDDEN_CALLS or name.startswith(OF_OS):
        return name
    if said.get("shell", "False") != "False":
        return f"{name}(shell=...)"
    if said.get("allow_pickle", "False") != "False":
        return f"{name}(allow_pickle=...)"
    if name == "torch.load" and said.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    return ""


def faults(source: str, path: str) -> Iterator[str]:
    tree = ast.parse(source)
    for name in imported(tree):
        top = name.partition(".")[0]
        if name in FORBIDDEN_MODULES or top in FORBIDDEN_MODULES:
            yield f"imports {name}"
        if top in ALLOWED_MODULES and path not in ALLOWED_MODULES[top]:
            yield f"imports {name}"
    aliases = aliases_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (fault := call_fault(node, aliases)):
            yield f"line {node.lineno}: {fault}"


def test_the_files_of_a_robot_cell_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in robot_files()}
    assert names >= {
        "robollm_ros/perception_node.py", "robollm_core/cell.py", "robollm_core/pipeline.py",
        "robollm_core/runtime/onnx.py", "robollm_core/identification/gallery.py",
        "robollm_core/manifests.py", "robollm_core/data/bag.py",
    }  # fmt: skip
    assert len(names) > 60


@pytest.mark.parametrize("path", robot_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_robot_cell_runs_no_foreign_code_and_calls_nobody(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    assert sorted(set(faults(path.read_text(encoding="utf-8"), name))) == []


def test_every_exception_is_still_needed() -> None:
    used = {
        (name.partition(".")[0], str(path.relative_to(ROOT)))
        for path in robot_files()
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
    }
    allowed = {(module, path) for module, paths in ALLOWED_MODULES.items() for path in paths}
    assert allowed <= used


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import pickle", "imports pickle"),
        ("def f():\n    from pickle import loads", "imports pickle"),
        ("from urllib.request import urlopen", "imports urllib.request"),
        ("import socket", "imports socket"),
        ("import aiohttp", "imports aiohttp"),
        ("import subprocess", "imports subprocess"),
        ("eval('1')", "line 1: eval"),
        ("import os\nos.system('ls')", "line 2: os.system"),
        ("from os import system as run\nrun('ls')", "line 2: os.system"),
        ("import os\nos.execv('x', [])", "line 2: os.execv"),
        ("run(words, shell=True)", "line 1: run(shell=...)"),
        ("run(words, shell=how)", "line 1: run(shell=...)"),
        ("import yaml\nyaml.load(text)", "line 2: yaml.load"),
        (
            "import numpy as np\nnp.load(f, allow_pickle=True)",
            "line 2: numpy.load(allow_pickle=...)",
        ),
        ("import torch\ntorch.load(f)", "line 2: torch.load without weights_only=True"),
    ],
)
def test_the_faults_are_noticed(source: str, fault: str) -> None:
    assert fault in list(faults(source, "robollm_ros/some.py"))


def test_what_is_harmless_is_left_alone() -> None:
    source = "import re\nre.compile('x')\nimport torch\ntorch.load(f, weights_only=True)\nx.eval()"
    assert list(faults(source, "robollm_ros/some.py")) == []
