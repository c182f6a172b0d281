"""What stands in the way at the moment: said in the log once, and by `status` while it lasts."""

from __future__ import annotations

from agents import until
from agreement import StartAgent
from moorage.control.context import Warnings
from moorage.kernel.memory import MemoryKernel

ONE, OTHER = "chain x drops", "chain y drops"


def test_an_owner_says_what_holds_now() -> None:
    """What an owner says takes the place of what it said before; what is new in it is given back, once."""
    warnings = Warnings()
    assert warnings.say("links", [ONE, ONE]) == [ONE]
    assert warnings.say("gateway", [OTHER]) == [OTHER]
    assert warnings.current() == (OTHER, ONE)
    assert warnings.say("links", [OTHER, ONE]) == [OTHER]
    assert warnings.say("links", [OTHER]) == []
    assert warnings.say("gateway", ()) == []
    assert warnings.current() == (OTHER,)


def test_status_has_a_warning_while_it_lasts(start_agent: StartAgent, kernel: MemoryKernel) -> None:
    """A chain that drops is named by `status` as soon as it is seen, at the start too, until it is gone."""
    kernel.warnings = [ONE]
    agent = start_agent()
    assert agent.status().warnings == (ONE,)
    agent.crash("port-mapper")
    until(lambda: agent.status().restarts == 1)
    assert agent.status().warnings == (ONE,)
    kernel.warnings = []
    agent.create_network("back")  # for which the port mapper looks
    assert agent.status().warnings == ()


def test_what_hinders_links_is_said_at_the_start_and_after_a_crash(
    start_agent: StartAgent, kernel: MemoryKernel
) -> None:
    """Links and port mapper each say what they see, and neither takes back what the other said."""
    kernel.hindrances, kernel.warnings = [OTHER], [ONE]
    agent = start_agent()
    assert set(agent.status().warnings) == {ONE, OTHER}
    kernel.hindrances = []
    agent.crash("links")
    until(lambda: agent.status().warnings == (ONE,))
