"""What the options of the benchmarks take."""

from __future__ import annotations

from argparse import ArgumentTypeError


def positive(text: str) -> int:
    """How many of something are measured: a number from 1 on. Raises ArgumentTypeError, as argparse wants it."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)
