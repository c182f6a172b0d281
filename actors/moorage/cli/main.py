"""From arguments to an exit code, with every failure as one sentence on stderr."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum

from moorage.cli.output import abandon, prepare_streams
from moorage.cli.parser import make_parser
from moorage.errors import MoorageError, Refused, Unreachable
from moorage.printable import printable, printable_lines


class Exit(IntEnum):
    """What the process exits with; argparse exits with 2, and the last two are 128 + signal, as in shells."""

    DONE = 0
    REFUSED = 1
    UNREACHABLE = 3
    FAULT = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (None: that of `sys.argv`) and return the exit code."""
    prepare_streams()
    options = make_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except MoorageError as error:
        return _complain(error)
    except BrokenPipeError:
        abandon()
        return Exit.BROKEN_PIPE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception:  # noqa: BLE001 - a bug is a fault; Python's own exit code for it would say "refused"
        print(printable_lines(traceback.format_exc()), end="", file=sys.stderr)
        return Exit.FAULT
    return code


def _complain(error: MoorageError) -> int:
    match error:
        case Refused():
            code, text = Exit.REFUSED, str(error)
        case Unreachable():
            code, text = Exit.UNREACHABLE, f"unreachable: {error}"
        case _:
            code, text = Exit.FAULT, f"internal: {error}"
    print(f"moorage: {printable(text)}", file=sys.stderr)
    return code
