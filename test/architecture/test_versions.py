# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One version, said in four places."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import robollm_core

ROOT = Path(__file__).parents[2]


def test_package_xml_says_the_version_of_the_core() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.findtext("version") == robollm_core.__version__


def test_setup_py_says_the_version_of_the_core() -> None:
    answer = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split()[-1] == robollm_core.__version__


def test_changelog_begins_with_the_version_of_the_core() -> None:
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    # catkin's form: a heading such as "0.1.0 (2026-11-22)" or "0.1.0 (unreleased)"
    headings = re.findall(r"^(\d+\.\d+\.\d+) \((?:\d{4}-\d{2}-\d{2}|unreleased)\)\n-+$", text, re.M)
    assert headings[:1] == [robollm_core.__version__]
    assert headings == sorted(headings, key=lambda v: [int(p) for p in v.split(".")], reverse=True)
