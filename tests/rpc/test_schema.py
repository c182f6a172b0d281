"""The table of parameters: what each method takes, and how what it does not take is named."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Code, Refused
from moorage.rpc.checks import SPECS_MAX
from moorage.rpc.codec import BadMap
from moorage.rpc.schema import METHODS, check

GOOD: dict[str, dict[str, Any]] = {
    "hello": {},
    "allocate": {
        "id": "web",
        "network": "back",
        "ip": "10.0.42.2",
        "ipv6": "fd00::2",
        "mac": "02:42:0a:00:2a:02",
        "netns": "/run/netns/web",
        "ifname": "eth0",
        "ports": ["8080:80", "53/udp"],
        "source": "gateway",
        "labels": {"app": "web"},
        "request": "r1",
    },
    "attach": {"id": "web", "netns": "pid:812", "ifname": "eth0", "request": "r1"},
    "detach": {"id": "web", "request": "r1"},
    "publish": {"id": "web", "ports": ["80"], "source": "proxy-v2", "request": "r1"},
    "unpublish": {"id": "web", "ports": [], "request": "r1"},
    "release": {"id": "web", "request": "r1"},
    "inspect": {"id": "web"},
    "list": {"network": "back"},
    "create_network": {
        "name": "back",
        "subnet": "172.16.42.1/24",
        "gateway": "172.16.42.1",
        "subnet6": "fd00:42::/64",
        "gateway6": "fd00:42::1",
        "bridge": "br-back",
        "internal": True,
        "mtu": 1500,
        "proxy": "never",
        "guard": "network",
        "request": "r1",
    },
    "remove_network": {"name": "back", "request": "r1"},
    "networks": {},
    "tree": {},
    "status": {},
    "subscribe": {"events": ["repaired"]},
    "why": {"port": "8080/tcp"},
    "crash": {"actor": "journal"},
}
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.builds(BadMap, st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


def refusal(method: str, params: list[Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        check(method, params)
    return caught.value


def with_one(method: str, key: str, value: Any) -> list[Any]:
    return [{**GOOD[method], key: value}]


def test_every_method_has_an_example() -> None:
    """The examples of this file cover the table, key by key."""
    assert {name: set(params) for name, params in GOOD.items()} == {
        name: set(parameters.checks) for name, parameters in METHODS.items()
    }


@pytest.mark.parametrize("method", METHODS)
def test_good_parameters_pass_as_they_are(method: str) -> None:
    """All keys of a method together, in canonical form, come back unchanged."""
    assert check(method, [GOOD[method]]) == GOOD[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_key_is_named(method: str) -> None:
    """Each required key is missed by name, and none of the optional ones."""
    for key in GOOD[method]:
        params = {other: value for other, value in GOOD[method].items() if other != key}
        if key in METHODS[method].required:
            assert repr(key) in refusal(method, [params]).text
    assert check(method, [{key: GOOD[method][key] for key in METHODS[method].required}]) is not None


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_key_is_named(method: str) -> None:
    """A key that the method does not take is invalid, and named."""
    refused = refusal(method, with_one(method, "prots", []))

    assert (refused.code, "'prots'" in refused.text) == (Code.INVALID, True)


@pytest.mark.parametrize("params", [[{}, {}], [None], [[]], [1], ["web"], [BadMap("a map has a key twice")]])
def test_params_hold_one_map(params: list[Any]) -> None:
    """Params that are not empty and not one map are invalid."""
    assert refusal("status", params).code is Code.INVALID


def test_an_unknown_method_is_unsupported() -> None:
    """A method that is not there is unsupported, and named."""
    refused = refusal("alocate", [])

    assert (refused.code, "'alocate'" in refused.text) == (Code.UNSUPPORTED, True)


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        *(
            ("inspect", "id", each)
            for each in ("", "-web", "a b", "é", "a" * 129, "web\n", "../x", 7, None, b"web")
        ),
        *(("publish", "source", each) for each in ("", "proxy", "PROXY-V2", None, 2)),
        *(("create_network", "proxy", each) for each in ("", "Never", False, None)),
        *(("create_network", "guard", each) for each in ("", "Network", "none", True, None)),
        *(("list", "network", each) for each in ("", ".net", "a" * 64, "a/b", [])),
        *(
            ("allocate", "ip", each)
            for each in ("", "10.0.0", "10.0.0.256", "::1", "10.0.0.1/24", "010.0.0.1", 1)
        ),
        *(("allocate", "ipv6", each) for each in ("10.0.0.1", "fe80::1%eth0", "fd00::g", None)),
        *(
            ("allocate", "mac", each)
            for each in (
                "",
                "01:00:5e:00:00:01",
                "00:00:00:00:00:00",
                "ff:ff:ff:ff:ff:ff",
                "02-42-0a-00-2a-02",
                2,
            )
        ),
        *(("attach", "netns", each) for each in ("", "a\0b", "x" * 4097, None, 812)),
        *(
            ("attach", "ifname", each)
            for each in ("", ".", "..", "a/b", "a:b", "a b", "x" * 16, "eth%d", "é", 0)
        ),
        *(("publish", "ports", each) for each in ("80", [80], {"80": 1}, None, [["80"]])),
        *(("allocate", "labels", each) for each in ([], {"a": 1}, {1: "a"}, "a=b", BadMap("twice"))),
        *(("release", "request", each) for each in ("", "x" * 257, 1, None)),
        *(
            ("create_network", "subnet", each)
            for each in (
                "10.0.0.0",
                "10.0.0.0/33",
                "10.0.0.0/255.0.0.0",
                "fd00::/64",
                "10.0.0.0/-1",
                "10.0.0.0/٢٤",
                10,
            )
        ),
        *(("create_network", "subnet6", each) for each in ("10.0.0.0/24", "fd00::/129", "fe80::1%eth0/64")),
        *(("create_network", "internal", each) for each in (1, "yes", None)),
        *(("create_network", "mtu", each) for each in (True, 67, 65536, "1500", 1500.0)),
        *(("subscribe", "events", each) for each in ("repaired", ["repaird"], [None])),
        *(("why", "port", each) for each in ("", "0", "65536", "80/TCP", "80/tcp/udp", "٨٠", 80)),
        ("crash", "actor", None),
    ],
)
def test_a_wrong_value_is_named(method: str, key: str, value: Any) -> None:
    """A value of the wrong type or form is invalid, and its key is named."""
    refused = refusal(method, with_one(method, key, value))

    assert (refused.code, key in refused.text) == (Code.INVALID, True)


@pytest.mark.parametrize(
    ("method", "key", "value", "canonical"),
    [
        ("allocate", "mac", "02:42:0A:00:2A:FF", "02:42:0a:00:2a:ff"),
        ("allocate", "ipv6", "FD00:0::2", "fd00::2"),
        ("create_network", "subnet6", "FD00:42:0::/064", "fd00:42::/64"),
    ],
)
def test_spelling_is_made_one(method: str, key: str, value: str, canonical: str) -> None:
    """Ways to spell the same address come back as one."""
    assert check(method, with_one(method, key, value))[key] == canonical


MANY = {str(number): "" for number in range(64)}
FULL = {"a": "v" * 4095, "b": "v" * 4095, "c": "v" * 4095, "d": "v" * 4095}


@pytest.mark.parametrize("labels", [MANY, {"k" * 63: ""}, {"é" * 31: "é" * 2048}, {"": ""}, FULL])
def test_labels_within_the_limits_pass(labels: dict[str, str]) -> None:
    """64 labels, keys of 63 bytes, values of 4 KiB and 16 KiB in all are taken as they are."""
    assert check("allocate", [{"labels": labels}])["labels"] == labels


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (MANY | {"last": ""}, "labels"),
        ({"a": "", "k" * 64: ""}, "kkkk"),
        ({"é" * 32: ""}, "éé"),
        ({"a": "", "team": "v" * 4097}, "team"),
        ({"team": "é" * 2049}, "team"),
        (FULL | {"team": ""}, "team"),
        (FULL | {"team": "v" * 4096}, "team"),
    ],
    ids=[
        "many",
        "a long key",
        "a key of many bytes",
        "a long value",
        "a value of many bytes",
        "a byte",
        "much",
    ],
)
def test_labels_have_limits(labels: dict[str, str], named: str) -> None:
    """Too many or too long labels are invalid, and the one that is too much is named."""
    refused = refusal("allocate", [{"labels": labels}])
    assert (refused.code, named in refused.text) == (Code.INVALID, True)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("create_network", {"name": "back", "gateway": "10.0.0.1"}),
        ("create_network", {"name": "back", "subnet": "10.0.0.0/24", "gateway6": "fd00::1"}),
        ("create_network", {"name": "back", "subnet6": "fd00::/64", "mtu": 1279}),
        ("allocate", {"id": "web", "ifname": "eth0"}),
    ],
)
def test_keys_must_fit_together(method: str, params: dict[str, Any]) -> None:
    """A gateway needs its subnet, IPv6 an MTU of 1280, and a name for a link the namespace it is in."""
    assert refusal(method, [params]).code is Code.INVALID


@given(st.sampled_from(sorted(METHODS)), st.lists(ANYTHING, max_size=2), st.data())
def test_nothing_but_refused_is_raised(method: str, params: list[Any], data: st.DataObject) -> None:
    """Whatever the parameters are, they pass or are Refused."""
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(METHODS[method].checks) or ["id"]))
        params = with_one(method, key, data.draw(ANYTHING))
    with suppress(Refused):
        check(method, params)


def test_a_source_that_is_not_there_is_not_offered() -> None:
    """Who asks for a wrong `source` is told those that work, and not one that is refused as well."""
    with pytest.raises(Refused, match=r"must be one of gateway, proxy-v2$"):
        check("publish", [{"id": "web", "ports": ["80"], "source": "proxy"}])


@pytest.mark.parametrize("method", ["allocate", "publish", "unpublish"])
def test_port_specs_are_counted_before_they_are_read(method: str) -> None:
    """More specs than a uid may have ports are refused as a limit, with what to do; so many pass."""
    most = ["80"] * SPECS_MAX
    assert check(method, with_one(method, "ports", most))["ports"] == most

    refused = refusal(method, with_one(method, "ports", [*most, 7]))
    assert refused.code is Code.LIMIT
    assert "ports has 16385 port specs, and 16384 are the most of one request" in refused.text
