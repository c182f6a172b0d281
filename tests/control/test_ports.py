"""Specs of a request against the mappings of an interface."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.control.ports import (
    AT_ONCE,
    Published,
    check_amount,
    mapping_of,
    missing,
    parse_all,
    unpublished,
    wanted,
)
from moorage.errors import Code, Refused
from moorage.model.caller import Caller
from moorage.model.port_spec import PortSpec
from moorage.values import Mapping

FRONTS = st.tuples(
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from([None, "127.0.0.1"]),
    st.integers(1, 3),
    st.integers(1, 2),
)
SPECS = st.builds(
    lambda front, port: PortSpec(front[0], front[1], port, *front[2:]), FRONTS, st.integers(0, 3)
)
SOURCES = st.sampled_from(["gateway", "proxy-v2"])
MAPPINGS = st.lists(
    st.builds(mapping_of, SPECS, st.integers(1, 3), SOURCES),
    max_size=6,
    unique_by=lambda mapping: (mapping.proto, mapping.host_ip, mapping.host_port),
)


def could_make(spec: PortSpec, mapping: Mapping) -> bool:
    return mapping == mapping_of(spec, spec.host_port or mapping.host_port, mapping.source)


@given(SPECS, MAPPINGS)
def test_mappings_are_found_by_what_could_have_made_them(spec: PortSpec, mappings: list[Mapping]) -> None:
    """A spec names the mappings it could have made, in their order, and takes one of them out at a time."""
    named = [mapping for mapping in mappings if could_make(spec, mapping)]
    published = Published(mappings)
    assert published.named(spec) == named
    for left in reversed(range(len(named) + 1)):
        assert published.take(spec) == (left > 0)
    assert published.named(spec) == []


@given(st.lists(SPECS, max_size=5), MAPPINGS, SOURCES)
def test_fixed_ports_are_fulfilled_before_automatic_ones(
    specs: list[PortSpec], mappings: list[Mapping], source: str
) -> None:
    """Each mapping fulfils one spec, a fixed one rather than an automatic one, and of its own source."""
    free, left = [each for each in mappings if each.source == source], []
    for spec in sorted(specs, key=lambda each: each.host_port == 0):
        found = [mapping for mapping in free if could_make(spec, mapping)]
        free = [mapping for mapping in free if mapping not in found[:1]]
        left += [spec] * (not found)
    assert missing(specs, mappings, source) == left


@given(st.lists(SPECS, max_size=5, unique=True), MAPPINGS, SOURCES)
def test_what_is_there_is_not_wanted_again(
    specs: list[PortSpec], mappings: list[Mapping], source: str
) -> None:
    """Automatic ports always ask for more, fixed ones unless a mapping of that source is there already."""
    there = [mapping for mapping in mappings if mapping.source == source]
    expected = [s for s in specs if not s.host_port or not any(could_make(s, mapping) for mapping in there)]
    assert wanted(specs, mappings, source) == expected


@given(st.lists(SPECS, max_size=3), MAPPINGS)
def test_what_is_named_goes_or_nothing_does(specs: list[PortSpec], mappings: list[Mapping]) -> None:
    """All that the specs name goes, unless one of them names nothing."""
    named = [{mapping for mapping in mappings if could_make(spec, mapping)} for spec in specs]
    if all(named):
        assert unpublished(specs, mappings, "web") == set().union(*named)
    else:
        with pytest.raises(Refused, match="web has no mapping") as refused:
            unpublished(specs, mappings, "web")
        assert refused.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        (PortSpec("tcp", None, 8003, 9003), " but 8000-8009->9000-9009, which goes as a whole"),
        (PortSpec("tcp", "127.0.0.1", 8000, 9000, 10), " but 8000-8009->9000-9009, which goes as a whole"),
        (PortSpec("tcp", None, 8000, 80, 10), " but 8000-8009->9000-9009, which goes as a whole"),
        (PortSpec("tcp", None, 8010, 9010), ""),
        (PortSpec("udp", None, 8003, 9003), ""),
        (PortSpec("tcp", None, 0, 9003), ""),
    ],
)
def test_a_part_of_a_range_is_not_unpublished(spec: PortSpec, near: str) -> None:
    """Who names a host port of a mapping, and not the mapping, is told which one has that port."""
    range_ = mapping_of(PortSpec("tcp", None, 8000, 9000, 10), 8000)
    with pytest.raises(Refused) as refused:
        unpublished([spec], [range_], "web")
    assert refused.value.text == f"web has no mapping {spec}{near}: nothing was unpublished"


def test_others_are_answered_while_many_specs_are_read() -> None:
    """Reading the specs of a request leaves the loop to others after every few of them."""

    async def read() -> int:
        reading = asyncio.ensure_future(parse_all([f"{port}:80" for port in range(1, 10 * AT_ONCE)]))
        turns = 0
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(read()) >= 9


def test_more_ports_than_a_uid_may_have_are_not_begun() -> None:
    """A client is refused such a request before any port is taken; whom the agent trusts is not."""
    specs = [PortSpec("tcp", f"10.0.0.{last}", 1, 1, 60_000) for last in (1, 2)]
    with pytest.raises(Refused) as caught:
        check_amount(specs, Caller(4001, 4001))
    assert caught.value.code is Code.LIMIT
    assert "120000 ports are asked for at once, and uid 4001 may have 16384 in all" in caught.value.text
    check_amount(specs, None)
