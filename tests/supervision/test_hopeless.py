"""An actor that knows that another life of it would not help, in its work or before it is ready."""

from __future__ import annotations

import pytest

from moorage.errors import Fault
from moorage.supervision.policy import Hopeless
from moorage.supervision.supervisor import GaveUp
from supervision.rig import PATIENCE, Do, Script, Stage, first, nothing, raise_

BOOM = raise_(ValueError("boom"))
LOCKED = raise_(Hopeless("locked"))


@pytest.mark.parametrize("begin", [True, False], ids=["in its begin", "in its work"])
def test_nobody_tries_again(stage: Stage, begin: bool) -> None:
    """Its supervisor gives up at once, and who asks hears that it is no use."""
    script = Script(begin=first(nothing, LOCKED))
    _, exits = stage.running("root", stage.child("a", script))
    stage.tell("a", Do(BOOM if begin else LOCKED))
    gave_up = exits.get(timeout=PATIENCE)
    assert isinstance(gave_up.reason, GaveUp)
    assert "a cannot go on" in str(gave_up.reason)
    assert [name for what, name in stage.story if what == "begin"] == ["a", "a"][: 1 + begin]
    with pytest.raises(Fault, match="ask the next one again"):
        stage.ask("a", Do(nothing)).wait()
