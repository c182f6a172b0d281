"""Every benchmark, one after the other, into `bench/results/`: `python bench/run.py [--quick] [--into DIR] [NAME...]`.

Let nothing else run meanwhile; `python bench/compare.py` then says what moved since the last commit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from results import DIRECTORY

NAMES = ("pools", "control", "rpc", "reliability", "dataplane")
"""The shortest first. Those without `--quick` have no need of it."""
ALWAYS_QUICK = {"pools"}


def run(name: str, into: Path, quick: bool) -> bool:
    """Run one; whether it came to its end."""
    program = Path(__file__).with_name(f"{name}.py")
    argv = [sys.executable, str(program), "--json", str(into / f"{name}.json")]
    argv += ["--quick"] if quick and name not in ALWAYS_QUICK else []
    print(f"== {name}", flush=True)
    return subprocess.run(argv, check=False).returncode == 0


def main() -> None:
    """Run all that was asked for, and exit 1 when one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--into", type=Path, default=DIRECTORY, metavar="DIR", help="where results go")
    parser.add_argument("--quick", action="store_true", help="seconds each, to see that all work")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    try:
        options.into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"no results can be written to {options.into}: {error.strerror}")
    failed = [name for name in options.names if not run(name, options.into, options.quick)]
    sys.exit(f"did not come to their end: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
