"""What a packet that is known in part meets in chains of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from moorage.model.packet_filter import Condition, End, Interval, Rule, Verdict, Walk

ENDS = (Verdict.ACCEPT, Verdict.DROP, Verdict.REJECT)


def rule(verdict: Verdict, target: str = "", *conditions: Condition) -> Rule:
    return Rule(0, conditions, verdict, target)


def end_of(chains: Mapping[str, Sequence[Rule]], **packet: bytes) -> End | None:
    return Walk(lambda name: chains.get(name, ())).end("base", packet)


def test_conditions_hold_or_do_not_or_are_unknown() -> None:
    """A beginning, a whole value, a mask, a set, intervals, each also negated; a property that is not known."""
    packet = {"name": b"web\0", "state": b"\x08\0"}
    assert Condition("name", b"we").holds(packet) is True
    assert Condition("name", b"w\0").holds(packet) is False
    assert Condition("name", b"we", negated=True).holds(packet) is False
    assert Condition("state", b"\0\0", b"\x06\0", negated=True).holds(packet) is False
    assert Condition("state", b"\0\0", b"\x0c\0", negated=True).holds(packet) is True
    assert Condition("name", frozenset({b"web\0"})).holds(packet) is True
    assert Condition("name", frozenset({b"web"}), negated=True).holds(packet) is True
    assert Condition("name", (Interval(b"web", b"web\1"),)).holds(packet) is True
    assert Condition("name", (Interval(b"a", b"web\0"), Interval(b"x", None))).holds(packet) is False
    for unknown in (Condition(), Condition("mark", b""), Condition("state", b"", b"\1\1\1\1")):
        assert unknown.holds(packet) is None


def test_jumps_come_back_and_gotos_do_not() -> None:
    """After a jump the next rule is asked, after a goto the caller's next; a return ends a chain alone."""
    chains = {
        "base": [rule(Verdict.JUMP, "a"), rule(Verdict.DROP)],
        "a": [rule(Verdict.GOTO, "b"), rule(Verdict.ACCEPT)],
        "b": [rule(Verdict.NONE), rule(Verdict.RETURN), rule(Verdict.ACCEPT)],
    }
    assert end_of(chains) == End("base", rule(Verdict.DROP))
    assert end_of(chains | {"base": chains["base"][:1]}) is None


def test_chains_that_lead_to_each_other_end() -> None:
    """The kernel takes no loop; one that is read while rules change must not hang us, nor one that doubles."""
    assert end_of({"base": [rule(Verdict.JUMP, "base")], "a": []}) is None
    doubling: dict[str, list[Rule]] = {
        str(n): [rule(Verdict.JUMP, str(n + 1)), rule(Verdict.JUMP, str(n + 1))] for n in range(300)
    }
    assert end_of(doubling | {"base": [rule(Verdict.GOTO, "0")]}) is None


NAMES = ("base", "a", "b", "c")
CONDITIONS = st.sampled_from(
    [Condition(), Condition("x", b"1"), Condition("x", b"1", negated=True), Condition("y", b"")]
)


@st.composite
def some_chains(draw: st.DrawFn) -> dict[str, list[Rule]]:
    """Chains without loops: each leads to later ones."""
    chains = {}
    for place, name in enumerate(NAMES):
        after = NAMES[place + 1 :]
        verdicts = st.sampled_from([*ENDS, Verdict.NONE, Verdict.RETURN])
        rules = st.builds(rule, verdicts, st.just(""), CONDITIONS)
        if after:
            leading = st.builds(
                rule, st.sampled_from([Verdict.JUMP, Verdict.GOTO]), st.sampled_from(after), CONDITIONS
            )
            rules = st.one_of(rules, leading)
        chains[name] = draw(st.lists(rules, max_size=4))
    return chains


def walked(chains: Mapping[str, Sequence[Rule]], chain: str, packet: Mapping[str, bytes]) -> End | None:
    """The same by the book, without memory."""
    for each in chains[chain]:
        if all(condition.holds(packet) for condition in each.conditions):
            if each.verdict in ENDS:
                return End(chain, each)
            if each.verdict is Verdict.RETURN:
                return None
            if each.verdict is not Verdict.NONE:
                end = walked(chains, each.target, packet)
                if end is not None or each.verdict is Verdict.GOTO:
                    return end
    return None


@given(some_chains(), st.sampled_from([{}, {"x": b"1"}, {"x": b"2"}, {"x": b"1", "y": b""}]))
def test_a_walk_is_the_kernels(chains: dict[str, list[Rule]], packet: dict[str, bytes]) -> None:
    """Whatever the chains, what is remembered of them changes no end."""
    assert end_of(chains, **packet) == walked(chains, "base", packet)
