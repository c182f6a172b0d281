"""Runs an agent that is killed where it is told: `launch.py ORDER KEPT ARGUMENTS…`.

ORDER is the file of the `Trigger`, read at the start and at SIGUSR2. KEPT is the file of a kernel that outlives
the process, or `-` for the kernel of the configuration. The arguments are those of `moorage`.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.crash_points import Trigger
from chaos.kept import KeptKernel
from moorage import agent
from moorage.cli import main
from moorage.control import links, lookout
from moorage.kernel.protocol import Kernel
from moorage.supervision.children import Children, Running

PATIENCE = 0.05
"""Seconds after which a journal is given up that was made to hang, instead of its minute."""
TICK = 0.2
"""Seconds between looks for such a one."""
BURST = 0.05
"""Seconds without a change after which links are put right, instead of half a second."""
SHARE = 1.0
"""Seconds to the next look at the rules for each that the last one took, instead of ten."""


def keep(path: Path) -> None:
    """Let agents of this process have the kernel in that file."""

    def kernel(_config: object) -> Kernel:
        return KeptKernel(path)

    agent.open_kernel = kernel


def hurry(trigger: Trigger) -> None:
    """Have whoever was made to hang given up soon, and links and rules put right; others have their patience."""
    hangs = Children.hangs

    def soon(self: Children, running: Running, now: float) -> str | None:
        if trigger.hangs and running.name == "journal":
            running.child = replace(running.child, patience=PATIENCE)
        return hangs(self, running, now)

    Children.hangs = soon  # type: ignore[method-assign]  # of this process alone
    agent.TICK = TICK
    links.PAUSE = BURST
    lookout.SHARE = SHARE


if __name__ == "__main__":
    order, kept, *arguments = sys.argv[1:]
    if kept != "-":
        keep(Path(kept))
    trigger = Trigger(Path(order))
    hurry(trigger)
    trigger.read()
    signal.signal(signal.SIGUSR2, trigger.read)
    sys.exit(main(arguments))
