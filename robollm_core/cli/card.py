# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Write the model cards of a folder of artifacts from their sidecars and metrics.json."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm card`."""
    parser.add_argument(
        "--models", type=Path, required=True, help="folder with networks, sidecars, metrics.json"
    )


def run(args: argparse.Namespace) -> int:
    """Write every card, or none when one cannot be written truthfully."""
    from robollm_core.export.card import render_cards
    from robollm_core.files import write_file

    for name, text in render_cards(args.models).items():
        write_file(args.models / name, text.encode())
        print(args.models / name)
    return 0
