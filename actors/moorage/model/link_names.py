"""The rule for the names of links: bridges of ours, and a container's own end of its pair."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 15
"""Bytes: IFNAMSIZ of linux/if.h, less its final zero."""
WANTED: Final = (
    f"1 to {LONGEST} letters, digits, '.', '_' or '-', and none of '.', '..', 'all', 'default', 'lo': "
    "other signs are patterns to a firewall, and these names stand for other things"
)
"""The rule for people, after "must be"."""

_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST}}}")
_TAKEN = frozenset({".", "..", "all", "default", "lo"})


def is_link_name(name: str) -> bool:
    """Whether we make or take a link of this name."""
    return _NAME.fullmatch(name) is not None and name not in _TAKEN


def can_be_said(name: str) -> bool:
    r"""Whether rules of nftables can say it: state of former versions may have names beyond the rule.

    In its language a name is between quotes, and an asterisk at the end, without a backslash before it, a pattern.
    """
    return '"' not in name and not name.endswith("\\*") and name.isprintable()
