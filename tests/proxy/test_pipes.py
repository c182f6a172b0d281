"""Pipes are lent empty, and never beyond their number."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from moorage.proxy.pipes import Pipe, PipePool


def test_pipe_with_bytes_is_not_lent_again() -> None:
    """A pipe given back with bytes in it is closed, so that no other connection gets them."""
    pool = PipePool()
    near, far = socket.socketpair()
    with near, far:
        far.send(b"left over")
        pipe = pool.borrow()
        assert pipe is not None
        assert pipe.fill(near.fileno()) == 9
        pool.give_back(pipe)
        again = pool.borrow()
    assert again is not None
    assert again is not pipe
    assert again.held == 0
    pool.give_back(again)
    assert pool.borrow() is again
    again.close()


def test_bounded_number() -> None:
    """Past the limit nobody is lent a pipe; one given back can be lent again."""
    pool = PipePool()
    lent = [pipe for pipe in (pool.borrow() for _ in range(200)) if pipe is not None]
    assert len(lent) == PipePool.most
    pool.give_back(lent.pop())
    again = pool.borrow()
    assert again is not None
    for pipe in [*lent, again]:
        pool.give_back(pipe)
    pool.close()


def test_small_pipe_is_not_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that grants a page or two has its bytes copied instead."""
    monkeypatch.setattr(Pipe, "grow", lambda _pipe: 8192)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert PipePool().borrow() is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
