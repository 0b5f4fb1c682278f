# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The `robollm` command: finds the verb, imports only that verb's room, runs it."""

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, ModuleType

from robollm_core import __version__
from robollm_core.errors import DependencyError, RobollmError

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line.

    Attributes:
        module: module with `add_arguments(parser)` and `run(args) -> int`.
        summary: one line for the list of verbs.
        extra: extra of setup.py that holds its optional packages, "" for none.
    """

    module: str
    summary: str
    extra: str = ""


VERBS = {
    "perceive": Verb("perceive", "find, name and inspect what is on image files"),
    "replay": Verb("replay", "run a bag through the core without ROS, every frame, repeatable"),
    "demo": Verb("demo", "run the cell on the sample bag over ROS 2 and report", "demo"),
    "sim": Verb("sim", "run a simulated cell: cameras, manifest, picks, and the node", "sim"),
    "doctor": Verb("doctor", "say what is installed, what is missing and how to mend it"),
    "view": Verb("view", "serve the running cell on a local web page", "view"),
    "config": Verb("config", "print the commented configuration"),
    "synth": Verb("synth", "make synthetic data sets and bags", "sim"),
    "dataset": Verb("dataset", "make data sets of recorded cells, to train on", "train"),
    "train": Verb("train", "train a stage from a recipe", "train"),
    "study": Verb("study", "compare trainings over seeds: plots, intervals, a page", "train"),
    "evaluate": Verb("evaluate", "measure an artifact on a data set", "train"),
    "bench": Verb("bench", "measure time and memory on this machine", "train"),
    "soak": Verb(
        "soak", "run a simulated cell with faults for hours and account for it all", "sim"
    ),
    "convert": Verb("convert", "turn a published checkpoint into safetensors", "train"),
    "export": Verb("export", "turn a checkpoint into an artifact", "train"),
    "bundle": Verb("bundle", "pack networks, thresholds and licences into one file, or verify it"),
    "gallery": Verb("gallery", "keep reference embeddings in one file: make, change, check it"),
    "adapter": Verb("adapter", "carry what a site adds to a shared backbone", "train"),
    "card": Verb("card", "write the model cards from sidecars and figures"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after the program name; None for those of the process.

    Returns:
        Exit code: the verb's own, 2 when the input was refused, 130 when interrupted.

    Raises:
        SystemExit: With code 143 when the process is asked to end by SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _orderly_end():
            return _dispatch(words)
    except RobollmError as error:
        print(f"robollm: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("robollm: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader of a pipe left; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM unwind the stack: workers are ended, half-written files removed."""
    if threading.current_thread() is not threading.main_thread():  # no signals elsewhere
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(EXIT_TERMINATED)


def _dispatch(words: Sequence[str]) -> int:
    chosen = _parse_verb(words[:1])
    verb = VERBS[chosen]
    try:
        module, rest = _load(verb), words[1:]
        name = f"robollm {chosen}"
        # a verb that takes a file may have further words of its own, such as `replay diff`
        if rest and rest[0] in getattr(module, "SUBVERBS", {}):
            name, rest = f"{name} {rest[0]}", rest[1:]
            module = _load(Verb(module.SUBVERBS[words[1]], ""))
        parser = argparse.ArgumentParser(prog=name, description=module.__doc__)
        module.add_arguments(parser)
        return int(module.run(parser.parse_args(rest)))
    except ModuleNotFoundError as error:
        raise _missing(chosen, verb, error) from error


def _parse_verb(words: Sequence[str]) -> str:
    width = max(map(len, VERBS))
    listing = "\n".join(f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="robollm",
        description="Perception for warehouse robot cells.",
        epilog=f"verbs:\n{listing}\n\n`robollm VERB --help` describes one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"robollm {__version__}")
    parser.add_argument("verb", choices=tuple(VERBS), metavar="VERB")
    return str(parser.parse_args(words).verb)


def _load(verb: Verb) -> ModuleType:
    return importlib.import_module(f"robollm_core.cli.{verb.module}")


def _missing(name: str, verb: Verb, error: ModuleNotFoundError) -> Exception:
    package = (error.name or "").partition(".")[0]
    if package in ("", "robollm_core"):
        return error  # a fault of ours, not a missing package: keep the traceback
    extra = f"[{verb.extra}]" if verb.extra else ""
    return DependencyError(
        f"`robollm {name}` needs the Python package {package!r}, which is not installed. "
        f"Install it with: pip install '.{extra}' in the checkout, or see `robollm doctor`."
    )


if __name__ == "__main__":
    sys.exit(main())
