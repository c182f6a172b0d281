"""Run as a program: libnftables without descriptors. Arguments: how many are left, and what is done with them.

Prints what became of it, and ends with 0 unless the library ends the process.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress

from moorage.errors import Refused
from moorage.kernel.linux.nftables import Nftables

MOST = 2048
"""More than select(2) takes."""
RULES = "add table inet x\nadd chain inet x y\nadd rule inet x y iif lo accept\n"
"""The name of a link is looked up by a socket of its own."""


def main() -> None:
    left, what = int(sys.argv[1]), sys.argv[2]
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    made = Nftables()
    works: dict[str, Callable[[], object]] = {
        "open": Nftables,
        "run": lambda: made.run(RULES),
        "list": lambda: made.list("ruleset"),
        "again": lambda: again(made),
    }
    held = []
    with suppress(OSError):
        while True:
            held.append(os.dup(0))
    for number in held[len(held) - left :]:
        os.close(number)
    try:
        works[what]()
    except Refused as refused:
        print(refused.code)
    else:
        print("done")


def again(made: Nftables) -> None:
    """Use one context after the other, with every low number taken by others but those in hand."""
    for _ in range(20):
        made.run(RULES)
        made.close()
        made = Nftables()


if __name__ == "__main__":
    main()
