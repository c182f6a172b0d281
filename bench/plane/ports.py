"""Publishing many ports at once: how long it takes, and what the processes weigh afterwards.

The agent runs before, as a daemon does; a proxy with a configuration is started, which is what changing it takes.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from moorage import Client
from plane import processes, proxies, rules
from plane.contestants import FEW, Setting
from plane.figures import Numbers
from plane.packages import DOCKER_PROXIES, Missing, environment, program
from plane.place import INSIDE, Place
from plane.rules import Run
from plane.say import say

FIRST = 20_000
HAPROXY = """
global
    maxpipes 256
defaults
    mode tcp
    option splice-auto
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{first}-{last}
    server container {inside}
"""

Pids = Sequence[int]
Publish = Callable[[], Pids]
"""Publishes, returning when the ports answer, and gives the processes that it takes."""


def agent_singly(setting: Setting, count: int) -> Publish:
    """One request with a spec for each port."""
    return _agent(setting, [f"{FIRST + at}:80" for at in range(count)])


def agent_range(setting: Setting, count: int) -> Publish:
    """One range."""
    return _agent(setting, [Run("tcp", FIRST, FIRST, count).spec])


def _agent(setting: Setting, specs: list[str]) -> Publish:
    _, service = setting.agent(FEW)

    def publish() -> Pids:
        with Client(service.socket) as client:
            client.publish("web", specs)
        return [service.pid]

    return publish


def docker_proxy(name: str, setting: Setting, count: int) -> Publish:
    """A process for each, one after the other as dockerd starts them; its rules are not counted."""
    stage = setting.plain(name)
    return lambda: [proxies.docker_port(name, stage.host, "tcp", INSIDE, FIRST + at) for at in range(count)]


def haproxy(setting: Setting, count: int) -> Publish:
    """A start with a range of ports, until it says that it listens."""
    stage = setting.plain("haproxy")
    home = setting.home(stage)
    (home / "haproxy.cfg").write_text(HAPROXY.format(first=FIRST, last=FIRST + count - 1, inside=INSIDE))
    return lambda: [_start_haproxy(stage.host, [str(home / "haproxy.cfg")])]


def _start_haproxy(place: Place, config: list[str]) -> int:
    argv = [program("haproxy"), "-W", "-db", "-f", *config]
    process = place.start(argv, env=environment("haproxy"), stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"Loading success" in line:
            return process.pid
    raise Missing("haproxy is left out: it did not start")


def iptables(setting: Setting, count: int) -> Publish:
    """All rules in one transaction; no process stays."""
    stage = setting.plain("iptables")

    def publish() -> Pids:
        rules.iptables(stage, [Run("tcp", FIRST, 80, count)])
        return ()

    return publish


PUBLISHERS: dict[str, tuple[Callable[[Setting, int], Publish], int]] = {
    "moorage-kernel": (agent_singly, 10_000),
    "moorage-range": (agent_range, 10_000),
    **{name: (partial(docker_proxy, name), 1_000) for name in DOCKER_PROXIES},
    "haproxy": (haproxy, 10_000),
    "iptables": (iptables, 10_000),
}
"""Each with the number of ports up to which it is measured: 10,000 docker-proxies would take 7 GB."""


def publish_all(
    names: Iterable[str],
    levels: Sequence[int],
    setting: Callable[[], AbstractContextManager[Setting]],
    into: Numbers,
) -> None:
    """Measure each of them once at every level, in turns."""
    for level in levels:
        for name in names:
            prepare, most = PUBLISHERS[name]
            if level <= most:
                with setting() as fresh:
                    _measure(f"ports, {level:,} at once", name, partial(prepare, fresh, level), into)
    say("a round of publishing done")


def _measure(case: str, name: str, prepare: Callable[[], Publish], into: Numbers) -> None:
    try:
        publish = prepare()
        began = time.perf_counter()
        pids = publish()
        took = time.perf_counter() - began
    except Missing as missing:
        say(str(missing))
        return
    into.add(case, name, {"publish": took} | (processes.memory(pids) if pids else {}))
