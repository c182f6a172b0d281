"""The kernel's own bounds: whoever meets one hears which, and afterwards everything is as it was."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from host_links import NETWORK4, HostLinks, cookie_at, find_namespace
from moorage.errors import Code, Refused
from moorage.kernel.linux import bounds, netns, nftables
from moorage.kernel.linux.names import port_name
from moorage.kernel.linux.rtnetlink import refusing
from moorage.kernel.protocol import Namespace

BRIDGE_PORTS = 1023
FULL = (errno.EMFILE, errno.ENFILE, errno.EXFULL, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.ENOBUFS)


def fill(links: HostLinks, ports: int) -> None:
    """Give the bridge so many ports of somebody else's."""
    commands = (
        f"link add f{n} type veth peer name p{n}\nlink set f{n} master moorage0" for n in range(ports)
    )
    links.lab.run("host", ["ip", "-batch", "-"], input="\n".join(commands))


@contextmanager
def without_descriptors() -> Iterator[None]:
    """No descriptor is to be had in this process, nor is one in the way afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = os.open("/", os.O_RDONLY)
    os.close(held)
    resource.setrlimit(resource.RLIMIT_NOFILE, (held, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.system
def test_a_bridge_has_so_many_ports(links: HostLinks) -> None:
    """Who asks for a port of a bridge that has all it can have is refused as at a limit; no link of it stays."""
    links.ensure_network(NETWORK4)
    fill(links, BRIDGE_PORTS)
    web = links.interface("web", 2, ipv6=None, prefix6=None, gateway6=None)
    with pytest.raises(Refused, match=r"attach web.*1,023 ports") as refused:
        links.attach(web, NETWORK4)
    assert refused.value.code == Code.LIMIT
    assert port_name("web") not in links.ip("-br", "link")
    assert "eth0" not in links.ip("-br", "link", inside="web")
    links.ip("link", "del", "f0")
    links.attach(web, NETWORK4)
    assert "eth0" in links.ip("-br", "link", inside="web")


@pytest.mark.system
def test_without_descriptors_no_container_is_taken_for_ended(links: HostLinks) -> None:
    """A namespace that cannot be opened for want of descriptors is neither invalid nor gone."""
    path = links.lab.container("web")
    namespace = Namespace(path, cookie_at(path))
    with without_descriptors():
        assert netns.is_gone(namespace) is False
    with without_descriptors(), pytest.raises(Refused, match="LimitNOFILE") as refused:
        find_namespace(path)
    assert refused.value.code == Code.LIMIT


@pytest.mark.parametrize("number", FULL)
def test_whatever_is_full_is_a_limit(number: int) -> None:
    """Every error by which the kernel says that something is full is refused as `limit`, however it is told."""
    with pytest.raises(Refused) as refused, refusing("attach web"):
        raise NetlinkError(number)
    assert (refused.value.code, "attach web" in refused.value.text) == (Code.LIMIT, True)
    with pytest.raises(Refused) as refused:
        Failing().find_namespace(number)
    assert (refused.value.code, "find namespace" in refused.value.text) == (Code.LIMIT, True)
    said = nftables._failure(f"Error: Could not process rule: {os.strerror(number)}\nadd element …")
    assert isinstance(said, Refused)
    assert said.code == Code.LIMIT


def test_other_errors_stay_what_they_are() -> None:
    """What says nothing of a bound is passed on."""
    with pytest.raises(OSError, match="Input/output"):
        Failing().find_namespace(errno.EIO)


@bounds.bounded
class Failing:
    """Fails as the kernel would."""

    def find_namespace(self, number: int) -> None:
        """Raise that error."""
        raise OSError(number, os.strerror(number))
