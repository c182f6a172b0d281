from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moorage.errors import Code, Refused
from moorage.kernel.linux import announce, names, sysctl
from moorage.kernel.linux.nameservers import nameservers
from moorage.kernel.linux.nfnetlink import messages
from moorage.kernel.linux.repairs import Repairs
from moorage.kernel.linux.rtattributes import attributes
from moorage.kernel.linux.sysctl import Sysctls
from moorage.model.link_names import is_link_name

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
MAC = bytes.fromhex("02420a002a02")


@given(IDS)
def test_every_interface_has_a_name_that_a_link_may_have(interface_id: str) -> None:
    """Whatever the id, the host's end has a legal name of 15 bytes, the same each time."""
    name = names.port_name(interface_id)
    assert is_link_name(name)
    assert len(name) == 15
    assert name == names.port_name(interface_id)


@given(st.sets(IDS, min_size=2, max_size=2))
def test_two_interfaces_have_two_names(ids: set[str]) -> None:
    """Ids that differ in anything, case included, give names that differ."""
    assert len({names.port_name(interface_id) for interface_id in ids}) == 2


@given(st.text(min_size=1, max_size=15))
def test_a_bridge_has_a_mac_of_its_own(bridge: str) -> None:
    """It is unicast, locally administered and the same each time."""
    mac = names.bridge_mac(bridge)
    assert int(mac[:2], 16) & 3 == 2
    assert len(bytes.fromhex(mac.replace(":", ""))) == 6
    assert mac == names.bridge_mac(bridge)


def test_link_local_address_of_a_mac() -> None:
    """The seventh bit is flipped and fffe put between, as in the example of RFC 4291."""
    assert names.link_local("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"


def test_arp_announcement() -> None:
    """An announcement asks everybody for one's own address."""
    frame = announce.arp(MAC, ip_address("10.0.42.2"))  # type: ignore[arg-type]  # it is version 4
    assert frame.hex() == (
        "ffffffffffff02420a002a020806000108000604000102420a002a020a002a020000000000000a002a02"
    )


@given(st.ip_addresses(v=6))
def test_neighbour_advertisement_has_a_right_checksum(address: object) -> None:
    """The one's complement sum over pseudo-header and message is all ones, and the hop limit 255."""
    frame = announce.advertisement(MAC, ip_address(str(address)))  # type: ignore[arg-type]  # it is version 6
    header, message = frame[14:54], frame[54:]
    covered = header[8:40] + len(message).to_bytes(4, "big") + b"\0\0\0\x3a" + message
    total = sum(int.from_bytes(covered[at : at + 2], "big") for at in range(0, len(covered), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    assert header[7] == 255
    assert len(message) == 32


def test_nameservers_of_resolv_conf(tmp_path: Path) -> None:
    """Addresses of both families are found once each; comments, zones and missing files do not matter."""
    first, second = tmp_path / "resolv.conf", tmp_path / "other"
    first.write_text(
        "# nameserver 1.1.1.1\nnameserver 172.16.0.23 # aws\nsearch x\nnameserver fe80::1%eth0\n"
    )
    second.write_bytes(
        b"nameserver\nnameserver nonsense\n\xff\nnameserver\t172.16.0.23\n  nameserver 10.0.0.2\n"
    )
    assert nameservers([first, tmp_path / "absent", second]) == ["172.16.0.23", "fe80::1", "10.0.0.2"]


@given(st.binary(max_size=200))
@example(bytes(16))
def test_any_bytes_can_be_unpacked(data: bytes) -> None:
    """Truncated and senseless messages come to an end and give no more than there is."""
    assert sum(len(body) for *_, body in messages(data)) <= len(data)
    assert sum(len(value) for value in attributes(data).values()) <= len(data)


def test_a_sysctl_that_may_not_be_written_is_denied() -> None:
    """One that cannot be changed is refused by name; one that is right, or does not exist, is no trouble."""
    former: dict[str, str] = {}
    sysctls = Sysctls(former, Repairs())
    path = "kernel/ostype"
    with pytest.raises(Refused, match="/proc/sys/kernel/ostype cannot be set") as caught:
        sysctls.ensure(path, "Plan 9")
    assert caught.value.code == Code.DENIED
    assert sysctls.ensure(path, Path("/proc/sys", path).read_text().strip()) == []
    assert sysctls.ensure("net/ipv4/conf/no-such-link/forwarding", "1") == []
    assert set(former) == {path}


def test_what_is_wanted_last_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sysctl that is to have another value than before is not found changed for ever after."""
    monkeypatch.setattr(sysctl, "_ROOT", tmp_path)
    (tmp_path / "switch").write_text("0")
    sysctls = Sysctls({}, Repairs())
    for value in ("1", "2"):
        assert sysctls.ensure("switch", value)
        assert not sysctls.differ()
