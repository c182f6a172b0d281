"""Descriptors that the agent keeps for itself."""

from __future__ import annotations

import os
import resource

import pytest

from moorage import descriptors
from moorage.descriptors import Spare
from moorage.errors import Code, Refused


@pytest.mark.parametrize(
    ("limit", "ports", "clients", "trusted"),
    [
        (1024, 768, 896, 960),
        (4096, 3072, 3584, 3840),
        (262_144, 261_120, 261_632, 261_888),
        (64, 48, 56, 60),
        (resource.RLIM_INFINITY, (1 << 20) - 1024, (1 << 20) - 512, (1 << 20) - 256),
    ],
)
def test_bounds(monkeypatch: pytest.MonkeyPatch, limit: int, ports: int, clients: int, trusted: int) -> None:
    """Ports come to their end first, then clients of the socket, then trusted ones; the rest is the agent's."""
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (limit, limit))
    assert descriptors.for_ports() == ports
    assert descriptors.for_clients() == clients
    assert descriptors.for_clients(trusted=True) == trusted


def test_what_is_lent_is_there() -> None:
    """As many as are held can be opened in the block, and are held again after it."""
    spare = Spare(3, least=3)
    before = used()
    spare.take()
    assert used() == before + 3
    with spare.lent():
        assert used() == before
    assert used() == before + 3
    spare.close()
    spare.close()
    assert used() == before


def test_nothing_to_lend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without enough of them the block is not entered; with fewer than wanted it is."""
    spare, numbers = Spare(4, least=2), [os.dup(0) for _ in range(3)]

    def eventfd(_value: int, _flags: int) -> int:
        if not numbers:
            raise OSError(24, "Too many open files")
        return numbers.pop()

    monkeypatch.setattr(os, "eventfd", eventfd)
    with spare.lent():
        numbers = [os.dup(0)]
    with pytest.raises(Refused, match="LimitNOFILE") as caught, spare.lent():
        pytest.fail("it was entered")
    assert caught.value.code is Code.LIMIT
    spare.close()


def test_numbers_that_are_too_high(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a number that is of no use is given back at once."""
    high = [os.dup(0)]
    monkeypatch.setattr(os, "eventfd", lambda _value, _flags: high[0])
    spare = Spare(2, least=1, below=high[0])
    with pytest.raises(Refused, match=f"none below {high[0]} is free"):
        spare.take()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(high[0])


def used() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, of no paths
