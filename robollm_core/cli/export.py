# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint into artifacts, an artifact into engines, and say what runs where."""

import argparse
import importlib

KINDS = {
    "segmentation": ("export_stage", "a checkpoint of the stage that finds things"),
    "identification": ("export_stage", "a checkpoint of the stage that names things"),
    "defects": ("export_stage", "a checkpoint of the stage that inspects things"),
    "runtimes": ("export_runtimes", "all artifacts for every runtime here, and the parity table"),
    "tensorrt": ("export_tensorrt", "build TensorRT engines, also without a GPU"),
    "check": ("export_check", "hold a graph against what a target can run"),
}
"""Kind to its module in this package, and one line for the list. A module has
`add_arguments(parser)` and `run(args) -> int`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb, one kind a word."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, (name, text) in KINDS.items():
        module = importlib.import_module(f"robollm_core.cli.{name}")
        options = kinds.add_parser(kind, help=text, description=module.__doc__)
        options.set_defaults(run_kind=module.run)
        module.add_arguments(options)


def run(args: argparse.Namespace) -> int:
    """Do what the kind does.

    Raises:
        RobollmError: If its input is not as it should be.
    """
    return int(args.run_kind(args))
