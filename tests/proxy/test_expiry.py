"""Deadlines of one length, against the plainest model of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from moorage.proxy.expiry import Expiry

LIFETIME = 10.0
steps = st.lists(
    st.tuples(st.sampled_from(["renew", "cancel", "take"]), st.integers(0, 4), st.integers(0, 6))
)


@given(steps)
def test_against_a_dict(actions: list[tuple[str, int, int]]) -> None:
    """Whatever is renewed and cancelled, what is due is what a dict of deadlines says, oldest first."""
    expiry: Expiry[int] = Expiry(LIFETIME, lambda _item: None)
    model: dict[int, float] = {}
    now = 0.0
    for action, item, step in actions:
        now += step
        if action == "renew":
            expiry.renew(item, now)
            model.pop(item, None)
            model[item] = now + LIFETIME
        elif action == "cancel":
            expiry.cancel(item)
            model.pop(item, None)
        else:
            due = [each for each, deadline in model.items() if deadline <= now]
            assert [expiry.take_due(now) for _ in due] == due
            assert expiry.take_due(now) is None
            model = {each: deadline for each, deadline in model.items() if deadline > now}
        assert len(expiry) == len(model)
        assert expiry.next_deadline() == min(model.values(), default=math.inf)
        assert expiry.oldest() == next(iter(model), None)


@given(steps)
def test_no_deadline_comes_unannounced(actions: list[tuple[str, int, int]]) -> None:
    """Who heard of every item that was the only one has heard of a deadline no later than the next."""
    heard = [math.inf]
    expiry: Expiry[int] = Expiry(LIFETIME, lambda _item: None, heard.append)
    now = 0.0
    for action, item, step in actions:
        now += step
        if action == "renew":
            expiry.renew(item, now)
        elif action == "cancel":
            expiry.cancel(item)
        else:
            expiry.take_due(now)
            heard[:] = [expiry.next_deadline()]  # whoever takes looks at what is left
        assert min(heard) <= expiry.next_deadline()
