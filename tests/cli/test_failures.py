"""What goes wrong, as exit codes and one sentence each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.errors import Code, Fault, Refused
from moorage.rpc.codec import Notification, Response
from scripted_agent import Hangup, ScriptedAgent

Run = Callable[..., tuple[int, str, str]]
"""Runs a command line with these answers; gives exit code, stdout, stderr."""


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (
            Refused(Code.PORT_IN_USE, "port 80 is\nheld by web"),
            1,
            "moorage: port_in_use: port 80 is\\nheld by web\n",
        ),
        (Fault("the journal died"), 4, "moorage: internal: the journal died\n"),
    ],
)
def test_failures_are_one_sentence_and_an_exit_code(
    answer: Exception, code: int, text: str, run: Run
) -> None:
    """A refusal exits with 1, a fault with 4, each with one line on stderr and nothing on stdout."""
    assert run("publish web 80:80", answer, answer) == (code, "", text)


def test_an_agent_that_cannot_be_reached_is_exit_3(run: Run, tmp_path: Path) -> None:
    """Without an agent, or with one that hangs up, the exit code is 3."""
    code, out, err = run(f"ps --socket {tmp_path}/none.sock")

    assert (code, out) == (3, "")
    assert err.startswith("moorage: unreachable: no agent answers at ")
    assert run("ps", Hangup(), Hangup())[0] == 3


@pytest.mark.parametrize("command", ["publish web 80:", "allocate -p 80/TCP", "unpublish web 1:2:3"])
def test_a_bad_spec_is_refused_without_an_agent(command: str, run: Run, tmp_path: Path) -> None:
    """A port spec that cannot be read exits with 1 and names it, whether or not an agent is there."""
    code, _, err = run(f"{command} --socket {tmp_path}/none.sock")

    assert code == 1
    assert err.startswith("moorage: invalid: port spec ")


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nonsense",
        "publish web",
        "release",
        "ps --jso",
        "networks create",
        "allocate --label a",
        "allocate --label a=1 --label b=2 --label a=3",
        "agent --down --replace",
    ],
)
def test_usage_errors_exit_with_2(arguments: str, run: Run, agent: ScriptedAgent) -> None:
    """What is no command line exits with 2, having asked nothing."""
    assert run(arguments)[0] == 2
    assert agent.requests == []


def test_a_bug_is_a_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw shows its traceback and exits with 4, which is not "refused"."""
    monkeypatch.setattr("moorage.cli.output.print", lambda *_, **__: 1 / 0, raising=False)
    code, _, err = run("ps", [])

    assert code == 4
    assert "ZeroDivisionError" in err


def test_events_end_with_the_agent(run: Run) -> None:
    """When the agent ends, `events` says so and exits with 3; as JSON each event is a line."""
    event = {"event": "repaired", "time": "now", "what": "a rule"}
    code, out, err = run("events --json", Hangup(Response(0, None, None), Notification("event", [event])))

    assert (code, json.loads(out)) == (3, event)
    assert err.startswith("moorage: unreachable: ")


def test_a_label_that_is_given_twice_is_named(run: Run) -> None:
    """Of two values for one label neither is dropped in silence."""
    assert "the label 'a' is given twice" in run("allocate --label a=1 --label a=1")[2]


def test_what_is_missing_is_all_that_is_named(run: Run) -> None:
    """The usage error of `unpublish` asks for the id alone, as specs may be left out."""
    assert "required: id\n" in run("unpublish")[2]


def test_a_socket_without_a_name_is_refused(run: Run) -> None:
    """An empty `--socket` is a mistake, such as an unset variable, and never the default socket."""
    code, _, err = run("ps --socket=")

    assert code == 1
    assert err == "moorage: invalid: socket is '', and must be a path\n"


def test_a_number_that_the_wire_cannot_carry_is_named(run: Run) -> None:
    """An integer past 64 bits is refused by the name of its parameter, before anything is sent."""
    code, _, err = run("networks create web --mtu 99999999999999999999")

    assert code == 1
    assert err.startswith(
        "moorage: invalid: create_network: mtu is 99999999999999999999, which cannot be sent"
    )


def test_who_may_not_use_the_socket_is_told_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system keeps somebody out an agent is there, and starting one is no advice."""

    def connect(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("moorage.rpc.connection._connect_to", connect)
    code, _, err = run("ps")

    assert code == 3
    assert "may not be reached by this user: its allow_uids or allow_gids must name you" in err
