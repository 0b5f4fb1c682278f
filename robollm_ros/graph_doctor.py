# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Say what is wrong with a running cell and what to do; `robollm doctor --graph` starts it.

Exit code 0 when all is well, 1 when something is wrong, 2 when there is no graph.
"""

import argparse
import os
import sys
import threading
from dataclasses import asdict
from functools import partial
from typing import Any

from rclpy.utilities import remove_ros_args

from robollm_core.cli.doctor_graph import SECONDS, describe, exit_code
from robollm_ros.graph_rules import judge
from robollm_ros.graph_seen import ERROR, OK, Finding, Survey
from robollm_ros.graph_survey import Surveyor
from robollm_ros.program import EXIT_REFUSED, run, write_json


def look(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Survey, judge, print; returns the exit code."""
    surveyor = Surveyor()
    try:
        survey = surveyor.survey(arguments.seconds, arguments.namespace, stop.is_set)
    finally:
        surveyor.close()
    found = findings_tree(survey)
    if arguments.json != "-":
        print(describe(found), flush=True)
    write_json(arguments.json, found)
    return exit_code(found)


def findings_tree(survey: Survey) -> dict[str, Any]:
    """The survey and its findings, as JSON holds them."""
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    findings = judge(survey) if survey.nodes else (_no_graph(domain),)
    return {
        "domain": domain,
        "seconds": round(survey.seconds, 1),
        "well": all(finding.level == OK for finding in findings),
        "nodes": dict(survey.nodes),
        "cells": [asdict(cell) for cell in survey.cells.values()],
        "findings": [asdict(finding) for finding in findings],
    }


def _no_graph(domain: str) -> Finding:
    what = f"no node is in ROS domain {domain}: nothing runs, or it runs in another domain"
    mend = (
        "compare ROS_DOMAIN_ID, ROS_AUTOMATIC_DISCOVERY_RANGE and RMW_IMPLEMENTATION of both "
        "shells; in containers, share the network and /dev/shm"
    )
    return Finding(ERROR, 1, "", what, mend)


def main() -> int:
    """Entry point of the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="how long to listen (default %(default)s)"
    )
    parser.add_argument("--namespace", default="", help="look only at cells in this namespace")
    parser.add_argument("--json", default="", metavar="FILE", help="findings too; - for stdout")
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    if not 0 < arguments.seconds < float("inf"):
        print(f"robollm: --seconds must be above 0, got {arguments.seconds}", file=sys.stderr)
        return EXIT_REFUSED
    return run(partial(look, arguments))


if __name__ == "__main__":
    sys.exit(main())
