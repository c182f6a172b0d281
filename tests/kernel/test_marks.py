"""What the aliases of our links say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from host_links import HostLinks
from moorage.kernel.linux import marks
from moorage.kernel.linux.marks import LONGEST, Facts, bridge_alias, facts, port_alias
from moorage.kernel.linux.rtlinks import Link
from moorage.kernel.protocol import Made, Maker, hashed_folder
from moorage.store.identity import new_id
from moorage.values import Interface

ID = "abcdefghijklm"
WEB = Interface(
    *("web", "default", "10.0.42.2", 24, "10.0.42.1", "02:6D:0a:00:2a:02", ""),
    ipv6="fd42::2",
    netns="/run/netns/web",
    ifname="eth0",
    attached=123456789,
)
LONG = replace(
    WEB,
    id="i" * 128,
    ip="172.168.142.102",
    mac="02:6d:ac:a8:8e:66",
    ipv6="fd42:4242:4242:4242:4242:4242:4242:4242",
    ifname="fifteen-bytes.1",
    attached=10 * 366 * 86400 * 1000,
)


def link(alias: str, kind: str = "veth", nsid: int = 3, name: str = "mgx") -> Link:
    """A link of the host, of which nothing else counts."""
    values: dict[str, Any] = dict.fromkeys(Link._fields, 0)
    return Link(**values | {"name": name, "kind": kind, "alias": alias, "nsid": nsid})


@pytest.mark.parametrize("interface", [WEB, LONG, replace(WEB, ipv6=None)])
def test_a_pair_says_whose_it_is_and_what_its_container_has(interface: Interface) -> None:
    """What is written is read back, and finds room however long everything is."""
    alias = port_alias(interface, Maker(ID, "/var/lib/moorage"))
    assert len(alias) <= LONGEST
    assert alias.startswith("moorage:")
    port = link(alias)
    assert (marks.owner(port), marks.maker(port)) == (interface.id, ID)
    assert facts(port) == Facts(
        interface.attached, interface.ip, interface.mac.lower(), str(interface.ifname), interface.ipv6
    )


@pytest.mark.parametrize(
    "folder", ["/var/lib/moorage", "/a b\n%/\udcff/ü", "/" + "x" * 300, "/" + "é" * 100], ids=ascii
)
@pytest.mark.parametrize("network", ["default", "n" * 63])
def test_a_bridge_names_the_folder(folder: str, network: str) -> None:
    """Whatever is in its name; where it finds no room it is known again all the same."""
    alias = bridge_alias(network, Maker(ID, folder))
    assert len(alias.encode()) <= LONGEST
    assert alias.isascii()
    (found,) = marks.made([link(alias, "bridge", -1)])
    assert (found.owner, found.maker.id, found.living) == (network, ID, False)
    assert found.maker.is_of(folder)
    assert found.maker.folder in {folder, hashed_folder(folder)}
    assert not found.maker.is_of("/elsewhere")


@pytest.mark.parametrize(
    "alias",
    [
        *("moorage:web", "moorage:web ", f"moorage:web {ID}", "web", ""),
        *(
            f"moorage:web {ID} {facts}"
            for facts in ("x 10.0.42.2 m e", "1 10.0.42.300 m e", "1 10.0.42.3 m e f::1::2")
        ),
    ],
)
def test_what_says_too_little_says_nothing(alias: str) -> None:
    """Aliases of earlier versions, and those that somebody wrote, give no facts."""
    assert facts(link(alias)) is None


def test_pairs_know_the_folder_by_their_bridge() -> None:
    """All that one state made has its folder; what an earlier version made has none."""
    maker, other = Maker(ID, "/a"), Maker("other", "/b")
    links = [
        link(port_alias(WEB, maker)),
        link(bridge_alias("default", maker), "bridge", -1),
        link(port_alias(WEB, other), nsid=-1),
        link("moorage:old"),
        link("somebody's", "bridge"),
    ]
    assert marks.made(links) == [
        Made("mgx", "web", maker, living=True, attached=WEB.attached),
        Made("mgx", "default", maker),
        Made("mgx", "web", Maker("other"), attached=WEB.attached),
        Made("mgx", "old", Maker(""), living=True),
    ]


def test_an_id_fits_where_a_link_has_its_name() -> None:
    """Thirteen of 32 signs: 65 bits less one."""
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {13}


@pytest.mark.system
def test_the_kernel_takes_the_longest(links: HostLinks) -> None:
    """It keeps every byte."""
    alias = port_alias(LONG, Maker(ID))
    links.ip("link", "add", "br0", "type", "bridge")
    links.ip("link", "set", "br0", "alias", alias)
    assert f"alias {alias}" in links.ip("link", "show", "br0")
