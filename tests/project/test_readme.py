"""What README.md shows, done."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage import Agent, Config

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EMBEDDED, WIRE, CLIENT = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
DEADLINE = 60


def run(example: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def promised(example: str) -> list[str]:
    """What the comments behind its prints say will be printed."""
    printed = re.findall(r"^ *print\(.*\)  # (.*)$", example, flags=re.MULTILINE)
    assert printed
    return printed


@pytest.fixture
def agent(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    with Agent(Config(kernel="memory", state=state)) as running:
        monkeypatch.setenv("MOORAGE_SOCKET", str(running.socket))
        yield running


def test_embedded_example() -> None:
    """The example of an embedded agent prints what its comments say."""
    assert run(EMBEDDED) == promised(EMBEDDED)


def test_socket_examples(agent: Agent) -> None:
    """So do the bare socket's and the client's, one after the other as they stand."""
    assert run(WIRE) == promised(WIRE)
    assert run(CLIENT) == promised(CLIENT)


def test_links_lead_somewhere() -> None:
    """Every file that README links to is there."""
    links = re.findall(r"\]\(([^):]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
