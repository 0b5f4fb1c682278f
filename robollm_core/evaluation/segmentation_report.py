# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and plots of the segmentation report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robollm_core.data.armbench_segmentation import SUBSETS
from robollm_core.data.tote import CLASS_NAME
from robollm_core.evaluation import segmentation_protocol as protocol
from robollm_core.evaluation.outcome import Block, Cell, Plot, Series, Table
from robollm_core.evaluation.precision import IOUS, accumulate, row
from robollm_core.evaluation.published import CROWDING as PUBLISHED_CROWDING
from robollm_core.evaluation.segmentation_figures import CROWDING, bin_name
from robollm_core.evaluation.segmentation_matching import Sample

_CURVES = (0.5, 0.75)
_BINS = tuple(bin_name(least, most) for least, most in CROWDING)
_AP = ("ap", "ap50", "ap75")
_AP_HEADS = ("mask AP", "mask AP50", "mask AP75")
_SIMULATED = (
    "This data is simulated: the published points are of other data and show the shape alone."
)
_OTHER = (
    "The published points are of ARMBench's mixed test images and compare with this data only if "
    "it is the same."
)

Figures = Mapping[str, Any]


def blocks(
    subsets: Mapping[str, Figures], samples: Mapping[str, Sequence[Sample]], simulated: bool
) -> tuple[Block, ...]:
    """Everything of the report but its pictures.

    Args:
        subsets: figures by name.
        samples: what they were made of, by name.
        simulated: the data was made by the simulator.
    """
    curves = tuple(_curve(name, samples[name]) for name in subsets)
    return (
        _overview(subsets),
        _classes(subsets),
        *curves,
        _by_crowding(subsets),
        _crowding_plot(subsets, simulated),
        _by_size(subsets),
        _working_points(subsets),
    )


def _overview(subsets: Mapping[str, Figures]) -> Table:
    ar = ("ar_1", "ar_10", "ar_100")
    heads = ("box AP", "box AP50", "box AP75", "mask AR 1", "mask AR 10", "mask AR 100")
    rows = tuple(
        (
            name,
            one["images"],
            one["instances"],
            *(one["mask"][key] for key in _AP),
            *(one["box"][key] for key in _AP),
            *(one["mask"][key] for key in ar),
        )
        for name, one in subsets.items()
    )
    note = " ".join(f"{_sentence(text)}" for text in protocol.PROTOCOL.values())
    return Table(
        "Masks and boxes by subset, object alone",
        ("subset", "images", "instances", *_AP_HEADS, *heads),
        rows,
        note,
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _classes(subsets: Mapping[str, Figures]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, one in subsets.items():
        both = one["tote_and_object"]
        classes = [key for key in both["mask"] if isinstance(both["mask"][key], Mapping)]
        rows += [
            (
                name,
                key,
                *(both["mask"][key][figure] for figure in _AP),
                *(both["box"][key][figure] for figure in _AP),
            )
            for key in classes
        ]
    return Table(
        "Object, tote, and their mean",
        ("subset", "class", *_AP_HEADS, "box AP", "box AP50", "box AP75"),
        tuple(rows),
        _sentence(protocol.TOTE_AND_OBJECT),
    )


def _curve(name: str, samples: Sequence[Sample]) -> Plot:
    """Precision at COCO's 101 recalls, as pycocotools reads them."""
    rows = [row(sample.records["mask"][CLASS_NAME, "all"]) for sample in samples]
    curves = accumulate([rows])
    recalls = [float(recall) for recall in curves.params.recThrs]
    series = []
    for iou in _CURVES:
        precision = curves.eval["precision"][IOUS.index(iou), :, 0, 0, 0]
        values = np.maximum(precision, 0.0)  # -1 stands for no truth at all
        series.append(Series(f"IoU {iou}", recalls, [round(float(p), 6) for p in values]))
    return Plot(
        f"Precision and recall of masks, {name}",
        "recall",
        "precision",
        tuple(series),
        x_limits=(0.0, 1.0),
        note="Object alone; precision is made monotone and read at 101 recalls, COCO's way.",
    )


def _by_crowding(subsets: Mapping[str, Figures]) -> Table:
    rows = tuple(
        (
            name,
            key,
            one["crowding"][key]["images"],
            one["crowding"][key]["instances"],
            *(one["crowding"][key][figure] for figure in _AP),
            *(one["crowding"][key]["box"][figure] for figure in _AP),
        )
        for name, one in subsets.items()
        for key in _BINS
        if key in one["crowding"]
    )
    return Table(
        "By number of instances in the image",
        ("subset", "instances in the image", "images", "instances", *_AP_HEADS,
         "box AP", "box AP50", "box AP75"),
        rows,
        _sentence(protocol.CROWDING),
    )  # fmt: skip


def _crowding_plot(subsets: Mapping[str, Figures], simulated: bool) -> Plot:
    ours = []
    for name, one in subsets.items():
        held = [key for key in _BINS if key in one["crowding"]]
        figures = [one["crowding"][key]["ap50"] for key in held]
        low, high = ([figure[end] for figure in figures] for end in ("low", "high"))
        if held:
            ours.append(Series(name, held, [f["value"] for f in figures], low, high, "points"))
    ends = (_BINS[0], _BINS[-1])
    published = [
        Series(f"{one.name}, published", ends, [v for v in one.values if v], style="points")
        for one in PUBLISHED_CROWDING.rows
    ]
    note = (
        "Mask AP50, object alone. The published values are read from a plot, about, for fewer than "
        f"5 and more than 26 instances of {SUBSETS[0]}; the class set they average over is not "
        f"stated. {_SIMULATED if simulated else _OTHER}"
    )
    return Plot(
        "Mask AP50 by number of instances in the image",
        "instances in the image",
        "mask AP50",
        (*ours, *published),
        note=note,
    )


def _by_size(subsets: Mapping[str, Figures]) -> Table:
    rows = tuple(
        (name, size, one["by_size"][size]["instances"], one["by_size"][size]["ap"])
        for name, one in subsets.items()
        for size in ("small", "medium", "large")
    )
    heads = ("subset", "size", "instances", "mask AP")
    return Table("By size of the instance", heads, rows, _sentence(protocol.BY_SIZE))


def _working_points(subsets: Mapping[str, Figures]) -> Table:
    names = {"at_threshold": "configured threshold", "at_best_f1": "best F1, chosen on this split"}
    rows = tuple(
        (
            name,
            label,
            one[key]["score_threshold"],
            one[key]["precision"],
            one[key]["recall"],
        )
        for name, one in subsets.items()
        for key, label in names.items()
    )
    note = f"{_sentence(protocol.AT_THRESHOLD)} Best F1: {protocol.AT_BEST_F1}."
    heads = ("subset", "point", "score threshold", "precision", "recall")
    return Table("Working points", heads, rows, note)
