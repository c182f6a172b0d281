"""What the table is, read from the kernel: whatever moves by itself is no part of it, whatever somebody sets is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from firewall_stand import Stand, stand
from lab import HOST, Lab
from moorage.kernel.linux import definitions, ruleset
from moorage.kernel.linux.definitions import Listing
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import Nftables
from moorage.values import ANY, Mapping

pytestmark = pytest.mark.system

OWN = """table inet moorage {
    set met { type ipv4_addr; flags dynamic; size 100; counter; }
    quota much { over 1 mbytes }
    counter every { }
    chain counted {
        type filter hook input priority 0;
        counter
        counter name every
        quota name much
        quota over 1 mbytes
        update @met { ip saddr counter }
        tcp dport { 80-90, 443 } accept
        ct state vmap { established : accept, invalid : drop }
        meta l4proto vmap { tcp : jump guard6 }
    }
}"""
"""Everything that counts or has a set of its own."""

CHANGES = [
    ("add rule inet moorage to_net accept", {"chain to_net"}),
    ("flush chain inet moorage to_net", {"chain to_net"}),
    ("insert rule inet moorage to_net accept comment x", {"chain to_net"}),
    ("chain inet moorage forward { policy drop; }", {"chain forward"}),
    ("add chain inet moorage theirs", {"chain theirs"}),
    ("add set inet moorage theirs { type mark; }", {"set theirs"}),
    ("add map inet moorage theirs { type mark : mark; }", {"map theirs"}),
    ("add map inet moorage theirs { type mark : counter; }", {"map theirs"}),
    ("add counter inet moorage theirs", {"object theirs"}),
    ("add limit inet moorage theirs { rate 9/second; }", {"object theirs"}),
    ("table inet moorage { flags dormant; }", {"table moorage"}),
    ("flush chain inet moorage counted; add rule inet moorage counted counter", {"chain counted"}),
]


@pytest.fixture
def at() -> Iterator[Stand]:
    with Lab() as lab:
        made = stand(lab)
        yield made
        made.firewall.close()


@pytest.fixture
def other(at: Stand) -> Iterator[Nftables]:
    """Somebody else who changes nftables."""
    made = at.lab.call("host", Nftables)
    yield made
    made.close()


def read(at: Stand) -> Listing:
    def inside() -> Listing | None:
        with Netlink() as netlink:
            return definitions.read(netlink)

    found = at.lab.call("host", inside)
    assert found is not None
    return found


def differing(before: Listing, after: Listing) -> set[str]:
    return {owner for owner in before | after if before.get(owner) != after.get(owner)}


def test_everything_of_the_ruleset_is_found(at: Stand) -> None:
    """Sets, maps and chains by their names, and of each chain as many rules as were written."""
    found = read(at)
    assert found.keys() == {"table moorage", *(f"{kind} {name}" for kind, name in ruleset.names())}
    body = ruleset.rules().partition("chain forward {")[2].partition("\n\t}")[0].splitlines()
    rules = [line for line in body if line.strip() and not line.strip().startswith(("#", "type"))]
    assert len(found["chain forward"]) == 1 + len(rules)


def test_traffic_changes_nothing(at: Stand, other: Nftables) -> None:
    """Counts, quotas, and what packets write into sets move all the time, and are no change."""
    published = at.elements(Mapping("tcp", ANY, 8080, 80, dual=True))
    at.lab.call("host", at.firewall.change, published, [])
    other.run(OWN)
    at.lab.echo_server("web", "tcp", 80)
    at.lab.echo_server("host", "tcp", 81)
    before, told = read(at), other.list("table inet moorage")
    assert at.lab.connect("outside", (HOST, 8080)).server == "web"
    assert at.lab.connect("outside", (HOST, 81)).server == "host"
    assert at.lab.connect("web", ("10.0.42.1", 81)).server == "host"
    assert read(at) == before
    assert told


def test_the_same_table_written_again_is_the_same(at: Stand, other: Nftables) -> None:
    """Handles, and the names that the kernel picks for sets without one, are not what a table is."""
    other.run(OWN)
    before = read(at)
    other.run("add rule inet moorage to_net meta l4proto { tcp, sctp } accept")
    other.run(f"delete table inet moorage\n{ruleset.rules()}{OWN}")
    assert read(at) == before


@pytest.mark.parametrize(("commands", "owners"), CHANGES)
def test_what_somebody_sets_is_a_change(at: Stand, other: Nftables, commands: str, owners: set[str]) -> None:
    """A rule, its comment, a policy, a flag, an object: each is found under the name of what has it."""
    other.run(OWN)
    before = read(at)
    other.run(commands)
    assert differing(before, read(at)) == owners


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{ 80-90, 443 }", "{ 80-91, 443 }"),
        ("invalid : drop", "invalid : accept"),
        ("jump guard6", "goto guard6"),
        ("update @met", "add @met"),
        ("quota over 1 mbytes\n", "quota over 2 mbytes\n"),
    ],
)
def test_what_a_rule_has_for_itself_is_a_part_of_it(at: Stand, other: Nftables, old: str, new: str) -> None:
    """The elements of a rule's own sets, and what its expressions hold, count as the rule does."""
    other.run(OWN)
    before = read(at)
    other.run(f"delete table inet moorage\n{ruleset.rules()}{OWN.replace(old, new)}")
    assert differing(before, read(at)) == {"chain counted"}


def test_a_table_that_comes_and_goes_is_read_whole_or_not_at_all(at: Stand, other: Nftables) -> None:
    """Somebody who deletes the table and writes it again, all the time, is met at every moment of a look."""
    other.run(OWN)
    whole, over = read(at), threading.Event()

    def replace() -> None:
        try:
            for _ in range(100):
                other.run("delete table inet moorage")
                other.run(f"{ruleset.rules()}{OWN}")
        finally:
            over.set()

    def look() -> list[Listing | None]:
        found = []
        with Netlink() as netlink:
            while not over.is_set():
                found.append(definitions.read(netlink))
        return found

    somebody = threading.Thread(target=replace)
    somebody.start()
    found = at.lab.call("host", look)
    somebody.join()
    assert [each for each in found if each not in (None, whole)] == []


def test_another_table_is_not_looked_at(at: Stand, other: Nftables) -> None:
    """What others have in tables of their own is theirs; without ours there is nothing."""
    before = read(at)
    other.run("table inet moorage2 { chain guard { counter; }; set bridges { type mark; }; counter x { }; }")
    assert read(at) == before
    other.run("delete table inet moorage")
    with pytest.raises(AssertionError):
        read(at)
