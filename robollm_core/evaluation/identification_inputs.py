# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What identification is measured on besides the split itself: galleries, single views, lists."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from sys import intern

from robollm_core.data.armbench_identification import (
    ALL_VIEWS,
    REFERENCES,
    VIEWS,
    IdentificationSplit,
    References,
    read_identification,
)
from robollm_core.data.released_index import count_index, iterate_indexed
from robollm_core.errors import ConfigError
from robollm_core.evaluation.embedding import embed_samples
from robollm_core.evaluation.outcome import Request
from robollm_core.types import Float32Array


def read_split(request: Request) -> tuple[IdentificationSplit, int]:
    """Read a split with all four views; what cannot be read is noted as broken.

    Returns:
        The split, and how many picks were asked for.
    """
    before = len(request.broken.entries)
    samples = read_identification(request.dataset, request.split, request.broken, ALL_VIEWS)
    return samples, len(samples.picks) + len(request.broken.entries) - before


def with_every_reference(samples: IdentificationSplit, request: Request) -> IdentificationSplit:
    """A split with the reference pictures of all items of the data set, its own first.

    Args:
        samples: the split.
        request: "galleries" of its options is "all", or "split" to go without the
            others, which on ARMBench are many.

    Raises:
        ConfigError: If the option is neither.
    """
    galleries = request.options.get("galleries", "all")
    if galleries not in ("all", "split"):
        raise ConfigError(f"galleries must be all or split, got {galleries!r}.")
    root = request.dataset / REFERENCES
    if galleries == "split" or not root.is_dir():
        return samples
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    items = dict.fromkeys((*samples.references, *names))
    return replace(samples, references=References(root, items))


def check_broken(samples: IdentificationSplit, asked: int, request: Request) -> None:
    """Refuse a split of which too many picks and reference pictures cannot be used.

    Raises:
        DatasetError: If they are too many.
    """
    request.broken.check(asked + sum(len(own) for own in samples.references.values()))


def embed_view(
    samples: IdentificationSplit, request: Request, view: str
) -> Mapping[str, Float32Array]:
    """Embed one view of the picks that have it, whatever else they lack.

    Args:
        samples: the split; its references are left alone.
        request: says with which network.
        view: one of `data.armbench_identification.ALL_VIEWS`.

    Returns:
        Pick id to (D,); empty when no pick has the view.
    """
    picks = tuple(
        replace(pick, views={VIEWS[0]: pick.views[view]})
        for pick in samples.picks
        if view in pick.views
    )
    if not picks:
        return {}
    return embed_samples(IdentificationSplit(picks, {}), request).queries.get(VIEWS[0], {})


def released_lists(request: Request) -> Mapping[str, tuple[str, ...]] | None:
    """The galleries of the released index files.

    Args:
        request: "index" of its options is their folder.

    Returns:
        Pick id to item ids, one an image, as the file repeats them; None without
        the option.

    Raises:
        DatasetError: If there are no such files, or they are of another form.
    """
    folder = request.options.get("index")
    if not folder:
        return None
    found = iterate_indexed(request.dataset, request.split, Path(folder), request.broken)
    return {one.pick.pick_id: tuple(map(intern, one.gallery_ids)) for one in found}


def index_facts(request: Request) -> dict[str, int | bool]:
    """How many picks the released index files have, and whether N=1 and N=3 share any."""
    return count_index(Path(request.options["index"]), request.split).to_json()
