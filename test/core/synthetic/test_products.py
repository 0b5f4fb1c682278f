# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from robollm_core.errors import ConfigError
from robollm_core.synthetic.products import (
    SPLITS,
    catalogue_seeds,
    make_catalogue,
    make_product,
)


def same(a, b):
    return (
        (a.item_id, a.family, a.dims_m, a.weight_kg, a.text)
        == (b.item_id, b.family, b.dims_m, b.weight_kg, b.text)
        and a.texture.tobytes() == b.texture.tobytes()
        and a.mesh.vertices.tobytes() == b.mesh.vertices.tobytes()
    )


@pytest.mark.parametrize("seed", [0, 5, 12345, 2**47])
def test_a_seed_fixes_a_product(seed):
    assert same(make_product(seed), make_product(seed))


def test_splits_and_seeds_have_disjoint_products():
    sets = [
        set(catalogue_seeds(split, seed, 500)) for split in SPLITS for seed in (0, 1, 2**20 - 1)
    ]
    assert sum(map(len, sets)) == len(set().union(*sets)) == 500 * 9


def test_a_shorter_catalogue_is_a_prefix():
    assert catalogue_seeds("val", 3, 50)[:20] == catalogue_seeds("val", 3, 20)


def test_item_ids_are_unique_and_products_carry_a_text_and_a_weight():
    products = make_catalogue("test", 0, 60)
    assert len({product.item_id for product in products}) == 60
    assert all(product.text and product.weight_kg > 0 for product in products)
    assert all(p.texture.dtype == np.uint8 and p.texture.shape[2] == 3 for p in products)


def test_catalogues_hold_look_alikes():
    shelves = [seed // 4 for seed in catalogue_seeds("train", 0, 400)]
    shared = sum(shelves.count(shelf) > 1 for shelf in shelves)
    assert 0.3 < shared / len(shelves) < 0.85


def test_flavours_share_the_pack_and_differ_in_print():
    lemon, mint, big = make_product(40), make_product(41), make_product(43)
    assert lemon.family == mint.family == big.family
    assert lemon.dims_m == mint.dims_m
    assert lemon.text.split()[0] == mint.text.split()[0]
    assert lemon.texture.tobytes() != mint.texture.tobytes()
    assert lemon.item_id != mint.item_id
    assert not np.allclose(big.dims_m, lemon.dims_m, rtol=0.05)


def test_another_size_says_another_amount():
    lemon, big = make_product(40), make_product(43)
    assert lemon.text.rsplit(",", 1)[0] == big.text.rsplit(",", 1)[0]
    small, large = (int(p.text.split(",")[-1].split()[0]) for p in (lemon, big))
    assert (small < large) == (lemon.dims_m < big.dims_m)


def test_flavours_without_print_are_of_other_colours():
    plain = [s for s in range(0, 2400, 4) if make_product(s).family == "tool"][:12]
    textures = [[make_product(s + k).texture for k in range(3)] for s in plain]
    same = sum(np.array_equal(a, b) for a, b, _ in textures)
    # two draws from few greys may agree, a shelf of them may not
    assert len(plain) == 12
    assert same <= 3


@pytest.mark.parametrize("seed", [-1, 2**48])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ConfigError, match="2\\*\\*48"):
        make_product(seed)


@pytest.mark.parametrize(
    ("split", "seed", "count"), [("dev", 0, 1), ("train", -1, 1), ("train", 0, -1)]
)
def test_a_bad_catalogue_is_refused(split, seed, count):
    with pytest.raises(ConfigError):
        catalogue_seeds(split, seed, count)
