# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Real processes on a private ROS domain, around networks written by hand."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

from ros_domain import lend_domain


@pytest.fixture
def domain():
    """A ROS domain that no other test on this machine uses while this one runs."""
    with lend_domain() as number:
        yield number


@pytest.fixture
def programs(domain):
    """Starts programs that do not outlive the test."""
    from ros_programs import Programs

    running = Programs(domain)
    yield running
    running.kill()


@pytest.fixture(scope="session")
def cell(tmp_path_factory):
    """A folder with stand-in networks, references and a bag; and the parameters for it."""
    pytest.importorskip("onnx", reason="the stand-in networks need onnx")
    import colour_cell

    folder = tmp_path_factory.mktemp("cell")
    settings = colour_cell.write_cell(folder)
    colour_cell.write_bag(folder / "jpeg.mcap", frames=6)
    colour_cell.write_bag(folder / "raw.mcap", frames=6, raw=True)
    return folder, {**settings, "identification.reference_root": str(folder)}
