"""No port has more descriptors than it leaves to all others."""

from __future__ import annotations

import errno
import socket

import pytest

from moorage.proxy.shares import Shares

BOUND = 1064
"""Of which 1,000 are for ports: 750 for traffic, and 250 always for listeners."""


def take(shares: Shares, used: int = 0, more: int = 2) -> int:
    """What a port has that takes all it may, having `used` so far."""
    while shares.admits(used, more):
        used += more
        shares.traffic += more
    return used


def test_one_crowd_has_half_two_have_a_third_each() -> None:
    """Each has as much as it leaves to all others, however many there are; who comes later finds some."""
    shares = Shares(lambda: BOUND)
    assert take(shares) == 374
    assert take(shares) == 188
    assert take(shares) == 94
    assert shares.free > 90


def test_crowds_side_by_side() -> None:
    """Taking turns, all have the same in the end, and as much is left."""
    shares = Shares(lambda: BOUND)
    used = [0, 0, 0, 0]
    while True:
        admitted = [n for n, each in enumerate(used) if shares.admits(each, 2)]
        if not admitted:
            break
        for n in admitted:
            used[n] += 2
            shares.traffic += 2
    assert max(used) - min(used) <= 2
    assert shares.free >= min(used) - 8


@pytest.mark.parametrize(("listeners", "traffic"), [(0, 750), (250, 750), (600, 400), (750, 250), (990, 250)])
def test_listeners_and_traffic(listeners: int, traffic: int) -> None:
    """Traffic has what listeners leave, between a quarter and three of all."""
    shares = Shares(lambda: BOUND)
    shares.add_listeners(listeners)
    assert shares.free == traffic
    shares.add_listeners(-listeners)
    assert shares.free == 750


def test_listeners_have_an_end() -> None:
    """A quarter is for traffic always."""
    shares = Shares(lambda: BOUND)
    assert shares.admits_listeners(750)
    assert not shares.admits_listeners(751)
    shares.add_listeners(700)
    assert not shares.admits_listeners(51)


def test_ports_by_the_ten_thousand() -> None:
    """Of many, traffic has a part that is enough for it, and listeners all others."""
    shares = Shares(lambda: 18_976)
    assert shares.admits_listeners(16_800)
    assert not shares.admits_listeners(16_900)
    shares.add_listeners(16_800)
    assert shares.free == 2_112
    shares.add_listeners(64)
    assert shares.free == 2_048


def test_the_bound_follows_the_limit() -> None:
    """What is raised or lowered while it runs counts at once; a bound below what is open admits nobody."""
    bound = BOUND
    shares = Shares(lambda: bound)
    shares.traffic = 700
    assert shares.admits(10, 2)
    bound = 500
    assert not shares.admits(0, 1)
    assert shares.free < 0


@pytest.mark.parametrize("bound", [0, 3, 8, 40])
def test_next_to_none(bound: int) -> None:
    """Where there is next to nothing, somebody is served all the same while there is room for two."""
    shares = Shares(lambda: bound)
    assert shares.admits(0, 1) == (bound >= 3)
    assert take(shares) <= bound // 2


def test_a_number_that_is_set_aside() -> None:
    """A socket with such a number is closed, as if there had been none."""
    sock = socket.socket()
    assert Shares(lambda: sock.fileno() + 1).checked(sock) is sock
    with pytest.raises(OSError, match="Too many open files") as caught:
        Shares(sock.fileno).checked(sock)
    assert caught.value.errno == errno.EMFILE
    assert sock.fileno() < 0
