"""Containers over the wire, on the real kernel: where they are attached, and what stays when that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess
from contract.wire import Wire
from lab import Lab

pytestmark = pytest.mark.system


@pytest.fixture
def lab(linux_agent: AgentProcess, linux: Wire) -> Lab:
    """The lab of the agent that `linux` is connected to."""
    return linux_agent.lab


def link(lab: Lab, where: str, name: str) -> dict[str, Any] | None:
    """What `ip` says of a link, with its addresses; None when there is none."""
    links = json.loads(lab.run(where, ["ip", "-json", "address"]))
    return next((each for each in links if each["ifname"] == name), None)


def test_the_default_network_is_there_at_start(lab: Lab, linux: Wire) -> None:
    """The agent makes `default` on the bridge `moorage0`, with the gateway as its address."""
    [default] = linux.call("networks")
    assert default == {
        "name": "default",
        "bridge": "moorage0",
        "subnet": "10.0.42.0/24",
        "gateway": "10.0.42.1",
        "internal": False,
        "mtu": 1500,
    }
    bridge = link(lab, "host", "moorage0")
    assert bridge is not None
    assert ("10.0.42.1", 24) in [(each["local"], each["prefixlen"]) for each in bridge["addr_info"]]


@pytest.mark.parametrize("form", ["path", "name", "pid"])
@pytest.mark.parametrize("method", ["allocate", "attach"])
def test_a_namespace_is_given_back_as_a_path(lab: Lab, linux: Wire, form: str, method: str) -> None:
    """A namespace is named by path, by name or by process, and the answer has a path."""
    container = f"{form}-{method}"
    path = lab.container(container)
    process = lab.popen(container, ["sleep", "600"])
    netns = {"path": path, "name": Path(path).name, "pid": f"pid:{process.pid}"}[form]
    if method == "attach":
        linux.call("allocate", id="web")
    web = linux.call(method, id="web", netns=netns)
    assert web["netns"] == (f"/proc/{process.pid}/ns/net" if form == "pid" else path)
    assert web["ifname"] == "eth0"
    assert linux.call("inspect", id="web") == web
    made = link(lab, container, "eth0")
    assert made is not None
    assert (made["address"], made["mtu"]) == (web["mac"], 1500)
    assert (web["ip"], 24) in [(each["local"], each["prefixlen"]) for each in made["addr_info"]]


def test_attaching_to_where_it_is_changes_nothing(lab: Lab, linux: Wire) -> None:
    """`attach` again, and `allocate` again with the same namespace, give the interface; elsewhere is refused."""
    path = lab.container("here")
    elsewhere = lab.container("elsewhere")
    web = linux.call("allocate", id="web", netns=path, ifname="net7")
    assert web["ifname"] == "net7"
    assert linux.call("attach", id="web", netns=path) == web
    assert linux.call("attach", id="web", netns=Path(path).name, ifname="net7") == web
    assert linux.call("allocate", id="web", netns=path) == web
    for asked in ({"netns": elsewhere}, {"netns": path, "ifname": "net8"}):
        for method in ("attach", "allocate"):
            assert linux.refused(method, id="web", **asked).startswith("exists: ")
    assert linux.call("inspect", id="web") == web


def test_detaching(lab: Lab, linux: Wire) -> None:
    """`detach` takes the link away and keeps address, MAC and ports; then it may be attached elsewhere."""
    web = linux.call("allocate", id="web", netns=lab.container("first"), ports=["8080:80"])
    detached = linux.call("detach", id="web")
    assert detached == web | {"netns": None, "ifname": None}
    assert link(lab, "first", "eth0") is None
    assert linux.call("detach", id="web") == detached
    again = linux.call("attach", id="web", netns=lab.container("second"))
    assert again == web | {"netns": lab.path("second")}
    assert link(lab, "second", "eth0") is not None


def test_releasing_takes_the_link_away(lab: Lab, linux: Wire) -> None:
    """After `release` neither end of the pair is left."""
    before = lab.run("host", ["ip", "-o", "link"]).count("\n")
    linux.call("allocate", id="web", netns=lab.container("released"))
    linux.call("release", id="web")
    assert link(lab, "released", "eth0") is None
    assert lab.run("host", ["ip", "-o", "link"]).count("\n") == before


@pytest.mark.parametrize(
    ("netns", "code"),
    [
        ("/run/netns/ghost", "not_found"),
        ("ghost", "not_found"),
        ("pid:4194304", "not_found"),
        ("pid:x", "invalid"),
        ("pid:", "invalid"),
        ("../x", "invalid"),
        ("/etc/hostname", "invalid"),
        ("/proc/self/ns/mnt", "invalid"),
    ],
)
def test_a_bad_namespace_is_refused(linux: Wire, netns: str, code: str) -> None:
    """What names no namespace is refused for `allocate` and `attach` alike, and nothing is made."""
    web = linux.call("allocate", id="web")
    for method, id in (("attach", "web"), ("allocate", "db")):
        text = linux.refused(method, id=id, netns=netns)
        assert text.startswith(f"{code}: ")
        assert netns.removeprefix("pid:") in text
    assert linux.call("list") == [web]


def test_allocating_is_all_or_nothing(lab: Lab, linux: Wire) -> None:
    """Where the link cannot be made, no address, port, record or link is left behind."""
    path = lab.container("taken")
    lab.run("taken", ["ip", "link", "add", "eth0", "type", "bridge"])
    before = lab.run("host", ["ip", "-o", "link"]).count("\n")
    text = linux.refused("allocate", id="web", ip="10.0.42.50", netns=path, ports=["8080:80"], request="all")
    assert "eth0" in text
    assert linux.call("list") == []
    assert linux.call("status")["proxies"] == 0
    assert lab.run("host", ["ip", "-o", "link"]).count("\n") == before
    asked = {"ip": "10.0.42.50", "netns": path, "ports": ["8080:80"], "ifname": "eth1"}
    assert linux.call("allocate", id="db", **asked)["ip"] == "10.0.42.50"


def test_attaching_is_all_or_nothing(lab: Lab, linux: Wire) -> None:
    """Where the link cannot be made, the interface stays as it was, and can be attached another way."""
    path = lab.container("occupied")
    lab.run("occupied", ["ip", "link", "add", "eth0", "type", "bridge"])
    web = linux.call("allocate", id="web", ports=["8080:80"])
    assert "eth0" in linux.refused("attach", id="web", netns=path, request="attach")
    assert linux.call("inspect", id="web") == web
    assert linux.call("attach", id="web", netns=path, ifname="eth1")["ifname"] == "eth1"


def test_automatic_ports_pass_over_what_is_reserved_at_that_moment(lab: Lab, linux: Wire) -> None:
    """An automatic port is none that `ip_local_reserved_ports` names when it is asked for."""
    reserved = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
    last = linux.call("allocate", id="web", ports=["80"])["ports"][0]["host_port"]
    others = lab.call("host", reserved.read_text).strip()
    lab.call(
        "host", reserved.write_text, f"{others},{last + 1}-{last + 3}" if others else f"{last + 1}-{last + 3}"
    )
    assert linux.call("publish", id="web", ports=["81"])["ports"][1]["host_port"] == last + 4
    lab.call("host", reserved.write_text, "\n")


def test_an_internal_network_says_so(linux: Wire) -> None:
    """`internal` is told of a network that has no way out."""
    made = linux.call("create_network", name="sealed", subnet="10.0.44.0/24", internal=True)
    assert made["internal"] is True
    assert made in linux.call("networks")


def test_bridges_of_their_own_name_and_mtu(lab: Lab, linux: Wire) -> None:
    """A network's bridge has the name and MTU asked for, is its containers' too, and goes with the network."""
    linux.call("create_network", name="back", subnet="10.0.45.0/24", bridge="fifteen-bytes-b", mtu=1400)
    linux.call("allocate", id="web", network="back", netns=lab.container("small"))
    for where, name in (("host", "fifteen-bytes-b"), ("small", "eth0")):
        found = link(lab, where, name)
        assert found is not None
        assert found["mtu"] == 1400
    linux.call("release", id="web")
    linux.call("remove_network", name="back")
    assert link(lab, "host", "fifteen-bytes-b") is None
