"""How many connections an interface may have begun, as rules count them. Pure.

The kernel counts connections by looking at each that it counts (`ct count`): 1,024 at most are looked at, chosen by
chance, so that a container does not choose them. What is counted is then a sample of what there is.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

FLOWS = 32768
"""An eighth of the kernel's table, as it is by default on a host with 8 GB and more."""
_SAMPLE = 1024


class Share(NamedTuple):
    """One connection in `every` is counted, and no more begin where more than `over` of these are there.

    Of TCP, `flows` begin at once and `flows` a minute: one that has ended is not counted, and stays for two minutes.
    """

    every: int
    over: int
    flows: int

    @classmethod
    def of(cls, flows: int) -> Share:
        """For so many. Up to 2,047 all are counted; a sample's bound is two standard deviations below its share."""
        every = max(1, flows // _SAMPLE)
        share = flows // every
        return cls(every, share if every == 1 else share - 2 * isqrt(share), flows)
