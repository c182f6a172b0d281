"""Runs of datagrams that one call can send, and that they arrive one by one."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.proxy.segments import runs, send_run
from proxy.harness import PATIENCE

sizes = st.one_of(st.integers(0, 3), st.sampled_from([1_400, 20_000, 65_507]))


@given(st.lists(sizes, max_size=20))
def test_runs(lengths: list[int]) -> None:
    """Nothing is lost or moved; in each run all are as long as the first but a shorter last, none of several empty."""
    datagrams = [bytes([at]) * length for at, length in enumerate(lengths)]
    found = [list(run) for run in runs(datagrams)]
    assert [data for run in found for data in run] == datagrams
    for run in found:
        first, *others = map(len, run)
        if others:
            assert {first, *others[:-1]} == {first}
            assert 0 < others[-1] <= first
            assert sum(map(len, run)) <= 64_000


def test_as_long_as_can_be() -> None:
    """A run does not end before it must."""
    assert [len(run) for run in runs([b"ab", b"cd", b"e", b"f", b"", b"gh", b"ij"])] == [3, 1, 1, 2]


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_sent(ip: str) -> None:
    """What is sent as a run arrives as it was."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as ear, socket.socket(family, socket.SOCK_DGRAM) as mouth:
        ear.settimeout(PATIENCE)
        ear.bind((ip, 0))
        mouth.connect(ear.getsockname())
        run = [bytes([at]) * 300 for at in range(16)] + [b"last"]
        send_run(mouth, run)
        assert [ear.recv(1_000) for _ in run] == run
