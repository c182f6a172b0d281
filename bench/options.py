"""The command lines of the benchmarks: what all of them can be told, and what their options take."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path


def positive(text: str) -> int:
    """How many of something are measured: a number from 1 on. Raises ArgumentTypeError, as argparse wants it."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def make_parser(about: str | None, quick: str) -> ArgumentParser:
    """Begin one that is described as `about`; `quick` says what a smoke run has."""
    made = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    made.add_argument("--quick", action="store_true", help=f"a smoke run: {quick}")
    return made
