# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from robollm_core.synthetic import prints


def blank(height=80, width=120, level=60):
    return np.full((height, width, 3), level, np.uint8)


def runs(row):
    """Lengths of the dark and light runs of a row."""
    dark = row < 128
    edges = np.flatnonzero(np.diff(dark.astype(int)))
    return np.diff(edges)


def test_a_barcode_has_bars_a_quiet_zone_and_its_own_number():
    canvas = blank(80, 260)
    prints.barcode(canvas, (12, 34), (10, 10, 246, 70))
    row = canvas[30, :, 0]
    assert (canvas[12:60, 10:26] > 240).all()
    assert (canvas[12:60, 230:246] > 240).all()
    assert len(runs(row)) > 20
    other = blank(80, 260)
    prints.barcode(other, (12, 35), (10, 10, 246, 70))
    assert (other[30, :, 0] != row).any()
    assert (canvas[:10] == 60).all()
    assert (canvas[70:] == 60).all()


def test_nothing_is_drawn_outside_the_box():
    rng = np.random.default_rng(0)
    box = (20, 15, 100, 65)
    pieces = {
        "barcode": lambda c: prints.barcode(c, (1, 2), box),
        "table": lambda c: prints.nutrition_table(c, rng, box),
        "paragraph": lambda c: prints.paragraph(c, rng, box, (250, 250, 250)),
        "logo": lambda c: prints.logo(c, 3, box, (250, 0, 0)),
    }
    for name, draw in pieces.items():
        canvas = blank()
        draw(canvas)
        inside = np.zeros(canvas.shape[:2], bool)
        inside[15:65, 20:100] = True
        assert (canvas[~inside] == 60).all(), name
        assert (canvas[inside] != 60).any(), name


@pytest.mark.parametrize("piece", ["barcode", "table"])
def test_a_box_too_small_is_left_alone(piece):
    canvas = blank()
    if piece == "barcode":
        prints.barcode(canvas, (1, 2), (5, 5, 12, 60))
    else:
        prints.nutrition_table(canvas, np.random.default_rng(0), (5, 5, 15, 60))
    assert (canvas == 60).all()


def test_a_logo_belongs_to_its_brand():
    def drawn(seed):
        canvas = blank(64, 64, 255)
        prints.logo(canvas, seed, (0, 0, 64, 64), (10, 20, 120))
        return canvas.tobytes()

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(40)}) > 20


@pytest.mark.parametrize("size", [(6, 6), (40, 7), (120, 160)])
def test_photo_and_drawing_fill_any_window(size):
    for draw in (prints.photo, prints.drawing, prints.pattern):
        canvas = blank(*size)
        draw(canvas, np.random.default_rng(1), (220, 40, 40))
        assert canvas.shape == (*size, 3)
    canvas = blank(120, 160)
    prints.photo(canvas, np.random.default_rng(1), (220, 40, 40))
    assert canvas.std() > 5
