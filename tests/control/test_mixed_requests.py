"""Requests with a string of their own, such ones repeated, and plain ones, for one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agreement import assert_agreement
from contract.wire import Wire
from moorage import Agent, Refused
from moorage.control.links import Collect
from moorage.control.operation import Look
from moorage.supervision.directory import Address

pytestmark = pytest.mark.system

Params = dict[str, Any]

KEYED: dict[str, Params] = {
    "allocate": {"id": "x", "ports": ["80"]},
    "publish": {"id": "x", "ports": ["81"]},
    "unpublish": {"id": "x"},
    "detach": {"id": "x"},
    "release": {"id": "x"},
}
"""Requests that are made with a string, and repeated with it."""

PLAIN: dict[str, Params] = {
    "allocate": {"id": "x"},
    "publish": {"id": "x", "ports": ["8082:82"]},
    "unpublish": {"id": "x", "ports": ["8083:83"]},
    "detach": {"id": "x"},
    "release": {"id": "x"},
}
"""Requests without one, that come right after such a repetition."""


def nothing(_agent: Agent) -> None:
    """Let nothing happen in between."""


def look(agent: Agent) -> None:
    """The actor sees whether there is an interface, as it does when it was started anew."""
    tell(agent, Look())


def collect(agent: Agent) -> None:
    """The actor is told of a namespace that was never its own."""
    tell(agent, Collect(12345))


def tell(agent: Agent, message: Any) -> None:
    assert agent._context is not None
    Address(agent._context.directory, "interface:x").ask(message).wait()


def repeated(agent: Agent, method: str) -> None:
    """Repeat a request in the middle of plain ones: the interface is as a plain one left it."""
    if method != "allocate":
        agent.allocate("x")
    first = getattr(agent, method)(**KEYED[method], request="a")
    agent.release("x")
    agent.allocate("x", ports=["8083:83"])
    assert getattr(agent, method)(**KEYED[method], request="a") == first


@pytest.mark.parametrize("between", [nothing, look, collect], ids=lambda each: each.__name__)
@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("method", KEYED)
def test_a_plain_request_is_done(
    agent: Agent, method: str, plain: str, between: Callable[[Agent], None]
) -> None:
    """After a request was repeated, one without a string is done, and its answer is what came of it."""
    repeated(agent, method)
    between(agent)
    answer = getattr(agent, plain)(**PLAIN[plain])
    assert_done(agent, plain, answer)


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("method", KEYED)
def test_a_notification_is_done(agent: Agent, method: str, plain: str) -> None:
    """The same for a notification, which is answered nothing."""
    repeated(agent, method)
    with Wire(agent.socket) as wire:
        wire.send([2, plain, [PLAIN[plain]]])
        wire.ask("detach", [{"id": "x"}])  # handled after it, by the same actor
    assert_done(agent, plain, None)


def assert_done(agent: Agent, plain: str, answer: Any) -> None:
    """What that plain request asks for is so, and is what the answer says where there is one."""
    if plain == "release":
        assert answer is None or answer.released
        assert agent.list() == []
    else:
        present = agent.inspect("x")
        ports = {"publish": [8083, 8082], "unpublish": []}.get(plain, [8083])
        assert [mapping.host_port for mapping in present.ports] == ports
        assert answer is None or answer == present
    assert_agreement(agent)


def test_what_differs_is_refused(agent: Agent) -> None:
    """After a repeated request a plain one that cannot be done is refused, not given an answer of before."""
    repeated(agent, "publish")
    with pytest.raises(Refused, match="release it first"):
        agent.allocate("x", ports=["9000:90"])
    with pytest.raises(Refused, match="8099"):
        agent.unpublish("x", ["8099:80"])
    assert [mapping.host_port for mapping in agent.inspect("x").ports] == [8083]


def test_a_second_release_finds_nothing(agent: Agent) -> None:
    """A release that is repeated says what it said; a plain one of what is gone says that there was nothing."""
    agent.allocate("x")
    assert agent.release("x", request="a").released
    assert agent.release("x", request="a").released
    assert not agent.release("x").released
