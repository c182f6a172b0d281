"""Whether clients, journal, tree, kernel and listeners of an agent of its own process say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from agents import until
from agreement import assert_same, expected_listeners, expected_tree, listening, tree_of
from chaos.flows import check_flows
from chaos.footprint import Footprint
from chaos.told import require
from chaos.victim import Victim, check_kernel
from moorage.kernel.linux import netns as namespaces
from moorage.rpc.wire import interface_from_wire, interface_to_wire
from moorage.values import Interface

SETTLED = 5.0
"""Seconds within which all has to agree after the last answer."""


def agree(victim: Victim, told: Mapping[str, Interface], fresh: Footprint | None = None) -> None:
    """Compare all with the journal, while no request is under way. Raises AssertionError.

    `told` is what clients were told, `fresh` what the agent took when it had nothing to do.
    """
    journal = victim.recorded()
    interfaces = journal.interfaces
    by_id = {each.id: interface_from_wire(interface_to_wire(each)) for each in interfaces}
    wrong = {id for id in told.keys() & by_id.keys() if told[id] != by_id[id]}
    assert_same("what clients were told", set(told), set(by_id))
    require(not wrong, f"told {[told[id] for id in wrong]}, recorded {[by_id[id] for id in wrong]}")
    agent = victim.client
    require(agent.list() == list(by_id.values()), "the list is not as recorded")
    assert_same("tree", tree_of(agent), expected_tree(agent, interfaces))
    check_kernel(victim, journal)
    if victim.kept is None:
        check_flows(victim, journal)
    listeners = expected_listeners(interfaces)
    assert_same("listeners", listeners_of(victim.pid), listeners)
    if fresh is not None:
        fresh.check(victim, listeners)


def eventually(check: Callable[[], None]) -> None:
    """Wait until `check` raises nothing; raises what it raises at last."""
    last: list[AssertionError] = []

    def holds() -> bool:
        try:
            check()
        except AssertionError as error:
            last[:] = [error]
            return False
        return True

    try:
        until(holds, SETTLED)
    except AssertionError:
        raise last[0] from None


def listeners_of(pid: int) -> set[tuple[str, int]]:
    """The tcp and udp ports that sockets of that process's network namespace wait at."""
    with ThreadPoolExecutor(1) as thread:  # it stays there
        return thread.submit(_listening_with, pid).result()


def _listening_with(pid: int) -> set[tuple[str, int]]:
    with namespaces.opened(f"/proc/{pid}/ns/net") as fd:
        namespaces.setns(fd)
    return listening()
