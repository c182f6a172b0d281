"""Elements that are written as messages are those that libnftables would have written."""

from __future__ import annotations

import pytest

from lab import Lab
from moorage.kernel.linux import element_messages, elements, generation, ruleset
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import Nftables, NftablesError
from moorage.kernel.linux.ruleset import GUARD, TABLE
from moorage.kernel.protocol import Element

pytestmark = pytest.mark.system

MAC, OTHER = "02:6d:0a:00:2a:02", "02:6d:0a:00:2a:03"
LINKS = ("mgabc", "mg-fifteen.long")
ADDRESS, ADDRESS6 = "10.0.42.2", "fd00:42::2"
EXAMPLES = {
    "bridges": (("moorage0",), ("a*",)),
    "samebr": (("moorage0", "moorage0"),),
    "net4if": (("10.0.42.0/24", "moorage0"), ("10.1.0.0/31", "br*")),
    "net6if": (("fd00:42::/64", "moorage0"),),
    "masq4": (("10.0.42.0/24",), ("10.0.43.0/24",), ("0.0.0.0/8",), ("255.0.0.0/8",)),
    "masq6": (("fd00:42::/64",), ("ffff::/16",)),
    "unforwarded": (("ipv4",), ("ipv6",)),
    "forwarders": (("ipv6", "eth0"),),
    "pub4_any": (("tcp", 8080, ADDRESS, 80), ("udp", 53, ADDRESS, 53), ("sctp", 65535, ADDRESS, 1)),
    "pub6_any": (("tcp", 8080, ADDRESS6, 80),),
    "pub4_ip": (("10.77.0.1", "tcp", 8080, ADDRESS, 80),),
    "pub6_ip": (("fd00:77::1", "udp", 8080, ADDRESS6, 80),),
    "run4_any": (("udp", "8000-8009", ADDRESS), ("tcp", "65000-65535", ADDRESS)),
    "run6_any": (("udp", "8000-8009", ADDRESS6),),
    "run4_ip": (("10.77.0.1", "udp", "8000-8009", ADDRESS),),
    "run6_ip": (("fd00:77::1", "tcp", "8000-8009", ADDRESS6),),
    "lent": (("1024-2047",), ("2048-4095",), ("63488-65535",)),
    "spread": (("1-255", "block0"), ("256-511", "block1"), ("65408-65535", "block0")),
    "share": ((32768,),),
    "agent": ((0,), (1000,)),
    "ports": tuple((link,) for link in LINKS),
    "macs": tuple((link, MAC) for link in LINKS),
    "said6": tuple((link, MAC) for link in LINKS),
    "own4": ((LINKS[0], MAC, ADDRESS), (LINKS[1], OTHER, "10.0.42.3")),
    "own6": ((LINKS[0], MAC, ADDRESS6),),
    "claim6": ((LINKS[0], MAC, ADDRESS6),),
    "about4": ((LINKS[0], MAC, ADDRESS),),
    "any4": ((LINKS[0], MAC, "10.0.42.0/24"),),
    "any6": ((LINKS[0], MAC, "fd00:42::/64"),),
    "abouts4": ((LINKS[0], MAC, "10.0.42.0/24"),),
    "abouts6": ((LINKS[0], MAC, "fd00:42::/64"),),
}
"""Parts of keys and values of each kind of set."""


def example(name: str, parts: tuple[str | int, ...]) -> Element:
    width = len(ruleset.container(name).key)
    return Element(name, parts[:width], parts[width:])


ALL = [example(name, parts) for name, some in EXAMPLES.items() for parts in some]


def present(netlink: Netlink) -> set[Element]:
    return elements.read(netlink, TABLE) | elements.read(netlink, GUARD)


@pytest.fixture
def netlink(lab: Lab) -> Netlink:
    lab.call("host", make_tables)
    return lab.call("host", Netlink)


def make_tables() -> None:
    nftables = Nftables()
    nftables.run(
        "".join(f"table {each}\ndelete table {each}\n{ruleset.rules(each)}" for each in (TABLE, GUARD))
    )
    nftables.close()


def as_listed(lab: Lab) -> list[dict[str, object]]:
    def listed() -> list[dict[str, object]]:
        nftables = Nftables()
        found = nftables.list("ruleset", elements=True)
        nftables.close()
        return found

    return [
        entry[kind] | {"handle": None}
        for entry in lab.call("host", listed)
        for kind in ("set", "map")
        if kind in entry
    ]


def test_it_is_what_libnftables_writes(lab: Lab, netlink: Netlink) -> None:
    """Kind by kind: what the library lists is the same, whoever wrote it, and all of it can be taken back."""
    assert set(EXAMPLES) <= {*ruleset.containers(TABLE), *ruleset.containers(GUARD)}
    with netlink:
        empty = as_listed(lab)
        element_messages.write(netlink, ALL, ())
        ours = as_listed(lab)
        assert present(netlink) == set(ALL)
        element_messages.write(netlink, (), ALL)
        assert present(netlink) == set()
        assert as_listed(lab) == empty

        def by_library() -> None:
            nftables = Nftables()
            nftables.run("".join(ruleset.change(ALL, ())))
            nftables.close()

        lab.call("host", by_library)
        assert as_listed(lab) == ours
        element_messages.write(netlink, (), ALL)
        assert present(netlink) == set()


def test_a_value_is_replaced_in_one_transaction(netlink: Netlink) -> None:
    """What is removed and added again has the new value, and nobody ever sees neither: one generation."""
    slots = ["1-255", "256-511"]
    before = [Element("spread", (each,), ("block0",)) for each in slots]
    before.append(Element("pub4_any", ("tcp", 8080), (ADDRESS, 80)))
    after = [Element("spread", (each,), ("block1",)) for each in slots]
    after.append(Element("pub4_any", ("tcp", 8080), ("10.0.42.3", 80)))
    with netlink:
        element_messages.write(netlink, before, ())
        was = generation.read(netlink)
        element_messages.write(netlink, after, before)
        assert generation.read(netlink) == was + 1
        assert present(netlink) == set(after)


def test_it_is_all_or_nothing(netlink: Netlink) -> None:
    """Where one key is not there to be removed nothing is done at all, and a key with another value is refused."""
    here, there = Element("pub4_any", ("tcp", 8080), (ADDRESS, 80)), Element("own4", (LINKS[0], MAC, ADDRESS))
    with netlink:
        element_messages.write(netlink, [here], ())
        with pytest.raises(NftablesError):
            element_messages.write(netlink, [there], [Element("ports", ("absent",))])
        with pytest.raises(NftablesError):
            element_messages.write(netlink, [there, Element(*here[:2], ("10.0.42.9", 80))], ())
        assert present(netlink) == {here}
        assert not element_messages.write(netlink, (), ())


def test_many_are_one_transaction(netlink: Netlink) -> None:
    """So many that they need several messages are in the table after one generation."""
    many = [Element("pub4_any", ("tcp", port), (ADDRESS, 80)) for port in range(1024, 2024)]
    with netlink:
        was = generation.read(netlink)
        element_messages.write(netlink, many, ())
        assert generation.read(netlink) == was + 1
        assert present(netlink) == set(many)
