# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Carry what a site adds to a shared backbone.

extract BEST.pt --out SITE.safetensors writes adapter and heads of a run alone, and a
.json beside them. apply BASE SITE.safetensors --out MERGED.pt puts them on the backbone
they were trained on, as one checkpoint. info SITE.safetensors says what a site is.
"""

import argparse
from pathlib import Path

from robollm_core.errors import ConfigError, OutputError

FILES = {
    "extract": ("BEST.pt",),
    "apply": ("BASE", "SITE.safetensors"),
    "info": ("SITE.safetensors",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm adapter`."""
    parser.add_argument("deed", choices=tuple(FILES))
    parser.add_argument("files", type=Path, nargs="+", help="see above")
    parser.add_argument("--out", type=Path, help="the .safetensors or .pt file to write")


def run(args: argparse.Namespace) -> int:
    """Extract, apply or describe.

    Raises:
        ConfigError: If the deed takes other files, or `--out` is missing or too much.
        CheckpointError: If a file is not what it should be, or the backbone is another.
        OutputError: If the result cannot be written.
    """
    wanted = FILES[args.deed]
    writes = args.deed != "info"
    if len(args.files) != len(wanted) or (args.out is not None) != writes:
        usage = f"robollm adapter {args.deed} {' '.join(wanted)}{' --out FILE' * writes}"
        raise ConfigError(f"the words do not fit, expected: {usage}")
    if args.deed == "info":
        from robollm_core.training import sites

        print(sites.describe(sites.read_site(args.files[0])))
    elif args.deed == "extract":
        _extract(args.files[0], args.out)
    else:
        _apply(args.files[0], args.files[1], args.out)
    return 0


def _extract(best: Path, out: Path) -> None:
    from robollm_core.training import sites

    site = sites.extract(best)
    sites.write_site(out, site)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB\n{sites.describe(site)}")


def _apply(base: Path, file: Path, out: Path) -> None:
    from robollm_core.training import sites
    from robollm_core.training.checkpoint import save_checkpoint

    if out.suffix != ".pt":
        raise OutputError(f"--out must end in .pt, got {out}.")
    site = sites.read_site(file)
    save_checkpoint(out, sites.apply(base, site))
    print(f"{out}: `robollm export {site.stage} --checkpoint {out}` takes it")
