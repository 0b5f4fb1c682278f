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


@pytest.fixture
def narrow_encoder(monkeypatch):
    """A narrow encoder takes the place of "tiny", where what is learned is not the question."""
    from robollm_core.beit3 import build
    from robollm_core.beit3.encoder import Encoder, EncoderShape

    def narrow(img_size, *, detection=False, drop_path=0.0):
        hw = (img_size, img_size)
        return Encoder(EncoderShape(2, 32, 2, 64, image_hw=hw, drop_path=drop_path))

    monkeypatch.setitem(build.SIZES, "tiny", narrow)
