# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Makes test/fixtures importable, and lends a cell of stand-in networks."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))


@pytest.fixture(scope="session")
def cell_settings(tmp_path_factory):
    """Settings (dotted name to text) of a cell of stand-in networks."""
    pytest.importorskip("onnx")
    import colour_cell

    return colour_cell.write_cell(tmp_path_factory.mktemp("cell"))


@pytest.fixture(autouse=True)
def denormal_numbers():
    """A training on the CPU rounds tiny numbers to zero, for the whole process; undo it."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)
