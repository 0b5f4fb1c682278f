# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from robollm_core.synthetic.lettering import FACES, blend, put_text, text_mask


def test_every_face_inks_and_no_two_are_alike():
    masks = [text_mask("Robo 7", face, 56) for face in range(FACES)]
    for mask in masks:
        assert mask.dtype == np.uint8
        assert 0.05 < (mask > 127).mean() < 0.7
    pictures = {(mask.shape, mask.tobytes()) for mask in masks}
    assert len(pictures) == FACES == 12


def test_letters_differ():
    assert text_mask("A", 0, 56).tobytes() != text_mask("B", 0, 56).tobytes()


@pytest.mark.parametrize("face", range(FACES))
@pytest.mark.parametrize("align", [0.0, 0.5, 1.0])
def test_text_stays_inside_its_box(face, align):
    canvas = np.zeros((60, 200, 3), np.uint8)
    x0, y0, x1, y1 = put_text(canvas, "Lemon", face, (30, 10, 170, 50), (255, 200, 100), align)
    inked = np.argwhere(canvas.any(axis=2))
    assert len(inked)
    assert (inked.min(axis=0) >= (10, 30)).all()
    assert (inked.max(axis=0) < (50, 170)).all()
    assert (inked.min(axis=0) >= (y0, x0)).all()
    assert (inked.max(axis=0) < (y1, x1)).all()


def test_text_fills_its_box_in_one_direction():
    canvas = np.zeros((60, 400, 3), np.uint8)
    x0, y0, x1, y1 = put_text(canvas, "Hi", 1, (0, 0, 400, 60), (255, 255, 255))
    assert y1 - y0 == 60
    assert 20 < x1 - x0 < 400


@pytest.mark.parametrize("box", [(0, 0, 2, 50), (0, 0, 50, 2), (10, 10, 5, 20)])
def test_a_box_too_small_is_left_alone(box):
    canvas = np.full((50, 50, 3), 7, np.uint8)
    put_text(canvas, "text", 0, box, (255, 255, 255))
    assert (canvas == 7).all()


def test_blend_mixes_and_clips():
    canvas = np.full((4, 4, 3), 100, np.uint8)
    mask = np.array([[255, 0], [0, 128]], np.uint8)
    blend(canvas, mask, (-1, -1), (200, 0, 100))
    assert canvas[0, 0].tolist() == [150, 50, 100]  # half covered, only that pixel is inside
    assert (canvas.reshape(-1, 3)[1:] == 100).all()
    blend(canvas, mask, (9, 9), (200, 0, 100))
    assert (canvas.reshape(-1, 3)[1:] == 100).all()
