"""Which of a port's UDP clients makes room for another."""

from __future__ import annotations

from typing import Any

from moorage.proxy.guests import Guests


class Client:
    """Was used at a time."""

    def __init__(self, used: float) -> None:
        self.used = used


def guests(new: int, answered: int) -> tuple[Guests, list[Any], list[Any]]:
    """So many of each kind, which came in that order."""
    made = Guests()
    clients: list[Any] = [Client(n) for n in range(new + answered)]
    for each in clients:
        made.come(each)
    for each in clients[new:]:
        made.answered(each)
    return made, clients[:new], clients[new:]


def test_who_was_not_answered_goes_first() -> None:
    """The one that was silent longest of those, though all of the others were silent longer."""
    made, new, answered = guests(3, 3)
    for each in new:
        each.used += 100
    new[0].used += 100
    assert made.last() is new[1]
    assert len(made) == 6
    for each in new:
        made.leave(each)
    answered[0].used = 50
    assert made.last() is answered[1]


def test_newcomers_have_a_moment() -> None:
    """Where nearly all were answered, one of them makes room, so that new ones live to be."""
    made, new, answered = guests(10, 90)
    assert made.last() is answered[0]
    more: Any = Client(1000)
    for _ in range(3):
        made.leave(answered.pop())
    made.come(more)
    assert made.last() is answered[0]
    made, new, answered = guests(13, 87)
    assert made.last() is new[0]


def test_nobody() -> None:
    """Where there is nobody, nobody goes; who left is forgotten."""
    made, new, answered = guests(1, 1)
    made.leave(new[0])
    made.leave(answered[0])
    made.leave(answered[0])
    assert made.last() is None
    assert len(made) == 0
