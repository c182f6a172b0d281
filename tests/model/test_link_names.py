"""Names of bridges and of links in containers: one rule, wherever they come from."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config import Config
from moorage.errors import Code, Refused
from moorage.model.link_names import can_be_said, is_link_name
from moorage.rpc.schema import check

GOOD = ("moorage0", "mg-dual", "eth0.100", "_", "a", "-x", "0", "x" * 15, "ALL", "...")
BAD = (
    *("", ".", "..", "all", "default", "lo", "x" * 16),
    *(
        "+",
        "vpn+",
        "n*",
        "n\\*",
        'a"b',
        "a b",
        "a/b",
        "a:b",
        "eth%d",
        "ä",
        "a\n",
        "a\x1b",
        "\u202ea",
        "a,b",
        "$x",
        "@x",
    ),
)
PLACES = (
    ("create_network", {"name": "net"}, "bridge"),
    ("allocate", {"netns": "pid:1"}, "ifname"),
    ("attach", {"id": "web", "netns": "pid:1"}, "ifname"),
)


@pytest.mark.parametrize("name", GOOD)
def test_good_names_are_taken(name: str) -> None:
    """Letters, digits, dots, underscores and dashes, 15 at most."""
    assert all(check(method, [{**more, key: name}])[key] == name for method, more, key in PLACES)
    assert Config(bridge=name).bridge == name


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused(name: str) -> None:
    """Patterns of iptables and nftables, what means every link, and what no link is called."""
    for method, more, key in PLACES:
        with pytest.raises(Refused, match=key) as caught:
            check(method, [{**more, key: name}])
        assert caught.value.code is Code.INVALID
    with pytest.raises(Refused, match="bridge"):
        Config(bridge=name)


@given(st.text(max_size=17))
def test_the_rule_is_that_of_the_contract(name: str) -> None:
    """Whatever the text."""
    known = bool(re.fullmatch(r"[A-Za-z0-9._-]{1,15}", name, re.ASCII)) and not name.endswith("\n")
    assert is_link_name(name) == (known and name not in {".", "..", "all", "default", "lo"})
    assert not is_link_name(name) or can_be_said(name)
