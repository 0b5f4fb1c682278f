# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robollm_core.synthetic.grips import grip, gripper, lay
from robollm_core.synthetic.products import make_catalogue
from robollm_core.synthetic.render import Camera, Light, project
from robollm_core.synthetic.studio import Prop, Shot, Studio, Thing, axis_rotation
from robollm_core.synthetic.views import (
    CATALOGUE_GRID,
    HELD_VIEWS,
    catalogue_shot,
    tray_shot,
)

SIZE = (128, 192)
LIGHT = (Light((0.0, -2.0, 2.0), (0.0, 1.0, -1.0), parallel=True),)
CAMERA = Camera((0.0, -1.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 40.0)
UPRIGHT = axis_rotation((1.0, 0.0, 0.0), 90.0)


@pytest.fixture(scope="module")
def products():
    return make_catalogue("train", 11, 8)


@pytest.fixture(scope="module")
def studio(products):
    with Studio(products, SIZE) as made:
        yield made


def shot(things, props=()):
    return Shot(things, props, LIGHT, CAMERA)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.0, 0.8)])
@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, -200.0])
def test_axis_rotation_is_scipys(axis, angle):
    turn = Rotation.from_rotvec(np.deg2rad(angle) * np.array(axis)).as_matrix()
    assert np.allclose(axis_rotation(axis, angle), turn)


def test_a_thing_has_its_mark_where_its_mesh_is(studio, products):
    seen = studio.shoot(shot([Thing(2, np.array((0.05, 0.0, 0.02)), UPRIGHT, 7)]))
    assert seen.image_rgb.shape == (*SIZE, 3)
    assert set(np.unique(seen.instances)) == {0, 7}
    points = products[2].mesh.vertices @ UPRIGHT.T + (0.05, 0.0, 0.02)
    pixels, _ = project(points, CAMERA, SIZE)
    rows, columns = np.nonzero(seen.instances == 7)
    assert abs(columns.min() - pixels[:, 0].min()) < 1.5
    assert abs(columns.max() + 1 - pixels[:, 0].max()) < 1.5
    assert abs(rows.min() - pixels[:, 1].min()) < 1.5
    assert abs(rows.max() + 1 - pixels[:, 1].max()) < 1.5


def test_one_item_may_stand_twice(studio):
    things = [Thing(0, np.array((x, 0.0, 0.0)), UPRIGHT, mark) for x, mark in ((-0.2, 1), (0.2, 2))]
    areas = np.bincount(studio.shoot(shot(things)).instances.reshape(-1))
    assert len(areas) == 3
    assert areas[1] > 50
    assert areas[1] == pytest.approx(areas[2], rel=0.1)


@pytest.mark.parametrize("shape", ["box", "rod", "ball"])
def test_a_prop_hides_and_has_no_mark(studio, shape):
    thing = Thing(0, np.zeros(3), UPRIGHT, 1)
    free = np.count_nonzero(studio.shoot(shot([thing])).instances)
    wall = Prop(shape, (0.5, 0.02, 0.5), (0.0, -0.3, 0.0), (1.0, 0.0, 0.0))
    hidden = studio.shoot(shot([thing], [wall]))
    assert free > 50
    assert not hidden.instances.any()
    red, green, blue = hidden.image_rgb[SIZE[0] // 2, SIZE[1] // 2].astype(int)
    assert red > 60
    assert max(green, blue) < red / 4


def test_a_prop_has_the_size_it_is_given(studio):
    box = Prop("box", (0.10, 0.01, 0.05), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    lit = studio.shoot(shot([], [box])).image_rgb.max(axis=2) > 0
    focal = SIZE[0] / 2 / np.tan(np.deg2rad(20.0))
    assert lit.any(axis=0).sum() == pytest.approx(0.2 * focal / 0.99, abs=2)
    assert lit.any(axis=1).sum() == pytest.approx(0.1 * focal / 0.99, abs=2)


def test_lay_turns_without_stretching(products):
    rng = np.random.default_rng(0)
    for product in products:
        turn = lay(product.mesh, rng, 10.0)
        assert np.allclose(turn @ turn.T, np.eye(3))
        assert np.linalg.det(turn) == pytest.approx(1.0)


def test_lay_prefers_large_faces_up(products):
    flat = min(products, key=lambda p: min(p.dims_m) / sorted(p.dims_m)[1])
    rng = np.random.default_rng(0)
    heights = [np.ptp((flat.mesh.vertices @ lay(flat.mesh, rng, 0.0).T)[:, 2]) for _ in range(60)]
    assert np.median(heights) < 1.2 * min(flat.dims_m)


def test_a_grip_holds_what_it_says(products):
    rng = np.random.default_rng(3)
    for number, product in enumerate(products):
        held = grip([(number, product.mesh)], rng)
        (thing,) = held.things
        points = product.mesh.vertices @ thing.rotation.T + thing.position_m
        assert (thing.item, thing.mark) == (number, 1)
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(held.radius_m, abs=1e-6)
        assert points[:, 2].min() == pytest.approx(held.low_m, abs=1e-6)
        assert points[:, 2].max() == pytest.approx(held.high_m, abs=1e-6)
        for _, _, z in held.cups:
            assert held.low_m < z <= held.high_m + 1e-9


def test_a_second_item_touches_but_does_not_enter_the_first(products):
    rng = np.random.default_rng(4)
    for _ in range(40):
        first, second = (int(k) for k in rng.permutation(len(products))[:2])
        pair = [(first, products[first].mesh), (second, products[second].mesh)]
        held = grip(pair, rng)
        clouds = [
            products[thing.item].mesh.vertices @ thing.rotation.T + thing.position_m
            for thing in held.things
        ]
        assert [thing.mark for thing in held.things] == [1, 2]
        lows = [cloud.min(axis=0) for cloud in clouds]
        highs = [cloud.max(axis=0) for cloud in clouds]
        gap = np.maximum(lows[0] - highs[1], lows[1] - highs[0])
        assert gap.max() > -0.35 * min(np.ptp(clouds[1], axis=0).max(), held.radius_m)
        assert gap.max() < 0.5 * held.radius_m


def test_two_of_a_kind_may_keep_one_pose(products):
    pair = [(0, products[0].mesh), (0, products[0].mesh)]
    held = grip(pair, np.random.default_rng(0), same_pose=True)
    assert (held.things[0].rotation == held.things[1].rotation).all()
    assert not np.allclose(held.things[0].position_m, held.things[1].position_m)


def test_every_cup_reaches_up_to_the_arm(products):
    rng = np.random.default_rng(5)
    held = grip([(0, products[0].mesh)], rng)
    props = gripper(held.cups, rng)
    assert min(prop.position_m[2] for prop in props) > held.low_m
    assert max(prop.position_m[2] + prop.half_m[2] for prop in props) > held.high_m + 0.5


@pytest.mark.parametrize("view", [*HELD_VIEWS, "tray"])
def test_the_item_is_seen_and_framed(studio, products, view):
    make_shot = tray_shot if view == "tray" else HELD_VIEWS[view]
    rng = np.random.default_rng(6)
    for number, product in enumerate(products):
        seen = studio.shoot(make_shot(grip([(number, product.mesh)], rng), rng))
        rows, columns = np.nonzero(seen.instances == 1)
        assert len(rows) > 80, (view, product.family)
        assert abs(rows.mean() - SIZE[0] / 2) < 0.3 * SIZE[0]
        assert abs(columns.mean() - SIZE[1] / 2) < 0.3 * SIZE[1]
        assert seen.image_rgb.std() > 4


def test_the_catalogue_shows_six_views_each_in_its_cell(products):
    rows, columns = CATALOGUE_GRID
    with Studio(products, (rows * 96, columns * 96)) as studio:
        for number, product in enumerate(products):
            rng = np.random.default_rng(number)
            seen = studio.shoot(catalogue_shot(number, product.mesh, rng)).instances
            for row in range(rows):
                for column in range(columns):
                    cell = seen[row * 96 : (row + 1) * 96, column * 96 : (column + 1) * 96]
                    assert set(np.unique(cell)) == {0, row * columns + column + 1}
