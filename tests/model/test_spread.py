from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.model.spread import (
    ANY,
    BLOCKS,
    FIRST,
    HIGH,
    LAST,
    LEAST,
    LOW,
    SIZE,
    SLOTS,
    assign,
    free,
    of_port,
    wished,
)

EPHEMERAL = range(32768, 61000)
AUTOMATIC = range(49153, 65536)
EVERY = frozenset(range(len(BLOCKS)))
blocks = st.frozensets(st.sampled_from(sorted(EVERY)))


def test_blocks_are_the_ports_of_registered_services() -> None:
    """Every port from 1024 to 32767 is in one block, and no other port is in any."""
    assert [port for block in BLOCKS for port in block] == list(range(FIRST, LAST + 1))
    assert all(of_port(port) == number for number, block in enumerate(BLOCKS) for port in block)
    assert [of_port(port) for port in (1, 1023, 32768, 65535)] == [None] * 4


def test_every_source_port_has_one_slot() -> None:
    """Those in the lower half of the blocks, in the upper one and elsewhere have slots of their own."""
    assert sorted(port for ports in SLOTS for port in ports) == list(range(1, 65536))
    assert {len(SLOTS)} == {len(ANY) + len(LOW) + len(HIGH)}
    assert {port for slot in LOW for port in SLOTS[slot]} == set(range(FIRST, 16384))
    assert {port for slot in HIGH for port in SLOTS[slot]} == set(range(16384, LAST + 1))


def test_a_port_takes_its_block_away() -> None:
    """What is taken takes its block, and no other one."""
    assert free([80, 1024, 8080, 40000]) == EVERY - {0, 8080 // SIZE}


@given(blocks, st.frozensets(st.integers(1, 65535), max_size=9))
def test_nothing_of_others_is_wished_for(usable: frozenset[int], reserved: frozenset[int]) -> None:
    """Only usable blocks are, and none with a port that somebody reserved; by default all of them."""
    found = wished(usable, reserved, EPHEMERAL, AUTOMATIC)
    assert found == usable & free(reserved)


@given(blocks, st.integers(1024, 40000), st.integers(40001, 65535), st.integers(1024, 65000))
def test_of_what_programs_are_given_little_is_wished_for(
    usable: frozenset[int], first: int, last: int, automatic: int
) -> None:
    """Of the ephemeral range a quarter at most, and that only for want of others."""
    ephemeral = range(first, last + 1)
    found = wished(usable, (), ephemeral, range(automatic, 65536))
    inside = {number for number in found if set(BLOCKS[number]) & set(ephemeral)}
    assert sum(len(BLOCKS[number]) for number in inside) <= len(ephemeral) // 4
    assert not inside or len(found - inside) < LEAST
    assert found <= usable


def test_automatic_ports_are_left_alone_if_there_are_others() -> None:
    """Blocks that automatic host ports come from are taken only where fewer than four others are there."""
    assert wished(EVERY, (), EPHEMERAL, range(1024, 16384)) == frozenset(range(8, 16))
    assert wished(EVERY, (), EPHEMERAL, range(1024, 30000)) == EVERY


@given(blocks, blocks)
def test_slots_are_spread_evenly_and_stay(before: frozenset[int], after: frozenset[int]) -> None:
    """Each slot has a block that there is, each block as many as the others, and no slot moves without need."""
    first = assign({}, before)
    second = assign(first, after)
    assert assign(second, after) == second
    assert set(second) == (set() if not after else {*ANY, *LOW, *HIGH})
    for slots in (ANY, LOW, HIGH) if after else ():
        loads = Counter(second[slot] for slot in slots)
        assert set(loads) <= after
        assert max(loads.values()) <= -(-len(slots) // len(loads))
        assert (
            not {slot for slot in slots if first.get(slot) in before & after}
            or before != after
            or all(first[slot] == second[slot] for slot in slots)
        )


@given(blocks)
def test_a_source_port_in_a_block_is_led_to_another_half(usable: frozenset[int]) -> None:
    """Where both halves have blocks, none is led to one that has it, so that it is never kept."""
    low = {number for number in usable if BLOCKS[number].start < 16384}
    if not low or low == usable:
        return
    assigned = assign({}, usable)
    assert {assigned[slot] for slot in LOW} <= usable - low
    assert {assigned[slot] for slot in HIGH} <= low


@pytest.mark.parametrize("taken", [8080, 30000])
def test_taking_one_block_moves_its_slots_alone(taken: int) -> None:
    """What led to other blocks leads there still, but for what comes to be too much for one."""
    before = assign({}, EVERY)
    after = assign(before, free([taken]))
    moved = [slot for slot in before if before[slot] != after[slot]]
    assert {before[slot] for slot in moved} == {of_port(taken)}
