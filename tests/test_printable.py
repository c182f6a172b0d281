"""Text from outside where people read it: refusals, faults, warnings, tables, and the log on a terminal."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.cli import text as tables
from moorage.cli.main import main
from moorage.control.context import Warnings
from moorage.errors import Fault, Refused
from moorage.kernel.linux import mounts
from moorage.log import Log, set_up_logging
from moorage.printable import printable
from moorage.values import ActorInfo, Interface, Mapping, Network, Status, Step

ANYTHING = st.text(
    st.one_of(
        st.characters(codec=None),
        st.sampled_from("\x1b\x07\x00\r\n\t\x9b\u202e\u2028\u200f\udc80\ud800"),
        st.sampled_from("[]0;31mHJ"),
    ),
    max_size=40,
)
"""Characters that terminals obey, that hide or turn what is around them, and that no encoding has, among all others."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def is_plain(line: str) -> bool:
    """Whether a terminal shows it as it is, and every encoding of Unicode has it."""
    return line.isprintable() and line.encode("utf-8", "strict") is not None


@given(ANYTHING)
def test_printable_text_is_one_plain_line(text: str) -> None:
    """Whatever it was; what was plain before is left as it is, so that once is as good as twice."""
    shown = printable(text)
    assert is_plain(shown)
    assert printable(shown) == shown
    assert shown == text or not text.isprintable()


@given(ANYTHING)
def test_refusals_and_faults_are_plain(text: str) -> None:
    """Whatever a sentence quotes, it is a line that can be sent and shown."""
    refused, fault = Refused("invalid", f"there is no {text}: see tree"), Fault(f"it broke: {text}")
    assert all(map(is_plain, (refused.text, str(refused), str(fault))))


@given(ANYTHING)
def test_warnings_are_plain(text: str) -> None:
    """What `status` says of the host's own names is a line as well."""
    warnings = Warnings()
    warnings.say("links", [f"chain {text} drops"])
    assert all(map(is_plain, warnings.current()))


@given(ANYTHING)
def test_tables_are_plain(text: str) -> None:
    """Every table and line of the command line, whatever an agent says."""
    mapping = Mapping(text, text, 1, 2)
    interface = Interface(
        text, text, text, 24, text, text, text, netns=text, ports=(mapping,), labels={text: text}
    )
    shown = [
        tables.interfaces([interface]),
        tables.networks([Network(text, text, text, text, text, text)]),
        tables.tree([ActorInfo(text, None, text, text, 0, 0, text)]),
        tables.status(Status(0, 0, 0, 0, text, 0, 0, text, (text,))),
        tables.steps([Step(text, ok=True, text=text)]),
        tables.event({"event": text, "time": text, text: text}),
    ]
    assert all(is_plain(line) for each in shown for line in each.split("\n"))
    assert [len(each.split("\n")) for each in shown] == [2, 2, 2, 9, 2, 1]


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error, with logging set up for it."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    before = structlog.get_config()
    set_up_logging("info")
    try:
        yield made
    finally:
        structlog.configure(**before)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING)
def test_the_log_on_a_terminal_is_plain(terminal: Terminal, text: str) -> None:
    """One line an event, but for a traceback; the only escapes are the log's own colours."""
    terminal.truncate(0)
    terminal.seek(0)
    Log(id=text).warning("mapping_published", what=text, labels={text: [text]}, reason=Fault(text))
    (line,) = terminal.getvalue().split("\n")[:-1]
    assert is_plain(COLOURS.sub("", line))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING)
def test_a_traceback_on_a_terminal_is_plain(terminal: Terminal, text: str) -> None:
    """What an exception quotes is shown as it is."""
    terminal.truncate(0)
    terminal.seek(0)
    try:
        raise ValueError(text)
    except ValueError:
        Log().exception("actor_died")
    lines = terminal.getvalue().split("\n")
    assert "Traceback (most recent call last):" in lines[1]
    assert all(is_plain(COLOURS.sub("", line)) for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [["\x1b[2J"], ["ps", "\x1b[2J"], ["why", "--\x1b[2J", "8080"], ["allocate", "--label", "\x1b"]],
)
def test_usage_is_plain(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What was typed or pasted is shown, and not obeyed, when it is wrong."""
    with contextlib.suppress(SystemExit):
        main(arguments)
    assert all(is_plain(line) for line in capsys.readouterr().err.split("\n"))


def test_a_mount_without_a_text_for_a_name_is_no_obstacle(tmp_path: Path) -> None:
    """Any local user may mount something of his own, under bytes that are no text, and the agent reads the list."""
    file = tmp_path / "mountinfo"
    file.write_bytes(
        b"1 0 0:1 / /home/eve/\xff rw - fuse eve rw\n2 0 0:2 / /sys/fs/cgroup rw - cgroup2 none rw\n"
    )
    assert [each.point for each in mounts.read(file) if each.kind == "cgroup2"] == ["/sys/fs/cgroup"]


def test_a_bug_is_told_plainly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback of a command that breaks obeys nothing either."""

    def broken(*_: Any) -> None:
        raise ValueError("\x1b[2J\udc80")

    monkeypatch.setattr("moorage.cli.local.say", broken)
    assert main(["version"]) == 4
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert all(is_plain(line) for line in said.split("\n"))
