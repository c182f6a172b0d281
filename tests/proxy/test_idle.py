"""Idle items, against the plainest model of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from moorage.proxy.idle import Idle

LIFETIME = 10.0
steps = st.lists(
    st.tuples(st.sampled_from(["add", "use", "cancel", "take"]), st.integers(0, 4), st.integers(1, 6))
)


class Thing:
    """Something that is used."""

    def __init__(self, used: float) -> None:
        self.used = used


@given(steps)
def test_against_a_list(actions: list[tuple[str, int, int]]) -> None:
    """Whatever is added, used and cancelled, what is due is what is idle longest, and the first deadline is its own."""
    heard = [math.inf]
    idle: Idle[Thing] = Idle(LIFETIME, lambda _item: None, heard.append)
    things = [Thing(0.0) for _ in range(5)]
    model: set[Thing] = set()
    now = 0.0
    for action, which, step in actions:
        now += step
        thing = things[which]
        if action == "add" and thing not in model:
            thing.used = now
            idle.add(thing)
            model.add(thing)
        elif action == "use":
            thing.used = now
        elif action == "cancel":
            idle.cancel(thing)
            model.discard(thing)
        elif action == "take":
            due = sorted((each for each in model if each.used + LIFETIME <= now), key=lambda each: each.used)
            assert [idle.take_due(now) for _ in due] == due
            assert idle.take_due(now) is None
            model -= set(due)
            heard[:] = [idle.next_deadline()]  # whoever takes looks at what is left
        assert len(idle) == len(model)
        assert idle.oldest() is min(model, key=lambda each: each.used, default=None)
        assert idle.next_deadline() == min((each.used + LIFETIME for each in model), default=math.inf)
        assert min(heard) <= idle.next_deadline()


def test_what_is_gone_takes_no_room() -> None:
    """Items that come and go leave nothing behind."""
    idle: Idle[Thing] = Idle(LIFETIME, lambda _item: None)
    for number in range(10_000):
        thing = Thing(float(number))
        idle.add(thing)
        idle.cancel(thing)
    assert len(idle._heap) < 100
