"""Hosts whose whole traffic goes through a tunnel: a VPN that sets the halves of a default route."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunnels
from agents import AgentProcess
from lab import HOST, Lab
from moorage.errors import Code, Refused

pytestmark = pytest.mark.system

HALVES = {"": ("0.0.0.0/1", "128.0.0.0/1"), "-6": ("::/1", "8000::/1")}
QUARTERS = {"": ("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"), "-6": ("2000::/3",)}


@pytest.fixture(params=[HALVES, QUARTERS], ids=["halves", "quarters"])
def tunnel(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A host all of whose traffic is to go through `tun0`."""
    with Lab() as lab, tunnels.tunnel(lab, "tun0", "10.8.0.2/24"):
        for family, pieces in request.param.items():
            for piece in pieces:
                lab.run("host", ["ip", *family.split(), "route", "add", piece, "dev", "tun0"])
        yield lab


@pytest.mark.parametrize("config", [{}, {"subnet": "10.0.42.1/24"}], ids=["chosen", "named"])
def test_an_agent_starts_behind_a_full_tunnel(tunnel: Lab, tmp_path: Path, config: dict[str, str]) -> None:
    """The agent starts and makes networks, and a subnet is refused for what is in its way: here the tunnel's own."""
    with AgentProcess(tunnel, tmp_path, **config) as agent:
        agent.client.create_network("other")
        agent.client.create_network("named", subnet="10.0.43.0/24", subnet6="fd43::/64")
        agent.client.allocate("web", network="named", netns=tunnel.container("web"), ports=["8080:80"])
        tunnel.echo_server("web", "tcp", 80)
        assert tunnel.connect("outside", (HOST, 8080)).server == "web"
        in_the_way = re.escape("overlaps route 10.8.0.0/24 dev tun0, address 10.8.0.2 of tun0; ")
        with pytest.raises(Refused, match=in_the_way) as caught:
            agent.client.create_network("wrong", subnet="10.8.0.0/25")
        assert caught.value.code == Code.ADDRESS_IN_USE
