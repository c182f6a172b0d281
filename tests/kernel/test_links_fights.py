"""Somebody undoes each repair of a link, a sysctl or a bridge at once, by a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agents import until
from host_links import NETWORK, HostLinks
from lab import Lab
from moorage.kernel.linux import repairs
from moorage.kernel.linux.names import port_name
from moorage.kernel.protocol import Reconciled
from moorage.model.backoff import Pace
from moorage.values import Interface
from proxy.harness import HandClock

pytestmark = pytest.mark.system

PACE = Pace()
PORT = port_name("web")
DAMAGE = {
    "bridge moorage0": "ip link set moorage0 down",
    "veth of web": f"ip link set {PORT} nomaster",
    "net/ipv4/ip_forward": "sysctl -qw net.ipv4.ip_forward=0",
    "net/ipv4/conf/moorage0/route_localnet": "sysctl -qw net.ipv4.conf.moorage0.route_localnet=0",
}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def links(lab: Lab, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostLinks]:
    monkeypatch.setattr(repairs, "_CHEAP", 10.0)  # on a busy machine a look into a container is dear
    made = HostLinks(lab, clock)
    yield made
    made.stop()


@pytest.fixture
def web(links: HostLinks) -> Interface:
    links.ensure_network(NETWORK)
    return links.attached("web", 2)


Audit = Callable[[], Reconciled]


@pytest.fixture
def audit(links: HostLinks, web: Interface) -> Audit:
    def run() -> Reconciled:
        found: Reconciled = links.reconcile([NETWORK], [web])
        return found

    assert run().repaired == []
    return run


def fight(links: HostLinks, audit: Audit, command: str, times: int) -> list[Reconciled]:
    """Damage and audit in turn."""
    found = []
    for _ in range(times):
        links.lab.run("host", command.split())
        found.append(audit())
    return found


@pytest.mark.parametrize("what", DAMAGE)
def test_whoever_undoes_a_repair_each_time_is_given_way_to(
    links: HostLinks, audit: Audit, clock: HandClock, what: str
) -> None:
    """After ten repairs there is one warning, and a rest until the next; then all is right, and stays so."""
    found = fight(links, audit, DAMAGE[what], PACE.limit + 3)
    assert [bool(each.repaired) for each in found] == [True] * PACE.limit + [False] * 3
    assert [warning for each in found for warning in each.contested] == list(found[PACE.limit - 1].contested)
    assert [what in warning for warning in found[PACE.limit - 1].contested] == [True]
    assert [each.rest for each in found[PACE.limit :]] == [PACE.first] * 3
    clock.now += PACE.first
    assert audit().repaired
    after = audit()
    assert after[:4] == ([], [], [], 2 * PACE.first)
    assert [what in warning for warning in after.warnings] == [True]
    assert links.lab.connect("outside", ("10.0.42.2", 80)).server == "web"


def test_a_fight_over_one_thing_holds_back_no_other(links: HostLinks, audit: Audit) -> None:
    """While a sysctl is fought over, a veth is put right at once; connections that work go on."""
    with links.lab.open("outside", ("10.0.42.2", 80)) as client:
        fight(links, audit, DAMAGE["net/ipv4/conf/moorage0/route_localnet"], PACE.limit + 1)
        client.sendall(b"still there\n")
        assert client.recv(100).endswith(b"still there\n")
    (repaired,) = fight(links, audit, DAMAGE["veth of web"], 1)
    assert [said for said in repaired.repaired if "master set" in said]


def test_what_follows_from_a_bridge_is_not_fought_over(links: HostLinks, audit: Audit) -> None:
    """Who deletes a bridge each time is warned of once, though its veths and sysctls are put right with it."""
    found = fight(links, audit, "ip link delete moorage0", PACE.limit)
    assert all("veth of web: master" in " ".join(each.repaired) for each in found)
    (warning,) = found[-1].contested
    assert "bridge moorage0" in warning


def test_what_was_undone_inside_a_container_is_found_after_the_rest(
    links: HostLinks, audit: Audit, clock: HandClock
) -> None:
    """A change inside a container is heard once; that it was heard while the container rested is not forgotten."""
    links.watch(lambda: None, print)

    def undone() -> Reconciled:
        links.ip("address", "flush", "dev", "eth0", inside="web")
        return audit()

    until(lambda: undone().contested)  # a change is heard by a thread, so not each is at the next audit
    assert undone().repaired == []
    clock.now += PACE.first
    until(lambda: any("address 10.0.42.2/24 added" in said for said in audit().repaired))
