"""What routing rules of a host ask for, worked out without a kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from moorage.kernel.linux.policy.plan import CLASSES, MARKED, NETWORKS, Plan, Span, plan
from moorage.kernel.linux.policy.rules import Action, Part, Rule

NET = [("10.0.42.0/24", "moorage0")]
CONTAINER, BRIDGE = "10.0.42.2", "moorage0"
EVERY = 0xFFFFFFFF
LOCAL, MAIN, DEFAULT = 255, 254, 253


def host(
    priority: int, action: int = Action.LOOKUP, source: str = "", invert: bool = False, **parts: int | str
) -> Rule:
    """A rule of the host's; `parts` are named as in `Part`, links as text and addresses as prefixes."""
    packed: dict[int, bytes | int] = {}
    dst_len = src_len = 0
    for name, value in parts.items():
        if name == "dst":
            to = ip_network(str(value))
            packed[Part.DST], dst_len = to.network_address.packed, to.prefixlen
        else:
            packed[Part[name.upper()]] = value.encode() + b"\0" if isinstance(value, str) else value
    if source:
        whence = ip_network(source)
        packed[Part.SRC], src_len = whence.network_address.packed, whence.prefixlen
    family = AF_INET6 if ":" in source else AF_INET
    made = Rule.ours(family, priority, action, packed)
    return made._replace(protocol=3, dst_len=dst_len, src_len=src_len, invert=invert)


COMMON = [host(0, table=LOCAL), host(32766, table=MAIN), host(32767, table=DEFAULT)]


def listed(*rules: Rule) -> list[Rule]:
    """The host's own among the common ones, as the kernel orders them."""
    every = sorted([*COMMON, *rules], key=lambda rule: rule.priority)
    there = {rule.priority for rule in every}
    return [
        rule._replace(unresolved=rule.action == Action.GOTO and rule.number(Part.TARGET) not in there)
        for rule in every
    ]


def planned(*rules: Rule, networks: Sequence[tuple[str, str]] = NET) -> Plan:
    return plan(AF_INET, listed(*rules), networks)


def copies(made: Plan, mark: int) -> list[tuple[int, int]]:
    """Action and table of what packets with that mark meet in the block."""
    return [
        (rule.action, rule.table)
        for rule in made.rules
        if rule.number(Part.MARK) == mark and rule.priority >= 60000
    ]


def test_nothing_for_a_host_without_rules_of_its_own() -> None:
    """Neither rule nor mark where the host has the common rules alone, a VRF's among them, or we have no network."""
    assert planned() == Plan()
    assert planned(host(1000, l3mdev=1)) == Plan()
    assert planned(host(100, source="10.88.0.1", table=7), networks=[]) == Plan()


def test_answers_of_one_address() -> None:
    """The address that a rule is from is marked alone, and its mark leads through what the host's answers meet."""
    made = planned(host(100, source="10.88.0.1", table=7))
    (span,) = made.spans
    assert (span.first, span.last) == ("10.88.0.1", "10.88.0.1")
    assert MARKED < span.mark <= MARKED + CLASSES
    networks, block = made.rules[:2]
    assert (networks.priority, networks.table) == (98, NETWORKS)
    assert (block.priority, block.action, block.number(Part.TARGET)) == (99, Action.GOTO, 60000)
    assert copies(made, span.mark) == [(1, 7), (1, MAIN), (1, DEFAULT), (Action.NOP, 0)]
    assert made.tables == {7, MAIN, DEFAULT}


def test_a_prefix_in_another() -> None:
    """Each address has the mark of all that is from it; what does the same has the same mark."""
    made = planned(
        host(100, source="10.88.0.0/16", table=7),
        host(90, source="10.88.1.0/24", table=8),
        host(80, source="10.99.0.1", table=7),
    )
    outer = {(span.first, span.last): span.mark for span in made.spans}
    assert outer.keys() == {
        ("10.88.0.0", "10.88.0.255"),
        ("10.88.1.0", "10.88.1.255"),
        ("10.88.2.0", "10.88.255.255"),
        ("10.99.0.1", "10.99.0.1"),
    }
    assert (
        outer["10.88.0.0", "10.88.0.255"]
        == outer["10.88.2.0", "10.88.255.255"]
        == outer["10.99.0.1", "10.99.0.1"]
    )
    assert copies(made, outer["10.88.1.0", "10.88.1.255"])[:3] == [(1, 8), (1, 7), (1, MAIN)]


def test_what_is_from_containers_is_not_for_answers() -> None:
    """Where containers' own traffic has a rule, by its source or its bridge, answers at every address pass it over."""
    for rule in (host(100, source="10.0.42.0/24", table=7), host(100, iif=BRIDGE, table=7)):
        made = planned(rule)
        marks = {span.mark for span in made.spans}
        assert len(marks) == 1
        assert made.spans[0].first == "0.0.0.0"  # noqa: S104 - compared, not bound
        assert made.spans[-1].last == "255.255.255.255"
        assert copies(made, marks.pop()) == [(1, MAIN), (1, DEFAULT), (Action.NOP, 0)]


def test_effects_are_carried() -> None:
    """What a rule does beside its table, and what it selects of the client, is the copy's too."""
    made = planned(
        host(100, source="10.88.0.1", table=7, suppress_prefix=0, dst="198.51.100.0/24"),
        host(
            110, Action.PROHIBIT, source="10.88.0.1", dports=struct.pack("=HH", 25, 25).decode("latin1")[:3]
        ),
    )
    first, second = made.rules[2:4]
    assert (first.number(Part.SUPPRESS_PREFIX, 9), first.dst_len) == (0, 24)
    assert second.action == Action.PROHIBIT


def test_a_rule_that_cannot_be_followed_is_told() -> None:
    """A rule from an address that also selects by its user is left out, and named."""
    made = planned(
        host(100, source="10.88.0.1", table=7, uids="12345678"), host(110, source="10.88.0.1", table=8)
    )
    (warning,) = made.warnings
    assert "ip rule 100 selects by the user" in warning
    assert copies(made, made.spans[0].mark)[0] == (1, 8)


def test_marks_stay_when_other_rules_come_and_go() -> None:
    """The mark of an address is the same whatever others there are, and in whatever life."""
    alone = planned(host(100, source="10.88.0.1", table=7)).spans
    more = planned(
        *(host(100 - n, source=f"10.90.0.{n}", table=100 + n) for n in range(9)),
        host(100, source="10.88.0.1", table=7),
    )
    assert set(alone) <= set(more.spans)


def test_more_kinds_of_answers_than_marks() -> None:
    """As many are followed as there are marks, and the rest is left as it is."""
    made = planned(*(host(100 + n, source=f"10.90.{n}.1", table=100 + n) for n in range(CLASSES + 20)))
    assert len({span.mark for span in made.spans}) == CLASSES


def test_ipv6() -> None:
    """The other family is worked out alike."""
    rules = [rule._replace(family=AF_INET6) for rule in listed(host(100, source="fd88::1", table=7))]
    made = plan(AF_INET6, rules, [("fd42::/64", "moorage0")])
    assert [(span.first, span.last) for span in made.spans] == [("fd88::1", "fd88::1")]


def common6(*rules: Rule) -> list[Rule]:
    return [rule._replace(family=AF_INET6) for rule in listed(*rules)]


def test_our_networks_come_first_in_ipv6() -> None:
    """Before the main table, to which any router of a link adds what it likes, but after the host's own addresses."""
    networks = [("fd42::/64", "moorage0")]
    (only,) = plan(AF_INET6, common6(), networks).rules
    assert (only.action, only.table, only.priority) == (Action.LOOKUP, NETWORKS, 32764)
    (vrf,) = plan(AF_INET6, common6(host(1000, l3mdev=1)), networks).rules
    assert vrf == only
    assert plan(AF_INET6, common6(), []) == Plan()
    assert plan(AF_INET6, [], networks) == Plan()
    (early, *_) = plan(AF_INET6, common6(host(100, source="fd88::1", table=7)), networks).rules
    assert (early.table, early.priority) == (NETWORKS, 98)


def test_the_block_is_after_all_rules() -> None:
    """A host with rules at high priorities has the block behind them; one at the lowest leaves us none before it."""
    made = planned(host(0, source="10.88.0.1", table=7), host(70000, source="10.88.0.1", table=8))
    assert [rule.priority for rule in made.rules[:3]] == [0, 0, 70001]


class Packet(NamedTuple):
    """An answer, as rules see it."""

    source: str
    target: str
    iif: str
    mark: int


def meets(rule: Rule, packet: Packet) -> bool:
    """Whether the kernel would take the rule for the packet (fib_rule_match)."""
    kind = type(rule.source[0])
    to = ip_network((kind(int.from_bytes(rule.part(Part.DST) or bytes(4), "big")), rule.dst_len))
    link = rule.part(Part.IIF)
    met = (
        ip_address(packet.source) in rule.source
        and ip_address(packet.target) in to
        and (link is None or link.rstrip(b"\0").decode() == packet.iif)
        and rule.part(Part.OIF) is None
        and not (packet.mark ^ rule.number(Part.MARK))
        & rule.number(Part.MASK, EVERY if rule.number(Part.MARK) else 0)
    )
    return met != rule.invert


def walk(rules: Sequence[Rule], packet: Packet) -> Iterator[tuple[int, int, int]]:
    """What is done to the packet, one after the other, as if no table had a route."""
    at = 0
    while at < len(rules):
        rule = rules[at]
        at += 1
        if not meets(rule, packet) or rule.action == Action.NOP:
            continue
        if rule.action == Action.GOTO:
            target = rule.number(Part.TARGET)
            at = next((place for place, each in enumerate(rules) if each.priority == target), at)
            continue
        if rule.table != NETWORKS:
            yield rule.action, rule.table, rule.number(Part.SUPPRESS_PREFIX, EVERY)
        if rule.action != Action.LOOKUP:
            return


SOURCES = ["10.88.0.0/16", "10.88.0.1", "10.0.42.0/24", "10.0.42.2", "10.0.0.0/8", "192.0.2.1"]
ACTIONS = [Action.LOOKUP] * 5 + [Action.BLACKHOLE, Action.GOTO, Action.NOP]


@st.composite
def own_rules(draw: st.DrawFn) -> Rule:
    """A rule of a host's own."""
    parts: dict[str, int | str] = {}
    action = draw(st.sampled_from(ACTIONS))
    priority = draw(st.sampled_from([5, 10, 10, 20, 30, 40, 40000]))
    if action == Action.LOOKUP:
        parts["table"] = draw(st.integers(1, 5))
        if draw(st.booleans()):
            parts["suppress_prefix"] = 0
    if action == Action.GOTO:
        parts["target"] = draw(
            st.sampled_from([target for target in (10, 20, 30, 32766, 40000) if target > priority] or [50000])
        )
    if draw(st.booleans()):
        parts["iif"] = draw(st.sampled_from(["lo", "eth0", BRIDGE]))
    if draw(st.integers(0, 3)) == 0:
        parts |= {
            "mark": draw(st.sampled_from([0xCA6C, MARKED, 1])),
            "mask": draw(st.sampled_from([EVERY, 0xFF])),
        }
    invert = draw(st.integers(0, 5)) == 0
    if not invert and draw(st.integers(0, 3)) == 0:
        parts["dst"] = draw(st.sampled_from(["198.51.100.0/24", "203.0.113.0/24"]))
    source = draw(st.sampled_from(["", *SOURCES]))
    return host(priority, action, source, invert, **parts)


@given(
    st.lists(own_rules(), max_size=7),
    st.sampled_from(["10.88.0.1", "10.88.7.7", "10.9.9.9", "198.51.100.9", "192.0.2.1"]),
    st.sampled_from(["198.51.100.2", "8.8.8.8"]),
)
def test_a_container_answers_as_a_service(own: list[Rule], asked: str, client: str) -> None:
    """Whatever rules the host has, an answer of a container meets what a service's answer from that address meets."""
    rules = listed(*own)
    made = plan(AF_INET, rules, NET)
    all_rules = sorted([*rules, *made.rules], key=lambda rule: rule.priority)
    service = list(walk(all_rules, Packet(asked, client, "lo", 0)))
    assert service == list(walk(rules, Packet(asked, client, "lo", 0)))
    answer = Packet(CONTAINER, client, BRIDGE, mark_of(made.spans, asked))
    assert list(walk(all_rules, answer)) == service


@given(st.lists(own_rules(), max_size=7), st.sampled_from(["198.51.100.2", "8.8.8.8"]))
def test_what_is_not_an_answer_is_treated_as_before(own: list[Rule], target: str) -> None:
    """What a container begins itself, and what somebody else marked, meets the host's rules as without us."""
    rules = listed(*own)
    all_rules = sorted([*rules, *plan(AF_INET, rules, NET).rules], key=lambda rule: rule.priority)
    for mark in (0, 1, 0xCA6C, 0x40000):
        packet = Packet(CONTAINER, target, BRIDGE, mark)
        assert list(walk(all_rules, packet)) == list(walk(rules, packet))


def mark_of(spans: Sequence[Span], asked: str) -> int:
    address = ip_address(asked)
    found = [span.mark for span in spans if ip_address(span.first) <= address <= ip_address(span.last)]  # type: ignore[operator]
    assert len(found) < 2
    return found[0] if found else 0
