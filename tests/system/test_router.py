"""A host with other links of its own: whether packets between those go through it, whatever becomes of the agent.

outside 10.77.0.2, fd77::2  --eth0--  host  --lan0--  beyond 10.88.0.2, fd88::2
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents import AgentProcess, Replaceable, until
from chaos.test_damage import DAMAGES
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

BEYOND, BEYOND6 = "10.88.0.2", "fd88::2"
SWITCHES = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
THROUGH = {
    4: (("outside", (BEYOND, 80)), ("beyond", (OUTSIDE, 80))),
    6: (("outside", (BEYOND6, 80)), ("beyond", (OUTSIDE6, 80))),
}
OURS = {
    4: (
        ("outside", (HOST, 8080)),
        ("beyond", ("10.88.0.1", 8080)),
        ("web", (OUTSIDE, 80)),
        ("web", (BEYOND, 80)),
    ),
    6: (
        ("outside", (HOST6, 8080)),
        ("beyond", ("fd88::1", 8080)),
        ("web", (OUTSIDE6, 80)),
        ("web", (BEYOND6, 80)),
    ),
}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The host between two others, which forwards nothing."""
    with Lab() as made:
        peer = made.container("beyond").rpartition("/")[2]
        made.run("host", ["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", peer])
        for inside, link, last in (("host", "lan0", 1), ("beyond", "eth0", 2)):
            made.run(inside, ["sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0"])  # usable at once
            made.run(inside, ["ip", "link", "set", link, "up"])
            made.run(inside, ["ip", "address", "add", f"10.88.0.{last}/24", "dev", link])
            made.run(inside, ["ip", "address", "add", f"fd88::{last}/64", "dev", link, "nodad"])
        made.run("beyond", ["ip", "route", "add", "default", "via", "10.88.0.1"])
        made.run("beyond", ["ip", "route", "add", "default", "via", "fd88::1"])
        for name in ("outside", "beyond"):
            for proto in ("tcp", "udp"):
                made.echo_server(name, proto, 80)
        yield made


def agent(lab: Lab, directory: Path, **config: object) -> Replaceable:
    return Replaceable(lab, directory, subnet="10.0.42.1/24", **config)


def fill(agent: AgentProcess) -> None:
    """A container on a network with IPv6, which answers at port 8080 of the host."""
    lab, client = agent.lab, agent.client
    client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
    client.allocate("web", network="dual", netns=lab.container("web"), ports=["8080:80", "8080:80/udp"])
    for proto in ("tcp", "udp"):
        lab.echo_server("web", proto, 80)


def passing(lab: Lab, *families: int) -> list[bool]:
    """For each way between the others: whether it is open; all are tried at the same time."""
    ways = [way for family in families for way in THROUGH[family]]
    with ThreadPoolExecutor(len(ways)) as pool:
        return list(pool.map(lambda way: lab.can_reach(*way, timeout=0.2), ways))


def assert_confined(lab: Lab) -> None:
    """Nothing passes between the others, and all of ours does."""
    assert not any(passing(lab, 4, 6))
    for family, ways in OURS.items():
        for name, to in ways:
            for proto in ("tcp", "udp"):
                assert lab.can_reach(name, to, proto, timeout=2), (family, name, to, proto)


def sysctl(lab: Lab, path: str) -> str:
    return lab.run("host", ["sysctl", "-n", path]).strip()


def switch_on(lab: Lab, *families: int) -> None:
    for family in families:
        lab.run("host", ["sysctl", "-qw", f"{SWITCHES[family]}=1"])


def test_a_host_that_forwarded_nothing_forwards_for_us_alone(lab: Lab, tmp_path: Path) -> None:
    """Nothing passes between the host's other links: while the agent runs, is dead, has started, is replaced."""
    with agent(lab, tmp_path) as it:
        fill(it)
        assert_confined(lab)
        it.kill()
        assert_confined(lab)
        it.start()
        assert_confined(lab)
        predecessor = it.succeed()
        assert predecessor.wait(30) == 0
        assert_confined(lab)
        it.terminate()
        assert_confined(lab)
        assert it.down().returncode == 0
    assert [sysctl(lab, path) for path in SWITCHES.values()] == ["0", "0"]
    assert not any(passing(lab, 4, 6))


def test_rules_that_are_put_right_confine_again(lab: Lab, tmp_path: Path) -> None:
    """Rules that somebody flushed, or from which the families were taken, confine as soon as they are put right."""
    with agent(lab, tmp_path) as it:
        fill(it)
        run = lab.call("host", Nftables).run
        for change in (
            "delete table inet moorage",
            "flush set inet moorage unforwarded",
            "flush chain inet moorage others",
        ):
            with it.events("repaired") as events:
                run(change)
                events.named("repaired")
            assert_confined(lab)


@pytest.mark.parametrize("family", [4, 6])
def test_a_host_that_forwarded_before_forwards_as_before(lab: Lab, tmp_path: Path, family: int) -> None:
    """A family that the host forwarded is forwarded as ever, the other one for our bridges alone."""
    switch_on(lab, family)
    open_before = lab.open("outside", THROUGH[family][0][1])
    with agent(lab, tmp_path) as it:
        fill(it)
        for _ in range(2):
            assert all(passing(lab, family))
            assert not any(passing(lab, 10 - family))
            it.replace(signal.SIGKILL)
        open_before.sendall(b"still there\n")
        assert open_before.recv(100).endswith(b"still there\n")
        it.terminate()
        assert it.down().returncode == 0
    assert [sysctl(lab, SWITCHES[each]) for each in (family, 10 - family)] == ["1", "0"]


def test_forwarding_that_somebody_switched_off_is_ours_from_then_on(lab: Lab, tmp_path: Path) -> None:
    """Where the host forwarded, and somebody switches that off, it is on again for our bridges, and for nobody else."""
    switch_on(lab, 4, 6)
    with agent(lab, tmp_path) as it:
        fill(it)
        assert all(passing(lab, 4, 6))
        for path in SWITCHES.values():
            lab.run("host", ["sysctl", "-qw", f"{path}=0"])
        until(lambda: all(sysctl(lab, path) == "1" for path in SWITCHES.values()), 2)
        assert_confined(lab)


def test_others_are_forwarded_where_the_key_says_so(lab: Lab, tmp_path: Path) -> None:
    """With `forward_others` the host is a router, from the start that says so to the one that does not."""
    with agent(lab, tmp_path, forward_others=True) as it:
        fill(it)
        assert all(passing(lab, 4, 6))
        it.terminate()
    with agent(lab, tmp_path):
        assert_confined(lab)


def test_a_link_that_forwarded_alone_does_so_still(lab: Lab, tmp_path: Path) -> None:
    """Where the host forwarded what comes in by one link, as networkd can be told to, it does that, and no more."""
    lab.run("host", ["sysctl", "-qw", "net.ipv4.conf.lan0.forwarding=1", "net.ipv4.conf.eth0.forwarding=0"])
    assert sysctl(lab, SWITCHES[4]) == "0"
    lone = "net.ipv4.conf.lan0.forwarding"
    with agent(lab, tmp_path) as it:
        fill(it)
        # the answers are let back in, as of any connection that was let out
        assert passing(lab, 4, 6) == [False, True, False, False]
        it.replace(signal.SIGKILL)
        assert passing(lab, 4, 6) == [False, True, False, False]
        it.terminate()
        assert it.down().returncode == 0
    assert [sysctl(lab, path) for path in (lone, *SWITCHES.values())] == ["1", "0", "0"]


@pytest.mark.parametrize("how", ["zeroed", "gone", "row"])
def test_a_damaged_state_confines_as_well(lab: Lab, tmp_path: Path, how: str) -> None:
    """Whether the host forwarded is read from the rules where its record is lost, and it is put back by that."""
    with agent(lab, tmp_path) as it:
        fill(it)
        it.kill()
        DAMAGES[how](it.state)
        it.start()
        assert it.log("state_rebuilt")
        assert_confined(lab)
        it.replace(signal.SIGKILL)
        assert_confined(lab)
        it.terminate()
        assert it.down().returncode == 0
    assert [sysctl(lab, path) for path in SWITCHES.values()] == ["0", "0"]
