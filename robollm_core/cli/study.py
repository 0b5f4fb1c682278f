# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Compare trainings: many short runs, means over seeds with intervals, plots and a page."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robollm_core import __version__

if TYPE_CHECKING:
    from robollm_core.study.maps import Layout
    from robollm_core.study.plan import Study
    from robollm_core.study.runner import Outcome

NAMES = ("objectives", "share", "adapters", "pretraining", "maps")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("name", choices=NAMES)
    parser.add_argument(
        "--data", type=Path, required=True, help="identification data in ARMBench's layout"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the runs; finished ones are kept"
    )
    parser.add_argument(
        "--init", default="", help="weights that all runs start from; pretraining takes random ones"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of every arm (default 3)")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side (default 1)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE.md",
        help="the page; plots and JSON lie beside it",
    )
    parser.add_argument("--quick", action="store_true", help="a few small runs, to try the road")


def run(args: argparse.Namespace) -> int:
    """Run what is not done; 0 when no run failed.

    Raises:
        RobollmError: If data, recipe or output is not as it should be.
    """
    from robollm_core.evaluation.provenance import machine, made_by
    from robollm_core.files import write_file
    from robollm_core.study.page import to_json, write_page
    from robollm_core.study.plan import build_study
    from robollm_core.study.runner import run_study
    from robollm_core.study.summary import summarise
    from robollm_core.training.recipe import read_assignments

    changes = read_assignments(tuple(args.set))
    study = build_study(
        args.name, seeds=args.seeds, init=args.init, changes=changes, quick=args.quick
    )
    outcomes = run_study(study, args.data, args.out, jobs=args.jobs)
    plots: dict[str, bytes] = {}
    if args.name == "maps":
        outcomes, plots = _looked_at(outcomes, args)
    results = summarise(study, outcomes)
    results["provenance"] = {
        "command": shlex.join(["robollm", *sys.argv[1:]]),
        "data": _origin(args.data, made_by(args.data, "val")),
        "init": study.runs[0].recipe["init"] or "random weights",
        "machine": machine(),
        "version": __version__,
    }
    page = args.page or args.out / f"{args.name}.md"
    write_page(page, results, plots or _plots(study, results))
    for target in (args.json, args.out / f"{args.name}.json"):
        if target is not None:
            write_file(target, to_json(results))
    _print(results)
    print(f"page: {page}\nfigures and runs: {args.out / f'{args.name}.json'}")
    return 1 if results["failed"] else 0


def _origin(data: Path, made: Mapping[str, Any]) -> str:
    """The data by name, and by the simulator's seed where it is the simulator's."""
    return f"{data} (simulator, seed {made['seed']})" if "seed" in made else str(data)


def _plots(study: "Study", results: Mapping[str, Any]) -> dict[str, bytes]:
    from robollm_core.study import plots

    if study.name == "objectives":
        kinds = dict.fromkeys(c.split()[0] for c in study.conditions[1:])
        return {f"{study.name}.png": plots.lines(results, tuple(kinds))}
    return {f"{study.name}.png": plots.bars(results)}


def _looked_at(
    outcomes: "Sequence[Outcome]", args: argparse.Namespace
) -> tuple[list["Outcome"], dict[str, bytes]]:
    """Lay the networks' embeddings out; the map is that of the first seed."""
    from dataclasses import replace

    from robollm_core.study import plots
    from robollm_core.study.maps import lay_out

    seen: list[Outcome] = []
    drawn: dict[str, Layout] = {}
    for outcome in outcomes:
        if outcome.error:
            seen.append(outcome)
            continue
        layout = lay_out(outcome.folder / "best.pt", args.data, args.out / "cache")
        seen.append(replace(outcome, figures={**outcome.figures, **layout.figures}))
        drawn.setdefault(outcome.run.arm, layout)
    return seen, {"maps.png": plots.maps(drawn)} if drawn else {}


def _print(results: Mapping[str, Any]) -> None:
    from robollm_core.study.summary import conclusions, show

    measure = results["measures"][0]
    for condition, arms in results["means"].items():
        for arm, row in arms.items():
            one = row[measure["name"]]
            low, high = show(one["low"], measure["unit"]), show(one["high"], measure["unit"])
            value = show(one["mean"], measure["unit"])
            print(f"{condition}: {arm}: {measure['title']} {value} [{low}, {high}] n={one['n']}")
    for one in results["failed"]:
        print(f"failed: {one['arm']}, {one['condition']}, seed {one['seed']}: {one['error']}")
    for sentence in conclusions(results):
        print(sentence)
