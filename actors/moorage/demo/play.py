"""The demonstration from its first step to its last."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from moorage.demo.account import Failed, say, section
from moorage.demo.namespaces import leave_host
from moorage.demo.stage import Stage
from moorage.demo.story import STEPS
from moorage.errors import MoorageError

DEADLINE = 120
"""Seconds for the whole demonstration, some twenty times what it takes."""


def play(arguments: Sequence[str] | None = None) -> int:
    """Do every step and return 0; 1 when something was not as said, naming the step on stderr."""
    parser = argparse.ArgumentParser(prog="moorage demo", description="The main job on real sockets.")
    parser.parse_args(arguments)
    began = time.monotonic()
    try:
        leave_host()
    except MoorageError as error:
        print(f"moorage demo: {error}", file=sys.stderr)
        return 1
    say("This runs in network namespaces of its own, and changes nothing on this machine.")
    code = _play_all()
    if code == 0:
        print(f"\nAll was as promised, in {time.monotonic() - began:.0f} s.")
    return code


def _play_all() -> int:
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(DEADLINE)
    with Stage() as stage:
        os.environ["MOORAGE_SOCKET"] = str(stage.agent.socket)
        for number, step in enumerate(STEPS, 1):
            title = str(step.__doc__).rstrip(".")
            try:
                section(number, title)
                step(stage)
            except (Failed, MoorageError, OSError) as error:
                print(f"\nFAILED in step {number}, {title}:\n{error}", file=sys.stderr)
                print(f"\nThe agent's log ended:\n{stage.agent.log()}", file=sys.stderr)
                return 1
        signal.alarm(0)
    return 0


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise Failed(f"it was not over after {DEADLINE} s")
