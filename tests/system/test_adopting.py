"""Networks made of what is there already: who may, and what nobody may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess, until
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage import Refused
from moorage.model.port_names import port_name
from users import EVE, User, open_directory

pytestmark = pytest.mark.system

WAYS = {
    "default": f"ip route replace default via {OUTSIDE} dev br0",
    "IPv6 alone": f"ip -6 route replace default via {OUTSIDE6} dev br0",
    "another table": f"ip route add default via {OUTSIDE} dev br0 table 77",
    "several ways": f"ip route replace default nexthop via {OUTSIDE} dev br0 nexthop via 10.9.0.2 dev br9",
    "halves": f"ip route add 0.0.0.0/1 via {OUTSIDE} dev br0; ip route add 128.0.0.0/1 via {OUTSIDE} dev br0",
    "no gateway": "ip route replace default dev br0",
}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host whose uplink is a port of the bridge br0, with another bridge br9, and no default route."""
    with Lab() as made:
        lines = (
            "ip link add br0 type bridge",
            "sysctl -qw net.ipv6.conf.br0.accept_dad=0",
            "ip address flush dev eth0",
            "ip link set eth0 master br0",
            f"ip address add {HOST}/24 dev br0",
            f"ip address add {HOST6}/64 dev br0 nodad",
            "ip link set br0 up",
            "ip link add br9 type bridge",
            "ip address add 10.9.0.1/24 dev br9",
            "ip link set br9 up",
        )
        made.run("host", ["sh", "-ec", "\n".join(lines)])
        # a bridge tells its carrier a moment after its port has one
        until(lambda: "state UP" in made.run("host", ["ip", "-o", "link", "show", "br0"]))
        yield made


def network_of(lab: Lab) -> str:
    """Addresses, links, routes, sysctls and rules of the host."""
    looks = ("ip -o address", "ip -o link", "ip route show table all", "ip -6 route show table all")
    values = "grep -rs . /proc/sys/net/ipv4/conf/br0 /proc/sys/net/ipv6/conf/br0 || true"
    told = "".join(lab.run("host", ["sh", "-c", look]) for look in (*looks, values))
    # links give themselves local addresses when they are ready
    return "\n".join(line for line in told.splitlines() if "fe80::" not in line)


@contextmanager
def told_apart(user: User | None, agent: AgentProcess) -> Iterator[Any]:
    """How a network is asked for, by a user or by the agent's own: what it is refused with, or None."""

    def create(**asked: Any) -> str | None:
        if user is not None:
            answer = user.ask(agent.socket, "create_network", name="net", **asked)
            refused = answer if isinstance(answer, str) else None
        else:
            try:
                agent.client.create_network("net", **asked)
                refused = None
            except Refused as error:
                refused = str(error)
        if refused is None:
            agent.client.remove_network("net")
        return refused

    yield create


@pytest.mark.parametrize("way", WAYS)
def test_the_way_out_is_nobodys_bridge(lab: Lab, tmp_path: Path, way: str) -> None:
    """A bridge that a default route leaves by is refused to everybody, the route is named, and nothing is changed."""
    lab.run("host", ["sh", "-ec", WAYS[way]])
    with AgentProcess(lab, tmp_path) as agent, told_apart(None, agent) as create:
        before = network_of(lab)
        refused = create(bridge="br0")
        assert refused is not None
        assert refused.startswith("address_in_use: "), refused
        assert "default" in refused or "0.0.0.0/1" in refused
        assert "dev br0" in refused
        assert network_of(lab) == before
        assert create(bridge="br9" if way != "several ways" else "br8") is None
        assert (create(bridge="br9") or "").startswith("address_in_use" if way == "several ways" else "")


@pytest.mark.parametrize(
    ("route", "asked"),
    [
        ("default via 10.200.0.1 dev br0 onlink", {"subnet": "10.200.0.0/24"}),
        ("default via 10.200.0.1 dev br0 onlink", {"subnet": "10.200.0.0/16"}),
        ("0.0.0.0/1 via 10.200.0.1 dev br0 onlink", {"subnet": "10.200.0.0/24"}),
        ("default via fd99::1 dev br0 onlink", {"subnet6": "fd99::/64"}),
    ],
)
def test_the_gateway_is_in_nobodys_subnet(
    lab: Lab, tmp_path: Path, route: str, asked: dict[str, str]
) -> None:
    """A subnet with the gateway of a default route in it is refused, and the route named, if no other route has it."""
    lab.run("host", ["sh", "-ec", f"ip {'-6' if 'fd' in route else ''} route replace {route}"])
    with AgentProcess(lab, tmp_path) as agent, told_apart(None, agent) as create:
        before = network_of(lab)
        refused = create(**asked)
        assert refused is not None
        assert refused.startswith("address_in_use: "), refused
        assert " ".join(route.split()[:5]) in refused
        assert network_of(lab) == before
        assert create(subnet="10.201.0.0/24") is None


def test_a_start_that_would_take_the_way_out_is_refused(lab: Lab, tmp_path: Path) -> None:
    """An agent whose own network was to be the way out ends, names the route, and has changed nothing."""
    lab.run("host", ["sh", "-ec", WAYS["default"]])
    before = network_of(lab)
    done = AgentProcess(lab, tmp_path, bridge="br0").refusal()
    assert done.returncode == 1
    assert f"default via {OUTSIDE} dev br0" in done.stderr
    assert network_of(lab) == before


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where everybody reaches an agent's socket."""
    yield from open_directory("adopting")


def test_only_root_adopts_a_bridge_or_takes_public_addresses(lab: Lab, directory: Path) -> None:
    """A client who is neither root nor the agent's user is denied both, and has all else as before."""
    with (
        User() as user,
        AgentProcess(lab, directory, allow_uids=[EVE], subnet="10.0.42.1/24") as agent,
        told_apart(user, agent) as create,
        told_apart(None, agent) as create_as_root,
    ):
        before = network_of(lab)
        denied = (
            {"bridge": "br9"},
            {"bridge": "moorage9", "subnet": "8.8.8.0/24"},
            {"subnet": "172.0.0.0/8"},
            {"subnet": "10.50.0.0/24", "subnet6": "2a00:1450::/64"},
        )
        for asked in denied:
            refused = create(**asked)
            assert refused is not None
            assert refused.startswith("denied: "), refused
            assert f"uid {EVE}" in refused
            assert set(asked.values()) & {word.strip(",:;") for word in refused.split()}
        assert network_of(lab) == before
        assert create(bridge="moorage9", subnet="10.50.0.0/24", subnet6="fd50::/64") is None
        assert create() is None
        for asked in denied:
            assert create_as_root(**asked) is None


def test_what_the_agent_makes_at_its_start_is_nobody_elses(lab: Lab, directory: Path) -> None:
    """A client can neither remove the default network, nor one that he could not make again, nor take its bridge."""
    with User() as user, AgentProcess(lab, directory, allow_uids=[EVE], subnet="10.0.42.1/24") as agent:

        def ask(method: str, **params: Any) -> Any:
            return user.ask(agent.socket, method, **params)

        agent.client.create_network("public", subnet="8.8.8.0/24")
        for name in ("default", "public"):
            told = ask("remove_network", name=name)
            assert told.startswith("denied: "), told
            assert f"uid {EVE}" in told
        agent.client.remove_network("default")
        for name, bridge in (("default", "mg-other"), ("eve", "moorage0")):
            assert ask("create_network", name=name, bridge=bridge).startswith("denied: ")
        assert ask("create_network", name="eve", bridge=port_name("web")).startswith("invalid: ")
        assert ask("create_network", name="eve")["name"] == "eve"
        assert ask("remove_network", name="eve") == {"removed": True}
        agent.replace()
        assert sorted(each.name for each in agent.client.networks()) == ["default", "public"]
