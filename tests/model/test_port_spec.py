"""Port specs: every form that is read, everything that is refused, and what is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from moorage.errors import Code, Refused
from moorage.model.port_spec import (
    PROTOCOLS,
    PortSpec,
    format_port_spec,
    format_ports,
    overlapping,
    parse_port_spec,
)
from moorage.values import ANY, Mapping


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0:80", PortSpec("tcp", None, 0, 80)),
        ("00:80", PortSpec("tcp", None, 0, 80)),
        ("80/sctp", PortSpec("sctp", None, 0, 80)),
        ("008080:00080", PortSpec("tcp", None, 8080, 80)),
        ("1:65535", PortSpec("tcp", None, 1, 65535)),
        ("127.0.0.1:8080:80", PortSpec("tcp", "127.0.0.1", 8080, 80)),
        ("127.0.0.1::80", PortSpec("tcp", "127.0.0.1", 0, 80)),
        ("127.0.0.1:0:80", PortSpec("tcp", "127.0.0.1", 0, 80)),
        ("0.0.0.0:8080:80", PortSpec("tcp", ANY, 8080, 80)),
        ("[::]:8080:80", PortSpec("tcp", "::", 8080, 80)),
        ("[::1]:8080:80/udp", PortSpec("udp", "::1", 8080, 80)),
        ("[::1]::80", PortSpec("tcp", "::1", 0, 80)),
        ("[2001:DB8:0::0:1]:8080:80", PortSpec("tcp", "2001:db8::1", 8080, 80)),
        ("8000-8009:9000-9009/udp", PortSpec("udp", None, 8000, 9000, 10)),
        ("9000-9009", PortSpec("tcp", None, 0, 9000, 10)),
        ("0:9000-9009", PortSpec("tcp", None, 0, 9000, 10)),
        (":8000-8009", PortSpec("tcp", None, 8000, 8000, 10)),
        ("[::1]::9000-9009/sctp", PortSpec("sctp", "::1", 0, 9000, 10)),
        ("8000-8000:80", PortSpec("tcp", None, 8000, 80)),
        ("1-65535:1-65535", PortSpec("tcp", None, 1, 1, 65535)),
    ],
)
def test_forms(spec: str, expected: PortSpec) -> None:
    """Host ips, ranges, automatic ports and leading zeros are read."""
    assert parse_port_spec(spec) == expected


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("", "''"),
        ("0", "container port '0' at character 1"),
        (":0", "container port '0' at character 2"),
        ("8080:0", "container port '0' at character 6"),
        ("70000", "container port '70000' at character 1"),
        ("70000:80", "host port '70000' at character 1"),
        ("65536", "'65536'"),
        ("-1", "'-1' at character 1"),
        ("+80", "'+80'"),
        (" 80", "' 80'"),
        ("80 ", "'80 '"),
        ("80:8 0", "'8 0' at character 4"),
        ("80\n", r"'80\n'"),
        ("0x50", "'0x50'"),
        ("8_0", "'8_0'"),
        ("٨٠", "'٨٠'"),
        ("²", "'²'"),
        ("abc", "'abc'"),
        ("1:2:3", "host ip '1' at character 1"),
        ("80:", "container port '' at character 4 is missing"),
        (":", "container port '' at character 2 is missing"),
        ("/tcp", "container port '' at character 1 is missing"),
        ("4503/", "protocol '' at character 6"),
        ("4503/tcp/udp", "protocol 'tcp/udp' at character 6"),
        ("4503/tcpgarbage", "protocol 'tcpgarbage'"),
        ("4503/TCP", "protocol 'TCP'"),
        ("4503/tcp\n", r"protocol 'tcp\n'"),
        ("80/tcp:90", "protocol 'tcp:90' at character 4"),
        ("9009-9000", "'9009-9000' at character 1 runs backwards"),
        ("8000-8009:9000-9008", "host port '8000-8009' at character 1 has 10"),
        ("8000:9000-9001", "has 1 and the container port 2 ports"),
        ("8000-8001:80", "has 2 and the container port 1 ports"),
        ("0-9:1-10", "host port '0-9' at character 1 has '0'"),
        ("0-0:80", "host port '0-0'"),
        ("0-9", "container port '0-9'"),
        ("65530-65536", "'65536'"),
        ("1-2-3", "'2-3'"),
        ("1-", "'1-' at character 1 has ''"),
        (":8080:80", "host ip '' at character 1"),
        ("256.0.0.1:80:80", "host ip '256.0.0.1' at character 1"),
        ("127.0.0.01:80:80", "host ip '127.0.0.01'"),
        ("localhost:80:80", "host ip 'localhost'"),
        ("::1:80:80", "an IPv6 address goes in brackets"),
        ("[127.0.0.1]:80:80", "host ip '[127.0.0.1]'"),
        ("[]:80:80", "host ip '[]'"),
        ("[::1:80:80", "in brackets"),
        ("[::1]:80", "write [::1]::"),
        ("127.0.0.1:80", "write 127.0.0.1::"),
        ("[fe80::1%eth0]:80:80", "scope"),
        ("[::ffff:10.0.0.1]:80:80", "10.0.0.1 mapped"),
        ("224.0.0.1:80:80", "multicast"),
        ("[ff02::1]:80:80", "multicast"),
        ("255.255.255.255:80:80", "broadcast"),
        ("\ud800", r"\ud800"),
    ],
)
def test_refusals(spec: str, named: str) -> None:
    """What is no spec is refused as invalid, naming the token and the character it begins at."""
    with pytest.raises(Refused) as refused:
        parse_port_spec(spec)
    assert refused.value.code == Code.INVALID
    assert named in refused.value.text


@pytest.mark.parametrize("spec", [None, 80, b"80", ["80"], True])
def test_other_types_are_refused(spec: object) -> None:
    """What is no string is refused, and not guessed at."""
    with pytest.raises(Refused) as refused:
        parse_port_spec(spec)  # type: ignore[arg-type]  # what an embedder without a type checker may pass
    assert refused.value.code == Code.INVALID


def test_a_refusal_stays_short() -> None:
    """A spec of a hundred thousand digits is refused in one readable sentence."""
    with pytest.raises(Refused) as refused:
        parse_port_spec("0" * 50_000 + "9" * 50_000)
    assert len(refused.value.text) < 300


host_ips = st.one_of(
    st.none(),
    st.sampled_from([ANY, "::", "127.0.0.1", "::1"]),
    st.ip_addresses().filter(lambda ip: not ip.is_multicast and "ffff" not in str(ip)).map(str),
).filter(lambda ip: ip != "255.255.255.255")


@st.composite
def specs(draw: st.DrawFn) -> PortSpec:
    count = draw(st.sampled_from([1, 1, 2, 10]))
    ports = st.integers(1, 65536 - count)
    host_port = draw(st.just(0) | ports)
    return PortSpec(draw(st.sampled_from(PROTOCOLS)), draw(host_ips), host_port, draw(ports), count)


@given(specs())
def test_round_trip(spec: PortSpec) -> None:
    """What is written of a spec is read as the same spec."""
    assert parse_port_spec(format_port_spec(spec)) == spec


@given(st.text() | st.text(alphabet="0123456789:-/[].tcpud%", max_size=24))
@example("٣:80")
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text at all is a spec within bounds or refused, and raises nothing else."""
    try:
        spec = parse_port_spec(text)
    except Refused as refused:
        event(refused.code)
        return
    assert spec.count >= 1
    assert 1 <= spec.container_port <= spec.container_port + spec.count - 1 <= 65535
    assert 0 <= spec.host_port <= spec.host_port + spec.count - 1 <= 65535
    assert spec.host_ip is None or str(ipaddress.ip_address(spec.host_ip)) == spec.host_ip


@pytest.mark.parametrize(
    ("texts", "pair"),
    [
        (["80:80", "81:80"], None),
        (["80", "80", "81"], None),
        (["80:80", "80:80/udp"], None),
        (["80:80", "80:81"], (0, 1)),
        (["127.0.0.1:80:80", "127.0.0.2:80:80"], None),
        (["127.0.0.1:80:80", "81:81", "80:80"], (0, 2)),
        (["0.0.0.0:80:80", "[::]:80:80"], None),
        (["[::]:80:80", "[::1]:80:80"], (0, 1)),
        (["8000-8009:8000-8009", "8009:80"], (0, 1)),
        (["8000-8009:8000-8009", "8010:80"], None),
        (["80:80/udp", "90:90/tcp", "80:81/udp"], (0, 2)),
    ],
)
def test_overlapping(texts: list[str], pair: tuple[int, int] | None) -> None:
    """The first two specs of a list that ask for one host port are found; automatic ones never collide."""
    asked = [parse_port_spec(text) for text in texts]
    assert overlapping(asked) == (pair and (asked[pair[0]], asked[pair[1]]))


def test_ports_column() -> None:
    """`ps` writes ports as in 2013, with a host ip where there is one, and ranges as ranges."""
    ports = [
        Mapping("tcp", ANY, 49153, 80, dual=True),
        Mapping("udp", ANY, 49153, 53, dual=True),
        Mapping("tcp", "127.0.0.1", 8080, 80),
        Mapping("tcp", "::1", 8080, 80),
        Mapping("udp", ANY, 8000, 9000, 10),
        Mapping("tcp", ANY, 443, 443, source="proxy-v2"),
    ]
    assert format_ports(ports) == (
        "49153->80, 49153->53/udp, 127.0.0.1:8080->80, [::1]:8080->80, 8000-8009->9000-9009/udp, "
        "443->443 (proxy-v2)"
    )
    assert not format_ports([])
