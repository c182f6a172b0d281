"""Fetch the programs of all peers into `.peers/`, for what runs later without a network: `python bench/fetch.py`."""

from __future__ import annotations

import argparse
import sys

import generations
from plane import packages

import peers


def main() -> None:
    """Fetch what is not there yet, and exit 1 when something cannot be had."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    packages.fetch(packages.PACKAGES)
    missing = [name for name in packages.PACKAGES if not (packages.ROOT / name).is_dir()]
    for names, fetch in ((peers.NAMES, peers.fetch), (generations.NEWER_NAMES, generations.fetch_newer)):
        try:
            fetch()
        except OSError as error:
            print(error, file=sys.stderr)
            missing += names
    sys.exit(f"cannot be fetched, tests that need them are skipped: {', '.join(missing)}" if missing else 0)


if __name__ == "__main__":
    main()
