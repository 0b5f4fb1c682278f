# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and plots of defect detection for the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from robollm_core.evaluation.defects_figures import TARGET_FPR, TARGET_RECALL
from robollm_core.evaluation.defects_judged import DEFECTS
from robollm_core.evaluation.outcome import Block, Cell, Mark, Matrix, Plot, Series, Table
from robollm_core.types import DEFECT_LABELS

TARGET = Mark(TARGET_FPR, TARGET_RECALL, "wanted by ARMBench: recall > 0.95 at FPR < 0.01")
_SPLIT = "The threshold was taken from these very images: this describes the ROC."


def blocks_of(figures: Mapping[str, Any]) -> tuple[Block, ...]:
    """What the report shows, in order.

    Args:
        figures: made by `defects_figures.figures_of`.
    """
    return (
        _working_point(figures),
        _at_fpr(figures),
        _at_recall(figures),
        _areas(figures),
        _official(figures),
        *_rocs(figures),
        _precision_recall(figures),
        *_abstain(figures),
        _matrix(
            f"Verdicts at the threshold {figures['working_point']['threshold']:g}",
            figures["working_point"]["confusion"],
            "Rows: what is true; columns: the verdict of the stage.",
        ),
        _matrix(
            "Likeliest class",
            figures["confusion"],
            "Rows: what is true; columns: the class with the highest probability, no threshold.",
        ),
    )


def _classes(figures: Mapping[str, Any]) -> list[str]:
    return [name for name in DEFECTS if name in figures["classes"]]


def _working_point(figures: Mapping[str, Any]) -> Table:
    point = figures["working_point"]
    rows: list[tuple[Cell, ...]] = [
        ("combined", point["recall"], None, point["fpr"], point["precision"])
    ]
    for name in _classes(figures):
        own = point["classes"][name]
        rows.append((name, own["recall"], own["recall_named"], own["fpr"], own["precision"]))
    return Table(
        f"At the configured threshold {point['threshold']:g}",
        ("class", "recall", "recall, named rightly", "FPR", "precision"),
        tuple(rows),
        "FPR is nominal images flagged over nominal images; of a class, those flagged with its "
        "name. Recall counts images flagged as any defect. The configuration sets the "
        "threshold, this run took nothing from these images.",
    )


def _at_fpr(figures: Mapping[str, Any]) -> Table:
    point = figures["at_fpr_01"]
    rows: list[tuple[Cell, ...]] = [
        ("combined", point["recall"], point["fpr_on_split"], point["precision"], point["threshold"])
    ]
    rows += [
        (name, point["classes"][name]["recall"], point["fpr_on_split"], None, point["threshold"])
        for name in _classes(figures)
    ]
    columns = ("class", "recall", "FPR reached", "precision", "threshold")
    return Table("At FPR 0.01", columns, tuple(rows), _SPLIT)


def _at_recall(figures: Mapping[str, Any]) -> Table:
    points = {"combined": figures["at_recall_95"]}
    points |= {name: figures["classes"][name]["at_recall_95"] for name in _classes(figures)}
    rows = [
        (name, p["fpr"], p["recall_on_split"], p["precision"], p["threshold"])
        for name, p in points.items()
    ]
    columns = ("class", "FPR", "recall reached", "precision", "threshold")
    note = f"{_SPLIT} Of a class: the threshold that keeps 0.95 of its own images."
    return Table("At recall 0.95", columns, tuple(rows), note)


def _areas(figures: Mapping[str, Any]) -> Table:
    groups: dict[str, Mapping[str, Any]] = {"combined": figures}
    groups |= {name: figures["classes"][name] for name in _classes(figures)}
    rows = [
        (name, own["auroc"], own["average_precision"], own["recall_at_fpr_10"])
        for name, own in groups.items()
    ]
    return Table(
        "Areas below the curves",
        ("class", "AUROC", "average precision", "recall at FPR 0.10"),
        tuple(rows),
        "Of a class: its images against the nominal ones. Average precision depends on the mix "
        f"of the split. Recall at FPR 0.10: {_SPLIT[0].lower()}{_SPLIT[1:]}",
    )


def _official(figures: Mapping[str, Any]) -> Table:
    official, point = figures["official"], figures["working_point"]
    rows: list[tuple[Cell, ...]] = []
    for name in (*_classes(figures), "combined"):
        theirs = official["combined"] if name == "combined" else official["classes"][name]
        ours = point if name == "combined" else point["classes"][name]
        rows.append(
            (name, theirs["precision"], theirs["recall"], theirs["fpr"], ours["recall"],
             ours["fpr"])
        )  # fmt: skip
    columns = (
        "class", "precision, ARMBench's script", "recall, ARMBench's script",
        "FPR, ARMBench's script", "recall, ours", "FPR, ours",
    )  # fmt: skip
    note = f"{official['protocol']}. Ours: at the configured threshold."
    return Table("As ARMBench's own script counts", columns, tuple(rows), note)


def _rocs(figures: Mapping[str, Any]) -> tuple[Plot, Plot]:
    curves = figures["curves"]["roc"]
    smallest = 0.5 / figures["images"]["nominal"]
    note = f"Marked: what ARMBench asks for. {figures['images']['nominal']} nominal images."
    linear = [Series(name, c["fpr"], c["recall"], style="step") for name, c in curves.items()]
    logarithmic = [
        Series(name, [max(x, smallest) for x in c["fpr"]], c["recall"], style="step")
        for name, c in curves.items()
    ]
    axes = ("FPR (nominal images flagged / nominal images)", "recall")
    return (
        Plot("ROC", *axes, tuple(linear), (TARGET,), x_limits=(0.0, 1.0), note=note),
        Plot(
            "ROC at low FPR",
            *axes,
            tuple(logarithmic),
            (TARGET,),
            x_log=True,
            x_limits=(min(smallest, TARGET_FPR / 2), 1.0),
            note=f"{note} An FPR of 0 is drawn at half an image, {smallest:.2g}.",
        ),
    )


def _precision_recall(figures: Mapping[str, Any]) -> Plot:
    series = tuple(
        Series(name, c["recall"], c["precision"]) for name, c in figures["curves"]["pr"].items()
    )
    note = "At the mix of this split; of a class, its images and the nominal ones."
    return Plot("Precision and recall", "recall", "precision", series, (), False, (0.0, 1.0),
                note=note)  # fmt: skip


def _abstain(figures: Mapping[str, Any]) -> tuple[Plot, Table]:
    curve, rows = figures["abstain"]["curve"], figures["abstain"]["table"]
    note = (
        "The images whose score lies closest to the threshold, in log odds, are left to a person; "
        "recall, FPR and error are of the others."
    )
    names = {"recall": "recall", "fpr": "FPR", "error": "wrong flags"}
    series = tuple(Series(said, curve["coverage"], curve[key]) for key, said in names.items())
    plot = Plot("Abstaining", "share of images answered", "share of the answered", series,
                x_limits=(0.0, 1.0), note=note)  # fmt: skip
    cells = tuple(
        (row["coverage"], row["answered"], row["recall"], row["fpr"], row["error"]) for row in rows
    )
    columns = ("answered", "images", "recall", "FPR", "wrong flags")
    return plot, Table("When the least certain are left to a person", columns, cells, note)


def _matrix(title: str, counts: Mapping[str, Mapping[str, int]], note: str) -> Matrix:
    names: Sequence[str] = DEFECT_LABELS
    cells = tuple(tuple(counts[truth][answer] for answer in names) for truth in names)
    return Matrix(title, tuple(names), tuple(names), cells, note)
