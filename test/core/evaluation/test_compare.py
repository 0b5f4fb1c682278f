# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Two runs on the same samples: what is said of them, and what is refused."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from robollm_core.errors import ConfigError, DatasetError
from robollm_core.evaluation.compare import compare
from robollm_core.evaluation.outcome import Plot, Table
from robollm_core.evaluation.precision import Record, precision_of, to_json

LABELS = ("multi_pick", "nominal", "package_defect")
FEW = 500


def write_run(folder, stage, records, figures=None, split="test"):
    """A run as `robollm evaluate` leaves one."""
    folder.mkdir(parents=True)
    tree = {
        "format": 1, "stage": stage, "figures": figures or {}, "samples": len(records),
        "broken": [],
        "provenance": {"version": "0", "networks": {"x.onnx": "ab"}, "data": {"split": split}},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(tree))
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "records.jsonl").write_text(lines)
    return folder


def picks(ranks, **more):
    """Records of picks with these ranks, asked both ways."""
    return [
        {"id": f"p{i}", "item": f"I{i % 5}", "n1": {"rank": rank}, "n3": {"rank": rank}, **more}
        for i, rank in enumerate(ranks)
    ]


def images(scores, labels, threshold=0.5):
    """Records of defect images with these chances of a defect."""
    return [
        {"id": f"i{i}", "label": label, "flagged": bool(score >= threshold),
         "probabilities": [score / 2, 1 - score, score / 2]}
        for i, (score, label) in enumerate(zip(scores.tolist(), labels, strict=True))
    ]  # fmt: skip


def masks(seed, count, quality):
    """Records of images whose five things are found the better the higher the quality."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        scores = np.sort(rng.random(8))[::-1]
        best = rng.random(8) < quality
        best[np.cumsum(best) > 5] = False
        hits = np.stack([best & (rng.random(8) < 1 - 0.08 * t) for t in range(10)])
        one = Record(scores, hits, np.zeros((10, 8), bool), 5)
        found.append({"id": f"s/{i}", "subset": "s", "instances": 5, **to_json(one)})
    return found


def things(seed, frames, found, named):
    """Records of a cell: three things a frame, the third of an unknown item."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(3 * frames):
        seen, known = bool(rng.random() < found), i % 3 < 2
        right = (seen and bool(rng.random() < named)) if known else None
        defect = "nominal" if seen else None
        records.append(
            {"id": f"cam/{i // 3}/{i % 3}", "item": "I" if known else "",
             "on_manifest": True if known else None, "found": seen,
             "item_right": right, "defect_truth": "nominal" if known else "", "defect": defect,
             "all_right": (right and defect == "nominal") if known else None}
        )  # fmt: skip
    return records


def ranks_of(seed, count, good):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(count) < good, 1, rng.integers(2, 9, count)).tolist()


@pytest.fixture
def labels():
    return [LABELS[i] for i in np.random.default_rng(7).choice(3, 120, p=(0.2, 0.6, 0.2))]


def scores_of(seed, labels, gap):
    rng = np.random.default_rng(seed)
    bad = np.array([label != "nominal" for label in labels])
    return np.clip(0.4 + gap * bad + rng.normal(0, 0.15, len(labels)), 0, 1)


def test_a_planted_difference_is_found_and_told(tmp_path):
    a = ranks_of(1, 400, 0.7)
    b = [1 if rank > 1 and i % 4 == 0 else rank for i, rank in enumerate(a)]
    one = write_run(tmp_path / "a", "identification", picks(a))
    two = write_run(tmp_path / "b", "identification", picks(b))
    outcome = compare(one, two, resamples=FEW)
    tree = outcome.figures["differences"]["recall_at_1_n1"]
    gained = sum(x != y for x, y in zip(a, b, strict=True))
    assert tree["discordant"] == {"only_a_right": 0, "only_b_right": gained}
    assert tree["difference"]["value"] == pytest.approx(gained / 400)
    assert tree["difference"]["n"] == 400
    assert 0 < tree["difference"]["low"] < gained / 400 < tree["difference"]["high"]
    assert tree["p"] == pytest.approx(2 * 0.5**gained, abs=1e-6)
    assert tree["p_holm"] >= tree["p"]
    assert tree["verdict"] == "B is better"
    start = f"recall_at_1_n1: B is better by {gained / 400:.3f} ["
    assert any(line.startswith(start) for line in outcome.figures["sentences"])


def test_figures_of_ranks_are_those_of_their_definition(tmp_path):
    a, b = np.array(ranks_of(1, 90, 0.6)), np.array(ranks_of(2, 90, 0.7))
    one = write_run(tmp_path / "a", "identification", picks(a.tolist()))
    two = write_run(tmp_path / "b", "identification", picks(b.tolist()))
    found = compare(one, two, resamples=FEW).figures["differences"]
    assert set(found) == {f"{name}_{way}" for way in ("n1", "n3")
                          for name in ("recall_at_1", "recall_at_2", "recall_at_3",
                                       "recall_at_5", "mrr")}  # fmt: skip
    for k in (1, 2, 3, 5):
        tree = found[f"recall_at_{k}_n3"]
        assert tree["a"] == pytest.approx(np.mean(a <= k), abs=1e-6)
        assert tree["b"] == pytest.approx(np.mean(b <= k), abs=1e-6)
    assert found["mrr_n1"]["a"] == pytest.approx(np.mean(1 / a), abs=1e-6)
    assert found["mrr_n1"]["difference"]["value"] == pytest.approx(
        np.mean(1 / b) - np.mean(1 / a), abs=1e-6
    )


def two_runs_of(stage, labels):
    """Records of two runs of a stage, the second of which is clearly better."""
    if stage == "segmentation":
        return masks(1, 20, 0.4), masks(2, 20, 0.8)
    if stage == "cell":
        return things(1, 80, 0.5, 0.6), things(2, 80, 0.9, 0.8)
    if stage == "identification":
        return picks(ranks_of(1, 200, 0.5)), picks(ranks_of(2, 200, 0.8))
    return tuple(images(scores_of(s, labels, gap), labels) for s, gap in ((1, 0.1), (2, 0.4)))


STAGES = ("segmentation", "identification", "defects", "cell")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_and_itself_differ_by_nothing(tmp_path, labels, stage):
    records, _ = two_runs_of(stage, labels)
    one, two = (write_run(tmp_path / name, stage, records) for name in "ab")
    outcome = compare(one, two, resamples=FEW)
    for tree in outcome.figures["differences"].values():
        assert tree["difference"]["value"] == 0.0
        assert tree["difference"]["low"] == tree["difference"]["high"] == 0.0
        assert tree["p"] == tree["p_holm"] == 1.0
        assert tree["verdict"] == "no difference shown"
        assert tree["sentence"].startswith("no difference shown (B less A: +0.000")


@pytest.mark.parametrize("stage", STAGES)
def test_swapped_runs_flip_the_signs(tmp_path, labels, stage):
    one, two = (
        write_run(tmp_path / name, stage, records)
        for name, records in zip("ab", two_runs_of(stage, labels), strict=True)
    )
    there = compare(one, two, resamples=FEW).figures["differences"]
    back = compare(two, one, resamples=FEW).figures["differences"]
    assert any(tree["verdict"] == "B is better" for tree in there.values())
    for name, tree in there.items():
        other = back[name]
        assert (other["a"], other["b"]) == (tree["b"], tree["a"])
        assert other["difference"]["value"] == -tree["difference"]["value"]
        assert other["difference"]["low"] == pytest.approx(-tree["difference"]["high"])
        assert other["difference"]["high"] == pytest.approx(-tree["difference"]["low"])
        assert other["p"] == tree["p"]
        if tree["verdict"] == "B is better":
            assert other["verdict"] == "A is better"
            assert other["sentence"] == tree["sentence"].replace("B is", "A is")
        else:
            assert other["verdict"] == tree["verdict"]


def test_chance_alone_is_not_called_a_difference(tmp_path):
    """Twenty-five comparisons of equal runs: about one in twenty families may err."""
    said = 0
    for seed in range(25):
        one = write_run(tmp_path / f"{seed}a", "identification", picks(ranks_of(seed, 60, 0.6)))
        two = write_run(
            tmp_path / f"{seed}b", "identification", picks(ranks_of(seed + 500, 60, 0.6))
        )
        found = compare(one, two, resamples=FEW).figures["differences"]
        said += any(tree["verdict"] != "no difference shown" for tree in found.values())
    assert said <= 4


def test_figures_of_scores_agree_with_scikit_learn(tmp_path, labels):
    bad = np.array([label != "nominal" for label in labels])
    scores = [scores_of(1, labels, 0.15), scores_of(2, labels, 0.35)]
    runs = [
        write_run(tmp_path / name, "defects", images(own, labels))
        for name, own in zip("ab", scores, strict=True)
    ]
    found = compare(*runs, resamples=FEW).figures["differences"]
    for name, own in zip("ab", scores, strict=True):
        assert found["auroc"][name] == pytest.approx(roc_auc_score(bad, own), abs=1e-6)
        fpr, tpr, _ = roc_curve(bad, own, drop_intermediate=False)
        for key, rate in (("recall_at_fpr_10", 0.10), ("recall_at_fpr_01", 0.01)):
            assert found[key][name] == pytest.approx(tpr[fpr <= rate].max(), abs=1e-6)
        right = np.mean((own >= 0.5) == bad)
        assert found["flagged_right"][name] == pytest.approx(right, abs=1e-6)
    assert found["auroc"]["verdict"] == "B is better"


def test_precisions_are_those_of_pycocotools(tmp_path):
    records = [masks(1, 25, 0.4), masks(2, 25, 0.8)]
    runs = [
        write_run(tmp_path / name, "segmentation", own)
        for name, own in zip("ab", records, strict=True)
    ]
    found = compare(*runs, resamples=FEW).figures["differences"]
    assert list(found) == ["mask_map", "mask_map50", "mask_map75"]
    for name, ious in (("mask_map", None), ("mask_map50", [0.5]), ("mask_map75", [0.75])):
        for side, own in zip("ab", records, strict=True):
            expected = precision_of(own) if ious is None else precision_of(own, ious)
            assert found[name][side] == pytest.approx(expected, abs=1e-6)
        assert found[name]["difference"]["n"] == 25
        assert found[name]["verdict"] == "B is better"


@pytest.mark.slow
def test_the_interval_of_a_precision_is_that_of_drawn_images(tmp_path):
    records = [masks(1, 30, 0.5), masks(3, 30, 0.55)]
    runs = [
        write_run(tmp_path / name, "segmentation", own)
        for name, own in zip("ab", records, strict=True)
    ]
    tree = compare(*runs, resamples=FEW).figures["differences"]["mask_map50"]
    rng = np.random.default_rng(99)
    drawn = []
    for _ in range(400):
        chosen = rng.integers(30, size=30)
        a, b = (precision_of([own[i] for i in chosen], [0.5]) for own in records)
        drawn.append(b - a)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert tree["difference"]["low"] == pytest.approx(low, abs=0.1 * (high - low))
    assert tree["difference"]["high"] == pytest.approx(high, abs=0.1 * (high - low))


def test_subsets_are_compared_each_by_itself(tmp_path):
    def two(seed, quality):
        first, second = masks(seed, 8, quality), masks(seed + 9, 4, quality)
        return first + [{**r, "id": f"t/{r['id']}", "subset": "t"} for r in second]

    runs = [
        write_run(tmp_path / name, "segmentation", two(seed, 0.5)) for seed, name in enumerate("ab")
    ]
    found = compare(*runs, resamples=FEW).figures["differences"]
    assert {name: tree["difference"]["n"] for name, tree in found.items()} == {
        f"{subset}.{name}": count
        for subset, count in (("s", 8), ("t", 4))
        for name in ("mask_map", "mask_map50", "mask_map75")
    }


def test_things_of_a_cell_are_counted_over_frames(tmp_path):
    a, b = things(1, 60, 0.6, 0.7), things(2, 60, 0.9, 0.8)
    runs = [write_run(tmp_path / n, "cell", own) for n, own in (("a", a), ("b", b))]
    outcome = compare(*runs, resamples=FEW)
    found = outcome.figures["differences"]
    known = [i for i, record in enumerate(a) if record["item"]]
    assert found["found"]["difference"]["n"] == 180
    assert found["found"]["a"] == pytest.approx(np.mean([r["found"] for r in a]), abs=1e-6)
    for name in ("item_right", "all_right"):
        assert found[name]["difference"]["n"] == len(known) == 120
        assert found[name]["b"] == pytest.approx(np.mean([b[i][name] for i in known]), abs=1e-6)
    right = [b[i]["defect"] == "nominal" for i in known]
    assert found["defect_right"]["b"] == pytest.approx(np.mean(right), abs=1e-6)
    gained = sum(y["found"] and not x["found"] for x, y in zip(a, b, strict=True))
    assert found["found"]["discordant"]["only_b_right"] == gained
    assert "draw frames of both runs together" in outcome.figures["protocol"]


def test_picks_without_a_rank_are_left_out_of_both(tmp_path):
    a, b = picks([1, 1, 2, None]), picks([1, 2, 1, None])
    for record in (*a, *b):
        record["n3"] = None
    one, two = (write_run(tmp_path / n, "identification", r) for n, r in (("a", a), ("b", b)))
    found = compare(one, two, resamples=FEW).figures["differences"]
    assert found["recall_at_1_n1"]["difference"]["n"] == 3
    assert not [name for name in found if name.endswith("n3")]


def test_a_rank_in_one_run_only_is_refused(tmp_path):
    one = write_run(tmp_path / "a", "identification", picks([1, 1]))
    two = write_run(tmp_path / "b", "identification", picks([1, None]))
    with pytest.raises(DatasetError, match="'p1' has a rank in one run only"):
        compare(one, two, resamples=FEW)


def test_other_samples_are_refused_unless_the_common_ones_are_asked_for(tmp_path):
    one = write_run(tmp_path / "a", "identification", picks([1, 1, 2, 1, 1]))
    two = write_run(tmp_path / "b", "identification", picks([1, 2, 1, 1])[1:])
    with pytest.raises(DatasetError, match="3 samples are in both, 2 only in .*a, 0 only in"):
        compare(one, two, resamples=FEW)
    outcome = compare(one, two, resamples=FEW, common=True)
    assert outcome.samples == 3
    assert outcome.figures["samples"] == {"common": 3, "only_a": 2, "only_b": 0}
    assert "2 that one run alone has are left out" in outcome.figures["protocol"]
    assert outcome.figures["differences"]["recall_at_1_n1"]["a"] == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "defects"}, "of 'identification' and .* of 'defects'; expected two runs"),
        ({"split": "val"}, "is of the split 'test', .* of 'val'"),
        ({"figures": {"protocol": "four views"}}, 'protocols differ in words: "one view" in'),
        ({"figures": {"protocol": {"split": "x"}}}, "protocols differ in split: null in"),
        ({"records": picks([1, 1], manifest=9)}, "on what is true: manifest of 'p0' is null"),
        ({"records": picks([1, 1], item="other")}, "do not agree on what is true: item of 'p0'"),
        ({"records": [{"id": "p0"}, {"id": "p1"}]}, "record 'p0' of identification has no 'item'"),
        ({"records": [{"id": "x", "item": "I"}]}, "0 samples are in both"),
        ({"records": [{"id": "p0", "item": "I0"}] * 2}, "2 lines and 1 different ids"),
        ({"records": [{"name": "p0"}]}, "is not the output of an evaluation"),
        ({"records": []}, "0 lines"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path, change, message):
    usual = {"stage": "identification", "records": picks([1, 1]), "split": "test",
             "figures": {"protocol": "one view"}}  # fmt: skip
    one = write_run(tmp_path / "a", **usual)
    two = write_run(tmp_path / "b", **{**usual, **change})
    with pytest.raises(DatasetError, match=message):
        compare(one, two, resamples=FEW, common=True)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="is not the output of an evaluation.*robollm evaluate"):
        compare(tmp_path, tmp_path)


def test_defects_without_nominal_images_are_refused(tmp_path):
    records = images(np.array([0.1, 0.9]), ["multi_pick", "package_defect"])
    one, two = (write_run(tmp_path / name, "defects", records) for name in "ab")
    with pytest.raises(DatasetError, match="nominal and defective"):
        compare(one, two, resamples=FEW)


def test_too_few_resamples_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least 500"):
        compare(tmp_path, tmp_path, resamples=10)


def test_the_same_seed_gives_the_same_figures(tmp_path):
    runs = [
        write_run(tmp_path / name, "identification", picks(ranks_of(seed, 80, 0.6)))
        for seed, name in enumerate("ab")
    ]
    first = json.dumps(compare(*runs, seed=1, resamples=FEW).figures, allow_nan=False)
    assert first == json.dumps(compare(*runs, seed=1, resamples=FEW).figures)
    assert first != json.dumps(compare(*runs, seed=2, resamples=FEW).figures)


def test_the_report_shows_every_difference(tmp_path):
    runs = [
        write_run(tmp_path / name, "identification", picks(ranks_of(seed, 80, 0.6)))
        for seed, name in enumerate("ab")
    ]
    outcome = compare(*runs, resamples=FEW)
    words, table, discordant, forest = outcome.blocks
    assert isinstance(table, Table)
    assert [f"{name}: {said}" for name, said in words.rows] == outcome.figures["sentences"]
    assert isinstance(forest, Plot)
    names = list(outcome.figures["differences"])
    assert [row[0] for row in table.rows] == names == list(forest.series[0].x)
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert all(len(row) == len(discordant.columns) for row in discordant.rows)
    assert "corrected by Holm over the 10 tests" in table.note
    for name, tree in outcome.figures["differences"].items():
        assert outcome.figures[f"{name}_b_less_a"] == tree["difference"]
    assert outcome.records == ()
    assert outcome.networks == {"A: x.onnx": "ab", "B: x.onnx": "ab"}
