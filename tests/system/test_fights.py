"""Somebody undoes what is put right, at once, again and again: it is told of, and done ever more slowly."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from agents import Events, until
from echo_server import ask
from installation import LONE, Installation, installed
from lab import HOST, HOST6
from moorage.kernel.linux import nft_rules
from moorage.kernel.linux.generation import Watcher
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import Nftables, NftablesError
from moorage.kernel.linux.watch import Watch
from moorage.model.backoff import Pace

pytestmark = pytest.mark.system

PACE = Pace()
SLOWER = 3
"""Repairs that are watched after the warning. One more takes twice as long, as does the rest that follows it."""
LATE = 1.0
"""Seconds by which a busy machine tells of a repair too late: without pauses these take half as long."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that somebody fights with."""
    with installed(tmp_path_factory.mktemp("fights")) as made:
        yield made


class Adversary:
    """Undoes something from a thread of its own, whenever it is woken, until `close`."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo = undo
        self._woken = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="adversary", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something changed: perhaps a repair."""
        self._woken.set()

    def close(self) -> None:
        """Give up."""
        self._over = True
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over:
            self._undo()
            self._woken.wait()
            self._woken.clear()


def _forget(_: BaseException) -> None:
    """A look that dies wakes nobody any more, which is seen by what is then not fought over."""


@contextmanager
def deleting_the_table(at: Installation) -> Iterator[None]:
    """Somebody who deletes our table as soon as it is there."""
    nftables = at.lab.call("host", Nftables)

    def delete() -> None:
        while True:
            try:
                nftables.run("delete table inet moorage")
            except NftablesError as error:
                if "No such file or directory" not in str(error):
                    continue  # the kernel had no time for it
            return  # the table is gone, or not there yet

    adversary = Adversary(delete)
    watcher = at.lab.call(
        "host", Watcher, adversary.wake, lambda: None, lambda: False, lambda: False, lost=_forget
    )
    try:
        yield
    finally:
        watcher.close()
        adversary.close()
        nftables.close()


@contextmanager
def coming_after_us(at: Installation) -> Iterator[None]:
    """Somebody whose rule has to be the last of a dropping FORWARD."""
    nftables, looking = (at.lab.call("host", made) for made in (Nftables, Netlink))
    base = "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    nftables.run(f"add table ip filter\n{base}")

    def append() -> None:
        rules = nft_rules.rules(looking, "ip", "filter", "FORWARD")
        if rules and rules[-1].leads_to("MOORAGE"):
            theirs = [f"delete rule ip filter FORWARD handle {rule.handle}\n" for rule in rules[:-1]]
            nftables.run("".join(theirs) + "add rule ip filter FORWARD tcp dport 9 drop")

    adversary = Adversary(append)
    watcher = at.lab.call(
        "host", Watcher, adversary.wake, lambda: None, lambda: False, lambda: False, lost=_forget
    )
    try:
        yield
    finally:
        watcher.close()
        adversary.close()
        nftables.close()
        looking.close()


@contextmanager
def holding_the_bridge_down(at: Installation) -> Iterator[None]:
    """Somebody who sets a bridge down as soon as it is up."""
    adversary = Adversary(lambda: at.lab.run("host", ["ip", "link", "set", "mg-dual", "down"]) and None)
    watch = at.lab.call("host", Watch, adversary.wake, _forget)
    try:
        yield
    finally:
        watch.close()
        adversary.close()


def working(at: Installation) -> bool:
    """Whether `web` is reached through the kernel, over both families."""
    return all(at.lab.can_reach("outside", (to, 8080), timeout=1) for to in (HOST, HOST6))


def warnings(at: Installation, what: str) -> list[dict[str, Any]]:
    """The warnings in the log that name it."""
    return [line for line in at.agent.log("repairs_contested") if what in line["what"]]


def repairs(events: Events, what: str) -> list[float]:
    """When it was put right, as the events say."""
    told = [event for event in events.seen if event["event"] == "repaired" and what in event["what"]]
    return sorted(seconds(event["time"]) for event in told)


def since(warning: dict[str, Any], times: list[float]) -> list[float]:
    """The repairs that came after the one that was once too often.

    `links` tells of that one after its warning, the port mapper before.
    """
    warned = seconds(warning["timestamp"])
    first = bisect_left(times, warned) + 1 if warning["actor"] == "links" else bisect_right(times, warned)
    return times[first:]


def seconds(time: str) -> float:
    """A time of the log or of an event; events have whole milliseconds, cut off."""
    return datetime.fromisoformat(time[:23] + "Z").timestamp()


@pytest.mark.parametrize(
    ("what", "told", "adversary", "kept"),
    [
        ("the nftables table", "table inet moorage was missing", deleting_the_table, ("host", (LONE, 80))),
        (
            "bridge mg-dual",
            "bridge mg-dual: state set to up",
            holding_the_bridge_down,
            ("outside", (HOST, 8081)),
        ),
        ("chain MOORAGE beside FORWARD", "was not the last rule", coming_after_us, ("outside", (HOST, 8081))),
    ],
)
def test_a_fight_is_told_of_and_slows_down(
    at: Installation,
    what: str,
    told: str,
    adversary: Callable[[Installation], Iterator[None]],
    kept: tuple[str, tuple[str, int]],
) -> None:
    """Ten repairs come at once, then one warning and pauses that double; what still works is not disturbed.

    Every repair is an event and counted; after the fight all is right again.
    """
    before = at.client.status().repaired
    connection = at.lab.open(*kept)
    ask(connection)
    with at.agent.events("repaired") as events:
        with adversary(at):
            until(lambda: warnings(at, what), timeout=30)
            (warning,) = warnings(at, what)
            until(lambda: len(since(warning, repairs(events, told))) >= SLOWER, timeout=30)
            times = since(warning, repairs(events, told))
            assert ask(connection).payload == b"hello"
        until(lambda: working(at), timeout=PACE.longest + 10)
        until(lambda: at.client.status().repaired - before == len(events.seen))
    assert len(warnings(at, what)) == 1
    pauses = [min(PACE.first * 2**index, PACE.longest) for index in range(SLOWER)]
    assert times[SLOWER - 1] - seconds(warning["timestamp"]) >= sum(pauses) - LATE
