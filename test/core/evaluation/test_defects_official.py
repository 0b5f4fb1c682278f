# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The file for ARMBench's script, read back as the script reads it, against our figures."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix

from robollm_core.evaluation.defects_official import official_figures, predictions_file
from robollm_core.types import DEFECT_LABELS


def restated(data):
    """Recall and FPR as the script prints them: softmax, argmax, one class against the rest."""
    tree = json.loads(data)
    said = []
    for logits in tree["predictions"]:
        powers = np.exp(np.array(logits) - np.max(logits))
        said.append(int(np.argmax(powers / powers.sum())))
    counts = confusion_matrix(tree["targets"], said).astype(float)
    names = ("multi_pick", "nominal", "package_defect")
    printed = {}
    for index, name in enumerate(names):
        hit = counts[index, index]
        missed, alarm = counts[index].sum() - hit, counts[:, index].sum() - hit
        quiet = counts.sum() - hit - missed - alarm
        printed[name] = {"recall": hit / (hit + missed), "fpr": alarm / (alarm + quiet)}
    return printed


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(3, 80))
def test_the_script_prints_our_figures_to_the_last_digit(seed, count):
    rng = np.random.default_rng(seed)
    labels = np.concatenate(([0, 1, 2], rng.integers(0, 3, count)))
    rows = softmax(rng.normal(scale=3, size=(len(labels), 3)))
    assert official_figures(rows, labels)["printed"] == restated(predictions_file(rows, labels))


def test_the_order_of_classes_is_that_of_an_image_folder():
    assert list(DEFECT_LABELS) == sorted(DEFECT_LABELS)


@given(arrays(np.float32, (4, 3), elements=st.floats(0, 1, width=32)))
def test_logits_give_the_probabilities_back_and_are_finite(rows):
    tree = json.loads(predictions_file(rows, np.zeros(4, np.int64)))
    logits = np.array(tree["predictions"])
    assert np.isfinite(logits).all()
    assert np.exp(logits) == pytest.approx(rows, rel=1e-12, abs=1e-30)
    assert (
        logits.argmax(1).tolist() == np.maximum(rows, np.finfo(np.float32).tiny).argmax(1).tolist()
    )


def test_the_other_defect_class_is_a_negative():
    labels = np.array([0, 0, 1, 1, 2, 2])
    rows = np.eye(3, dtype=np.float32)[[0, 2, 1, 0, 2, 0]]
    figures = official_figures(rows, labels)
    multi = figures["classes"]["multi_pick"]
    # said multi_pick: one right, one nominal, one package_defect, of four that are none
    assert (multi["recall"]["value"], multi["fpr"]["value"]) == (0.5, 0.5)
    assert (multi["fpr"]["n"], multi["precision"]["n"]) == (4, 3)
    assert multi["precision"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    # as defects, all four are found, and one of two nominal images is flagged
    combined = figures["combined"]
    assert (combined["recall"]["value"], combined["fpr"]["value"]) == (1.0, 0.5)
    assert combined["precision"]["value"] == 0.8
    assert "other defect class among the negatives" in figures["protocol"]


def test_a_class_without_images_has_no_recall_to_print():
    rows = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    printed = official_figures(rows, np.array([0, 1, 1]))["printed"]
    assert printed["package_defect"] == {"recall": None, "fpr": pytest.approx(1 / 3)}
