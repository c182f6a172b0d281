"""The maps that methods give: which keys there are, and of what type."""

from __future__ import annotations

from typing import Any

import pytest

from agents import AgentProcess
from contract.wire import INTERFACE, INTERFACE6, NETWORK, NETWORK6, Wire
from moorage import Config
from moorage.agent import Agent

pytestmark = pytest.mark.system

ACTOR = {"name", "parent", "kind", "state", "restarts", "mailbox", "since"}


def test_hello(memory_agent: AgentProcess, wire: Wire) -> None:
    """`hello` names the agent, its versions and its process."""
    hello = wire.call("hello")
    assert hello.keys() == {"name", "version", "api", "pid", "started"}
    assert (hello["name"], hello["api"], hello["pid"]) == ("moorage", 1, memory_agent.pid)
    assert isinstance(hello["version"], str)


def test_an_interface_of_one_family(wire: Wire) -> None:
    """Without IPv6 an interface has the documented keys and no other, and nil where it is not attached."""
    web = wire.call("allocate", id="web", ports=["127.0.0.1:8080:80"], labels={"app": "shop"})
    assert web.keys() == INTERFACE
    del web["created"]
    assert web == {
        "id": "web",
        "network": "default",
        "ip": web["ip"],
        "prefix": 24,
        "gateway": "10.0.42.1",
        "mac": web["mac"],
        "netns": None,
        "ifname": None,
        "ports": [
            {"proto": "tcp", "host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "count": 1}
        ],
        "labels": {"app": "shop"},
    }


def test_an_interface_of_both_families(linux: Wire) -> None:
    """On a network with IPv6 an interface and its network have the three and two keys more."""
    dual = linux.call("create_network", name="dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
    web = linux.call("allocate", id="web", network="dual")
    assert dual.keys() == NETWORK6
    assert web.keys() == INTERFACE6
    assert (dual["subnet6"], dual["gateway6"]) == ("fd43::/64", "fd43::1")
    assert (web["ipv6"], web["prefix6"], web["gateway6"]) == ("fd43::2", 64, "fd43::1")


@pytest.mark.parametrize("method", ["inspect", "publish", "unpublish", "allocate"])
def test_every_method_gives_the_same_interface(wire: Wire, method: str) -> None:
    """Whatever changes nothing about an interface gives it as `list` does."""
    wire.call("allocate", id="web", ports=["8080:80"])
    arguments: dict[str, dict[str, Any]] = {"publish": {"ports": ["8080:80"]}, "unpublish": {"ports": []}}
    more = arguments.get(method, {})
    assert [wire.call(method, id="web", **more)] == wire.call("list")


def test_a_network(wire: Wire) -> None:
    """A network has the documented keys and no other."""
    made = wire.call("create_network", name="back", subnet="10.0.43.0/24", bridge="br-back", mtu=1400)
    assert made == {
        "name": "back",
        "bridge": "br-back",
        "subnet": "10.0.43.0/24",
        "gateway": "10.0.43.1",
        "internal": False,
        "mtu": 1400,
    }
    assert made in wire.call("networks")
    assert wire.call("networks")[0].keys() == NETWORK


def test_release_and_remove_say_whether_there_was_one(wire: Wire) -> None:
    """A second `release` or `remove_network` is no error, and gives false."""
    wire.call("allocate", id="web")
    wire.call("create_network", name="back", subnet="10.0.43.0/24")
    assert [wire.call("release", id="web") for _ in range(2)] == [{"released": True}, {"released": False}]
    removed = [wire.call("remove_network", name="back") for _ in range(2)]
    assert removed == [{"removed": True}, {"removed": False}]


def test_status_counts(wire: Wire) -> None:
    """`status` has its nine keys, and counts what there is; a range is one mapping and one proxy."""
    before = wire.call("status")
    wire.call("allocate", id="web", ports=["80", "53/udp", "8000-8009:9000-9009/udp"])
    wire.call("create_network", name="back", subnet="10.0.43.0/24")
    status = wire.call("status")
    keys = ("networks", "interfaces", "mappings", "proxies", "kernel", "restarts", "repaired", "started")
    assert status.keys() == {*keys, "warnings"}
    assert status["warnings"] == []
    assert [status[key] for key in keys[:5]] == [2, 1, 3, 3, "memory"]
    assert [status[key] for key in keys[5:]] == [before[key] for key in keys[5:]]


def test_the_tree_has_its_names(wire: Wire) -> None:
    """`tree` names actors as documented, each after its parent, the root without one."""
    wire.call("allocate", id="web", ports=["8080:80", "[::1]:8081:80", "8000-8009:9000-9009/udp"])
    tree = wire.call("tree")
    parents = {each["name"]: each["parent"] for each in tree}
    assert parents == {
        "root": None,
        "journal": "root",
        "allocators": "root",
        "ip:default": "allocators",
        "tcp-ports": "allocators",
        "udp-ports": "allocators",
        "sctp-ports": "allocators",
        "port-mapper": "root",
        "links": "root",
        "proxies": "root",
        "proxy:tcp/0.0.0.0:8080": "proxies",
        "proxy:tcp/[::1]:8081": "proxies",
        "proxy:udp/0.0.0.0:8000-8009": "proxies",
        "interfaces": "root",
        "interface:web": "interfaces",
        "gateway": "root",
    }
    names = [each["name"] for each in tree]
    assert all(names.index(each["parent"]) < names.index(each["name"]) for each in tree if each["parent"])


def test_an_actor_has_its_keys(wire: Wire) -> None:
    """An actor's entry has seven keys; supervisors are told from workers, and all run."""
    tree = wire.call("tree")
    supervisors = {each["name"] for each in tree if each["kind"] == "supervisor"}
    assert supervisors == {"root", "allocators", "proxies", "interfaces"}
    for each in tree:
        assert each.keys() == ACTOR
        assert each["kind"] in {"supervisor", "worker"}
        assert each["state"] == "running"
        assert {type(each["restarts"]), type(each["mailbox"])} == {int}


def test_why_is_not_there_yet(wire: Wire) -> None:
    """`why` takes a port, and this version says that it cannot follow one."""
    assert wire.refused("why", port="8080/tcp").startswith("unsupported: ")
    assert wire.refused("why", port="8080/icmp").startswith("invalid: ")


def test_crash_makes_an_actor_raise(wire: Wire) -> None:
    """With chaos allowed `crash` gives nil, and the actor is restarted; who is not there is not found."""
    assert "ghost" in wire.refused("crash", actor="ghost")
    assert wire.refused("crash", actor="ghost").startswith("not_found: ")
    assert wire.call("subscribe", events=["actor_restarted"]) is None
    wire.send([0, 99, "crash", [{"actor": "udp-ports"}]])
    kinds = {len(frame): frame for frame in (wire.receive(), wire.receive())}
    assert kinds[4] == [1, 99, None, None]
    assert kinds[3][2][0]["actor"] == "udp-ports"


def test_crash_is_denied_without_chaos(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Unless the configuration says so, `crash` is refused, naming the key."""
    state = tmp_path_factory.mktemp("calm")
    config = Config(kernel="memory", state=state, default_network=False)
    with Agent(config) as agent, Wire(agent.socket) as wire:
        text = wire.refused("crash", actor="journal")
    assert text.startswith("denied: ")
    assert "chaos" in text
