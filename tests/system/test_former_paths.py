"""What a container said was too big for it is not believed of the next one with its address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import frames
import packets
from agents import until
from frames import IP, IP6, frame
from installation import GATEWAY, PEER6, WEB, WEB6, Installation, installed
from packets import Ends

pytestmark = pytest.mark.system

OWN = {4: "10.0.43.66", 6: "fd43::66"}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("paths")) as made:
        yield made


def mac(at: Installation, name: str, link: str) -> str:
    return at.lab.run(name, ["ip", "-o", "link", "show", link]).split("link/ether ")[1].split()[0]


def path(at: Installation, address: str) -> str:
    """What the host knows of the way to an address."""
    return at.lab.run("host", ["ip", "route", "get", address])


def say_too_big(at: Installation, name: str, address: str) -> None:
    """The host believes the container that an echo of its (IPv4: an answer to one) was too big."""
    gateway = GATEWAY[WEB6 if ":" in address else WEB]
    if ":" in address:
        kind, about = IP6, frames.icmp6(gateway, address, 128, b"\0\1\0\1" + bytes(20))
    else:
        kind, about = IP, frames.ip4(gateway, address, 1, frames.icmp(0, b"\0\1\0\1" + bytes(20)))
    error = packets.icmp_error(Ends(address, 0, gateway, 0), about, mtu=1280)
    sent = frame(mac(at, name, "eth0"), kind, error, mac(at, "host", "mg-dual"))
    at.lab.can_reach("host", (address, 80))  # who was never spoken to complains of nothing
    frames.send(at.lab, name, "eth0", sent)
    until(lambda: "mtu 1280" in path(at, address))


@pytest.mark.parametrize("version", OWN)
@pytest.mark.parametrize("running", [True, False], ids=["", "killed meanwhile"])
def test_a_path_does_not_outlive(at: Installation, version: int, running: bool) -> None:
    """Whoever is given the address next is sent what fits its link, however the agent ended meanwhile."""
    with at.container("former", ip=OWN[4], ipv6=OWN[6]):
        say_too_big(at, "former", OWN[version])
        if not running:
            at.agent.kill()
            at.agent.start()
    with at.container("next", ip=OWN[4], ipv6=OWN[6]):
        assert "mtu" not in path(at, OWN[version])


def test_those_of_others_stay(at: Installation) -> None:
    """A neighbour's path is known as before."""
    say_too_big(at, "peer", PEER6)
    with at.container("other", ip=OWN[4], ipv6=OWN[6]):
        assert "mtu 1280" in path(at, PEER6)
