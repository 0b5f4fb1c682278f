# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A recorded bag with truth as the data set of one stage, so that the stage can be measured."""

import hashlib
import json
from pathlib import Path

from robollm_core.data.site import SUMMARY, SiteOrder, write_site
from robollm_core.data.site_files import DEFECTS, PICKS, TOTES
from robollm_core.errors import BagError, DatasetError

SPLIT = "test"
"""The only split of such a data set: nothing of it trains or chooses."""

_FOLDERS = {"identification": PICKS, "segmentation": TOTES, "defects": DEFECTS}


def as_dataset(
    bag: Path,
    stage: str,
    work: Path,
    *,
    references: Path | None = None,
    labels: Path | None = None,
    image_topic: str = "",
) -> Path:
    """Make a recording into a data set; one that was made before is taken as it is.

    Args:
        bag: an .mcap or .db3 file or a rosbag2 folder, with ground truth, with picks
            that say their item, or with `labels`.
        stage: "segmentation", "identification" or "defects".
        work: folder in which the data set is made, in `from-bag-<key>`.
        references: where reference images of manifests are, None for the folder of
            the bag.
        labels: file of corrected labels, believed before what the bag says.
        image_topic: needed where a bag has several.

    Returns:
        The folder in ARMBench's layout; everything is in `SPLIT`.

    Raises:
        BagError: If the bag cannot be read.
        DatasetError: If nothing of it is labelled for this stage.
        OutputError: If the data set cannot be written; nothing half-written is left.
    """
    order = SiteOrder(
        (bag,), image_topic, labels, references=references, val_share=0.0, test_share=1.0
    )
    root = work / f"from-bag-{_key(order)}"
    if not (root / SUMMARY).is_file():
        write_site(order, root)
    summary = json.loads((root / SUMMARY).read_text(encoding="utf-8"))
    folder = _FOLDERS[stage]
    if not summary["kept"][folder]:
        left = "; ".join(f"{own['count']} x {why}" for why, own in summary["left_out"].items())
        raise DatasetError(
            f"{bag} holds no sample for {stage}; labelled frames by source: {summary['labels']}; "
            f"left out: {left or 'nothing'}. See docs/site.md for what a stage needs."
        )
    return root / folder


def _key(order: SiteOrder) -> str:
    """What the data set is made of, by name, size and time of change of its files."""
    (bag,) = order.bags
    digest = hashlib.sha256(repr((order.image_topic, str(order.references))).encode())
    named = [bag, *([order.labels] if order.labels is not None else [])]
    files = [f for path in named for f in (sorted(path.iterdir()) if path.is_dir() else [path])]
    for path in files:
        try:
            about = path.stat()
        except OSError as error:
            raise BagError(f"cannot read {path}: {error}.") from error
        facts = (str(path.resolve()), about.st_size, about.st_mtime_ns)
        digest.update(repr(facts).encode())
    return digest.hexdigest()[:12]
