# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Published results on ARMBench, with what a reader has to know, beside ours.

Shares are fractions of 1. What a source does not state is left out, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robollm_core.evaluation.outcome import Cell, Table
from robollm_core.evaluation.page_cells import is_figure

ARMBENCH = "arXiv 2303.16382"
"""ARMBench, ICRA 2023."""

ROBOLLM = "arXiv 2310.10221"
"""RoboLLM, ICRA 2024."""

SIMULATED = "Our row is of simulated data: other data, not comparable with the published rows."
OTHER = (
    "Our row compares with the published rows only if the data set is ARMBench's test set as "
    "downloaded."
)
CHOSEN_ON_TEST = (
    "The released code of RoboLLM keeps the checkpoint that does best on the test set; it has no "
    "validation split."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One published result.

    Attributes:
        name: of the method.
        values: in the order of the columns; None where the source states none.
        source: where it was published.
        caveat: what makes this row hard to compare, "" for nothing known.
    """

    name: str
    values: tuple[float | None, ...]
    source: str
    caveat: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """Results of one kind that were published together.

    Attributes:
        title: heading.
        columns: what the values are.
        rows: one a method.
        ours: where our figures stand among those of an outcome: name of a row to
            one path of keys a column, () where we have none.
        note: what holds for the whole table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    ours: Mapping[str, tuple[tuple[str, ...], ...]]
    note: str


def _recalls(*place: str) -> tuple[tuple[str, ...], ...]:
    return tuple((*place, f"recall_at_{k}_{n}") for n in ("n1", "n3") for k in (1, 2, 3))


_SUBSETS = ("mix-object-tote", "zoomed-out-tote-transfer-set", "same-object-transfer-set")
_IMAGE_LEVEL = (
    "R@2 and R@3 count reference images, and the released code repeats the columns of an item, "
    "so copies of one image fill the places: the R@2 and R@3 by item are not known, and higher"
)
_OWN_WEIGHTS = "another checkpoint than the container row"
_NO_FPR = "how FPR was counted is not stated; the released code never computes it"

SEGMENTATION = Published(
    "Mask AP by subset",
    ("mixed mAP50", "mixed mAP75", "zoomed-out mAP50", "zoomed-out mAP75", "same-object mAP50",
     "same-object mAP75"),
    (
        Row("Mask R-CNN, ResNet-50", (0.72, 0.61, 0.25, 0.19, 0.11, 0.10), ARMBENCH),
        Row("RoboLLM, BEiT-3 Base", (0.82, 0.67, 0.57, 0.45, 0.15, 0.13), ROBOLLM,
            "no weights and no configuration were released"),
    ),
    {
        "ours, object": tuple(
            ("subsets", subset, "mask", name) for subset in _SUBSETS for name in ("ap50", "ap75")
        ),
        "ours, mean of tote and object": tuple(
            ("subsets", subset, "tote_and_object", "mask", "mean", name)
            for subset in _SUBSETS
            for name in ("ap50", "ap75")
        ),
    },
    "mAP50 and mAP75 are AP at IoU 0.5 and 0.75 on the test images of each subset. "
    "The sources do not say over which classes they average: Object, or Tote and Object.",
)  # fmt: skip

CROWDING = Published(
    "Mask AP by crowding, mixed totes",
    ("mAP50 below 5 instances", "mAP50 above 26 instances"),
    (
        Row("Mask R-CNN, ResNet-50", (0.95, 0.38), ROBOLLM, "read from a plot, about"),
        Row("RoboLLM, BEiT-3 Base", (0.95, 0.75), ROBOLLM, "read from a plot, about"),
    ),
    {"ours": (
        ("subsets", _SUBSETS[0], "crowding", "1-5", "ap50"),
        ("subsets", _SUBSETS[0], "crowding", "26+", "ap50"),
    )},
    "The published values are read from a plot; the bins of ours are 1 to 5 and 26 or more.",
)  # fmt: skip

IDENTIFICATION = Published(
    "Recall of items",
    ("R@1, N=1", "R@2, N=1", "R@3, N=1", "R@1, N=3", "R@2, N=3", "R@3, N=3"),
    (
        Row("ResNet50-RMAC, container", (0.717, 0.819, 0.872, 0.722, 0.829, 0.882), ARMBENCH),
        Row("DINO ViT-S, container", (0.772, 0.873, 0.916, 0.795, 0.894, 0.935), ARMBENCH),
        Row("BEiT-3 Base, not fine-tuned, container", (0.837, 0.838, 0.845, 0.845, None, None),
            ROBOLLM, _IMAGE_LEVEL),
        Row("RoboLLM, container", (0.978, 0.979, 0.980, 0.980, 0.981, 0.982), ROBOLLM,
            _IMAGE_LEVEL),
        Row("RoboLLM, all references", (0.746, 0.826, 0.853, 0.782, 0.857, 0.891), ROBOLLM,
            f"{_OWN_WEIGHTS}; the gallery is the items that the test picks picked, not the whole "
            "gallery; R@2 and R@3 count reference images; the released code cannot run it"),
    ),
    {
        "ours, container": _recalls(),
        "ours, container, counted as the released code does": _recalls("image_level"),
        "ours, references of the picked items": _recalls("picked_references"),
        "ours, references of the picked items, by image": _recalls(
            "picked_references", "image_level"
        ),
        "ours, all references": _recalls("all_references"),
    },
    "N=1 asks with the pre-pick image, N=3 with two post-pick images as well. The builder of "
    "RoboLLM's index files puts picks with too few views into the N=1 file and all others into "
    "the N=3 file: if the released files are its own, N=1 and N=3 were measured on different "
    "picks; nobody has verified it. Ours asks the same picks both ways, and counts items, each "
    f"once, over all its references. {CHOSEN_ON_TEST}",
)  # fmt: skip

_KINDS = (("classes", "multi_pick"), ("classes", "package_defect"), ())
_RATES = ("precision", "recall", "fpr")

DEFECTS = Published(
    "Precision, recall and false positive rate of defects",
    tuple(f"{kind} {rate}" for kind in ("multi-pick", "package", "combined")
          for rate in ("precision", "recall", "FPR")),
    (
        Row("wanted by ARMBench", (None, 0.95, 0.01) * 3, ARMBENCH,
            "a target: recall above, FPR below"),
        Row("ResNet-50", (None, 0.34, 0.05, None, 0.73, 0.05, None, 0.57, 0.05), ARMBENCH),
        Row("RoboLLM Base", (0.84, 0.98, 0.04, 0.94, 0.91, 0.04, 0.90, 0.94, 0.03), ROBOLLM,
            _NO_FPR),
        Row("RoboLLM Large", (0.82, 1.00, 0.04, 0.89, 0.95, 0.03, 0.86, 0.97, 0.03), ROBOLLM,
            _NO_FPR),
    ),
    {
        "ours, at threshold 0.5": tuple(
            (*kind, "at_threshold_0.5", rate) for kind in _KINDS for rate in _RATES
        ),
        "ours, likeliest class against the rest": tuple(
            ("official", *(kind or ("combined",)), rate) for kind in _KINDS for rate in _RATES
        ),
    },
    "At a threshold, ours counts FPR as nominal images flagged over nominal images; against the "
    "rest, as ARMBench's script does, the other defect is a negative too. The published precision, "
    "recall and FPR of RoboLLM do not fit one test set: the share of negatives that they imply "
    "differs between Base and Large, and a combined FPR below that of both its parts cannot come "
    f"from the same nominal images. {CHOSEN_ON_TEST}",
)  # fmt: skip

PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "segmentation": (SEGMENTATION, CROWDING),
    "identification": (IDENTIFICATION,),
    "defects": (DEFECTS,),
}
"""Stage to what was published of it; the whole cell has no published row."""


def published_tables(
    stage: str, figures: Mapping[str, Any], provenance: Mapping[str, Any]
) -> tuple[Table, ...]:
    """Published rows with ours above them.

    Args:
        stage: "segmentation", "identification", "defects"; another has none.
        figures: of the outcome.
        provenance: "data" with "synthetic" says whether the data is simulated.

    Returns:
        One table each; a row of ours that has no figure is left out. The note says
        on its first line whether rows compare; caveats of single rows follow it, a
        line each, under the number that stands behind the row's name.
    """
    return tuple(_table(one, figures, provenance) for one in PUBLISHED.get(stage, ()))


def is_simulated(provenance: Mapping[str, Any]) -> bool:
    """Whether the data of a run came from a simulator."""
    data = provenance.get("data")
    return isinstance(data, Mapping) and bool(data.get("synthetic"))


def _table(
    published: Published, figures: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Table:
    simulated = is_simulated(provenance)
    care = list(dict.fromkeys(row.caveat for row in published.rows if row.caveat))
    rows: list[tuple[Cell, ...]] = []
    for name, paths in published.ours.items():
        cells = [_look_up(figures, path) for path in paths]
        if any(cell is not None for cell in cells):
            rows.append((name, *cells, "this run"))
    for row in published.rows:
        mark = f" ({care.index(row.caveat) + 1})" if row.caveat else ""
        rows.append((f"{row.name}{mark}", *row.values, row.source))
    lines = [SIMULATED if simulated else OTHER, published.note]
    lines += [f"({i}) {caveat[0].upper()}{caveat[1:]}." for i, caveat in enumerate(care, 1)]
    columns = ("method", *published.columns, "source")
    return Table(published.title, columns, tuple(rows), "\n".join(lines))


def _look_up(figures: Mapping[str, Any], path: tuple[str, ...]) -> Cell:
    """A figure or number by its path; None where there is none."""
    place: Any = figures
    for key in path:
        if not isinstance(place, Mapping) or key not in place:
            return None
        place = place[key]
    return place if is_figure(place) or isinstance(place, int | float) else None
