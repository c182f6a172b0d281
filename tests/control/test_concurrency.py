"""Many requests at once, on one interface and on many."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from agreement import StartAgent, assert_agreement
from moorage import Agent, Interface, Refused

pytestmark = pytest.mark.system

ROUNDS = 30
WORKERS = 12


def work(agent: Agent, seed: int, ids: list[str]) -> set[str]:
    """Do what comes to mind with one of these interfaces, again and again; returns the codes of what was refused."""
    choice = random.Random(seed)
    refused = set()
    for turn in range(ROUNDS):
        try:
            any_call(agent, choice, choice.choice(ids), f"{seed}-{turn}")
        except Refused as refusal:
            refused.add(str(refusal.code))
    return refused


def any_call(agent: Agent, choice: random.Random, interface_id: str, request: str) -> None:
    match choice.randrange(4):
        case 0:
            ports = choice.choice([["80"], ["8080:80"], ["53/udp", "81"]])
            agent.allocate(interface_id, ports=ports, request=request)
        case 1:
            ports = choice.choice([["80"], ["8080:80"], ["8081:81", "53/udp"]])
            agent.publish(interface_id, ports, request=request)
        case 2:
            agent.unpublish(interface_id, choice.choice([None, ["80"], ["8080:80"]]))
        case 3:
            agent.release(interface_id)


@pytest.mark.parametrize("ids", [["web"], ["a", "b", "c"]])
def test_any_order_of_requests_agrees_in_the_end(agent: Agent, ids: list[str]) -> None:
    """Whatever is asked at the same time is done as if one after the other, and all agree afterwards."""
    with ThreadPoolExecutor(WORKERS) as pool:
        refusals = set().union(*pool.map(lambda seed: work(agent, seed, ids), range(WORKERS)))
    assert refusals <= {"not_found", "exists", "port_in_use"}
    for each in assert_agreement(agent):
        agent.release(each.id)
    assert assert_agreement(agent) == []


def test_one_port_has_one_winner(agent: Agent) -> None:
    """Of all who ask for one port at once one gets it, and the others are told who."""
    names = [f"c{number}" for number in range(WORKERS)]
    for name in names:
        agent.allocate(name)

    def publish(name: str) -> Interface | Refused:
        try:
            return agent.publish(name, ["80", "8080:80"])
        except Refused as refusal:
            return refusal

    with ThreadPoolExecutor(WORKERS) as pool:
        answers = list(pool.map(publish, names))
    (winner,) = [answer for answer in answers if isinstance(answer, Interface)]
    refusals = [answer for answer in answers if isinstance(answer, Refused)]
    assert {str(each.code) for each in refusals} == {"port_in_use"}
    assert all(winner.id in each.text for each in refusals)
    assert_agreement(agent)


def test_many_are_allocated_and_released_at_once(agent: Agent) -> None:
    """A hundred and fifty allocations at once get addresses and ports of their own, and are gone again."""
    names = [f"c{number}" for number in range(150)]
    with ThreadPoolExecutor(WORKERS) as pool:
        made = list(pool.map(lambda name: agent.allocate(name, ports=["80", "53/udp"]), names))
        assert len({each.ip for each in made}) == len(made)
        assert len({mapping.name for each in made for mapping in each.ports}) == 2 * len(made)
        assert {each.id: each for each in agent.list()} == {each.id: each for each in made}
        assert_agreement(agent)
        assert all(pool.map(agent.release, names))
    assert assert_agreement(agent) == []


def test_networks_come_and_go_at_once(start_agent: StartAgent) -> None:
    """Networks made and removed at once, with interfaces on them, leave bridges of those that remain."""
    agent = start_agent()

    def come_and_go(number: int) -> None:
        name = f"n{number % 3}"
        for call in (
            lambda: agent.create_network(name),
            lambda: agent.allocate(f"c{number}", network=name, ports=["80"]),
            lambda: agent.release(f"c{number}"),
            lambda: agent.remove_network(name),
        ):
            try:
                call()
            except Refused as refusal:
                assert refusal.code in {"exists", "not_found"}  # noqa: PT017 - each may be refused

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(come_and_go, range(60)))
    assert_agreement(agent)
    bridges = agent._context.kernel.bridges  # type: ignore[union-attr]  # a MemoryKernel
    assert set(bridges) == {network.bridge for network in agent.networks()}
