"""The demonstration, which is a test of the whole as well."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.demo.story import STEPS

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).parents[2] / "bin/moorage"
DEADLINE = 100


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_everything_is_as_promised() -> None:
    """`moorage demo` does each of its steps, sees nothing amiss, says so, and exits 0."""
    done = run(PROGRAM, "demo")

    assert (done.returncode, done.stderr) == (0, "")
    titles = re.findall(r"^\d+\. (.*)$", done.stdout, flags=re.MULTILINE)
    assert titles == [str(step.__doc__).rstrip(".") for step in STEPS]
    assert done.stdout.count("\n   ok  ") > 2 * len(STEPS)
    assert "\nAll was as promised" in done.stdout


def test_what_is_not_as_promised_is_named() -> None:
    """Where something is not as said, the demonstration names it, shows the agent's log, and exits 1."""
    without_the_death_of_dns = (
        "import sys; from moorage.demo import main, play, story;"
        "play.STEPS = [story.build, story.start, story.publish, story.release];"
        "sys.exit(main([]))"
    )
    done = run(sys.executable, "-c", without_the_death_of_dns)

    assert done.returncode == 1
    assert "FAILED in step 4, Everything is given back:\n" in done.stderr
    assert "was not: no link of a container is left" in done.stderr
    assert '"event": "interface_released"' in done.stderr
    assert "All was as promised" not in done.stdout


def test_an_agent_that_does_not_start_is_named() -> None:
    """An agent that ends instead of starting fails the demonstration with what it logged."""
    sabotage = (
        "import sys; from moorage.demo import main, stage; stage.Agent.flags = ('--subnet', '198.51.100.0/24');"
        "sys.exit(main([]))"
    )
    done = run(sys.executable, "-c", sabotage)

    assert done.returncode == 1
    assert "FAILED in step 2" in done.stderr
    assert "198.51.100.0/24" in done.stderr
