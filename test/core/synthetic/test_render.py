# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from robollm_core.errors import ShapeError
from robollm_core.synthetic.meshes import cube_grid, make_mesh
from robollm_core.synthetic.products import make_catalogue
from robollm_core.synthetic.render import Camera, Light, Placement, Renderer, Skin
from robollm_core.synthetic.scene import TOTE_INSTANCE, build_tote, make_stock

SIZE = (120, 160)
CAMERA = Camera((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), fovy_deg=40.0)
LAMP = Light((0.2, 0.1, 2.0), (-0.1, -0.05, -1.0))


def brick(dims=(0.2, 0.1, 0.05), colour=(200, 60, 30)):
    texture = np.full((16, 16, 3), colour, np.uint8)
    return Skin(cube_grid(dims, {"front": (0.0, 0.0, 1.0, 1.0)}), texture)


def at(skin, x, y, z, instance, turn=None):
    return Placement(
        skin, np.array((x, y, z)), np.eye(3) if turn is None else turn, (1, 1, 1), instance
    )


def turned(angle):
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([(cosine, -sine, 0), (sine, cosine, 0), (0, 0, 1)])


def outline(skin, placement, size=SIZE):
    """Pixels of the convex hull of the projection, worked out without the renderer."""
    points = skin.mesh.vertices @ placement.rotation.T + placement.position_m
    focal = size[0] / 2 / np.tan(np.radians(20.0))
    depth = 1.0 - points[:, 2]
    pixels = np.stack([size[1] / 2 + focal * points[:, 0] / depth,
                       size[0] / 2 - focal * points[:, 1] / depth], -1)  # fmt: skip
    hull = cv2.convexHull(pixels.astype(np.float32)).reshape(-1, 2).astype(float)
    along = np.roll(hull, -1, axis=0) - hull
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    sides = [a * (y - p[1]) - b * (x - p[0]) for p, (a, b) in zip(hull, along, strict=True)]
    return (np.stack(sides) >= 0).all(axis=0) | (np.stack(sides) <= 0).all(axis=0)


def overlap(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_a_brick_covers_the_pixels_geometry_says():
    skins = [brick()]
    placement = at(0, 0.03, -0.05, 0.02, 7, turned(0.4))
    with Renderer(skins, SIZE) as renderer:
        seen = renderer.render([placement], CAMERA, [LAMP])
        assert set(np.unique(seen.instances)) == {-1, 7}
        truth = outline(skins[0], placement)
        assert overlap(seen.instances == 7, truth) > 0.985
        middle = seen.depth_m[seen.instances == 7].min()
        assert middle == pytest.approx(1.0 - 0.045, abs=1e-3)
        count = renderer.silhouette_px(placement, CAMERA)
        assert count == np.count_nonzero(seen.instances == 7)


def test_silhouettes_count_what_is_outside_the_picture_and_hidden():
    skins = [brick((0.3, 0.3, 0.02))]
    below, above = at(0, 0.35, 0.0, 0.0, 0), at(0, 0.35, 0.0, 0.1, 1)
    with Renderer(skins, SIZE) as renderer:
        seen = renderer.render([below, above], CAMERA, [LAMP])
        whole = renderer.silhouette_px(at(0, 0.0, 0.0, 0.0, 0), CAMERA)
        assert np.count_nonzero(seen.instances == 0) < 0.1 * whole
        assert renderer.silhouette_px(below, CAMERA) == pytest.approx(whole, rel=0.08)
        behind = at(0, 0.0, 0.0, 2.0, 0)
        assert renderer.silhouette_px(behind, CAMERA) == 0


def test_meshes_stay_where_they_are_put_although_off_centre():
    """MuJoCo moves meshes to their principal axes; the renderer must undo that."""
    lopsided = make_mesh(
        np.array([(0.0, 0, 0), (0.3, 0, 0), (0, 0.05, 0), (0, 0, 0.1)]),
        np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]),
        np.full((4, 2), 0.5),
    )
    skin = Skin(lopsided, np.full((8, 8, 3), 200, np.uint8))
    placement = at(0, -0.1, 0.05, 0.0, 3, turned(-0.7))
    with Renderer([skin], SIZE) as renderer:
        seen = renderer.render([placement], CAMERA, [LAMP])
    assert overlap(seen.instances == 3, outline(skin, placement)) > 0.95


def test_instances_are_the_nearest_surface():
    """Every scene pixel belongs to what is nearest when each thing is drawn alone."""
    stock = make_stock(np.random.default_rng(1), make_catalogue("val", 0, 12))
    scene = build_tote(np.random.default_rng(11), stock)
    assert len(scene.items) >= 5
    with Renderer(stock.skins, (240, 320)) as renderer:
        seen = renderer.render(scene.placements, scene.camera, scene.lights)
        depths = [
            renderer.render([placement], scene.camera, [LAMP]).depth_m
            for placement in scene.placements
        ]
    nearest = np.stack(depths).argmin(axis=0)
    names = np.array([placement.instance for placement in scene.placements])[nearest]
    names[np.stack(depths).min(axis=0) > 7.0] = -1
    assert np.mean(names == seen.instances) > 0.99
    assert (seen.instances == TOTE_INSTANCE).any()


def test_the_texture_is_upright_and_colours_are_rgb():
    texture = np.zeros((40, 40, 3), np.uint8)
    texture[:20, :20], texture[:20, 20:], texture[20:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    skin = Skin(cube_grid((0.4, 0.4, 0.02), {"front": (0.0, 0.0, 1.0, 1.0)}), texture, 0.0)
    with Renderer([skin], SIZE) as renderer:
        image = renderer.render([at(0, 0, 0, 0, 0)], CAMERA, [LAMP]).image_rgb
    spots = image[40, 60], image[40, 100], image[80, 80]
    assert [int(spot.argmax()) for spot in spots] == [0, 1, 2]
    assert all(int(spot.max()) > 80 for spot in spots)


def test_shadows_darken_but_never_blacken():
    skins = [brick((0.8, 0.8, 0.02), (200, 200, 200)), brick((0.1, 0.1, 0.02))]
    things = [at(0, 0, 0, -0.01, 0), at(1, 0, 0, 0.2, 1)]
    lamp = Light((0.6, 0.0, 1.5), (-0.6, 0.0, -1.5))
    with Renderer(skins, SIZE) as renderer:
        lit = renderer.render(things[:1], CAMERA, [lamp]).image_rgb.astype(int)
        shaded = renderer.render(things, CAMERA, [lamp])
    floor = shaded.instances == 0
    drop = (lit - shaded.image_rgb).max(axis=2)
    assert np.count_nonzero((drop > 30) & floor) > 100
    assert shaded.image_rgb[floor].max(axis=1).min() > 20


def test_soft_shadows_differ_from_hard_ones_at_their_edge_only():
    skins = [brick((0.8, 0.8, 0.02), (200, 200, 200)), brick((0.1, 0.1, 0.02))]
    things = [at(0, 0, 0, -0.01, 0), at(1, 0, 0, 0.2, 1)]
    lamp = Light((0.6, 0.0, 1.5), (-0.6, 0.0, -1.5))
    with Renderer(skins, SIZE) as renderer:
        hard = renderer.render(things, CAMERA, [lamp])
        soft = renderer.render(things, CAMERA, [lamp], soft_px=4.0)
    np.testing.assert_array_equal(hard.instances, soft.instances)
    change = np.abs(hard.image_rgb.astype(int) - soft.image_rgb).max(axis=2)
    assert 50 < np.count_nonzero(change > 15) < 0.08 * change.size


def test_the_same_scene_gives_the_same_bytes():
    placement = at(0, 0.03, -0.05, 0.02, 7, turned(0.4))
    images = []
    for _ in range(2):
        with Renderer([brick()], SIZE) as renderer:
            images.append(renderer.render([placement], CAMERA, [LAMP]).image_rgb.tobytes())
    assert images[0] == images[1]


def test_bad_skins_are_refused():
    with pytest.raises(ShapeError, match="at least one"):
        Renderer([], SIZE)
    grey = Skin(brick().mesh, np.zeros((8, 8), np.uint8))
    with pytest.raises(ShapeError, match="skin 0"):
        Renderer([grey], SIZE)


def test_too_many_placements_are_refused():
    with Renderer([brick()], SIZE) as renderer, pytest.raises(ShapeError, match="400"):
        renderer.render([at(0, 0, 0, 0, 0)] * 401, CAMERA, [LAMP])
