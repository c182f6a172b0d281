"""How the programs that lead sockets write addresses and jumps, without a kernel."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis.strategies import integers, ip_addresses

from moorage.kernel.linux.connect.code import Code
from moorage.kernel.linux.connect.programs import ENDPOINT_SIZE, endpoint, parsed


@given(ip_addresses(), integers(1, 65535))
def test_an_endpoint_is_read_as_it_was_written(ip: IPv4Address | IPv6Address, port: int) -> None:
    """Addresses of either family and ports come back; IPv4 is what IPv6 maps it to."""
    data = endpoint(str(ip), port)
    assert len(data) == ENDPOINT_SIZE
    read, same = parsed(data)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    assert (ip_address(read), same) == (mapped or ip, port)


def test_addresses_and_ports_are_in_the_networks_order() -> None:
    """As a socket has them in memory."""
    assert endpoint("127.0.0.1", 0x1F90) == bytes(10) + b"\xff\xff\x7f\0\0\x01" + b"\x1f\x90\0\0"
    assert endpoint("::1", 80)[:16] == bytes(15) + b"\x01"


def test_a_jump_leads_behind_what_it_passes() -> None:
    """It counts instructions from the next one, of which a number of 64 bits takes two."""
    code = Code()
    code.jump_if_zero(1, "end")
    code.set_wide(2, 0x1_FFFF_FFFF)
    code.label("end")
    code.exit()
    instructions = list(struct.iter_unpack("=BBhi", code.assembled()))
    assert [offset for _, _, offset, _ in instructions] == [2, 0, 0, 0]
    assert [value for _, _, _, value in instructions] == [0, -1, 1, 0]


def test_a_jump_to_nowhere_is_an_error() -> None:
    """A label that was forgotten is found when the program is put together."""
    code = Code()
    code.jump_if_zero(1, "nowhere")
    with pytest.raises(KeyError):
        code.assembled()
