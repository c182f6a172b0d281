"""The demonstration as a list of steps; each does something and looks whether it came as promised."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from moorage.demo import leftovers
from moorage.demo.account import command, happened, saw, say, see
from moorage.demo.guest import DOWNLOAD, digest
from moorage.demo.stage import HOST, OUTSIDE, Stage
from moorage.demo.traffic import Answer, Download, Target, Traffic, is_silent

REPAIR = 2.0
"""Seconds within which what others changed is put right."""
WEB = Target("tcp", HOST, 8080)
"""Where the world outside finds the container web."""
ONCE = "publish dns 53/udp --request once"
MEBIBYTE = 1 << 20


def build(stage: Stage) -> None:
    """Two containers without a network, and a world outside."""
    stage.add_outside()
    for name in ("web", "dns"):
        guest = stage.add_container(name)
        say(f"container {name}: process {guest.pid}, with HTTP on 80 and UDP on 53 and 9000 to 9009")
    say(f"outside: {OUTSIDE}, on a link of this host, which is {HOST} there")
    saw(is_silent(stage.guests["outside"].pid, HOST, 8080), f"nothing answers at {HOST}:8080")


def start(stage: Stage) -> None:
    """An agent, which makes a network on a bridge."""
    stage.sysctls = leftovers.sysctls()
    stage.agent.start()
    say("`moorage agent` runs, and has said READY=1 to whoever started it. From now on it is asked:")
    command("networks")
    saw(leftovers.links() == ["moorage0", "uplink"], "there is a bridge, moorage0")


def publish(stage: Stage) -> None:
    """Addresses and published ports."""
    say("HOST_PORT:CONTAINER_PORT; without a host port a free one is taken, and a range is one mapping.")
    web, dns = stage.guests["web"].pid, stage.guests["dns"].pid
    command(f"allocate web --netns pid:{web} -p 8080:80 -p 80 -p 8000-8009:9000-9009/udp")
    command("allocate dns -p 5353:53/udp")
    command(f"attach dns pid:{dns}")
    command(ONCE)
    say("What somebody holds is refused, with the holder's name, and nothing is done:")
    command("publish dns 8080:80", exit_code=1)


def reach_from_outside(stage: Stage) -> None:
    """The ports answer the world outside, and the containers see who asks."""
    outside, web = stage.guests["outside"].pid, stage.client.inspect("web")
    automatic = web.ports[1].host_port
    for target, answer in (
        (WEB, Answer("web", 80, OUTSIDE)),
        (Target("tcp", HOST, automatic), Answer("web", 80, OUTSIDE)),
        (Target("udp", HOST, 8000), Answer("web", 9000, OUTSIDE)),
        (Target("udp", HOST, 8009), Answer("web", 9009, OUTSIDE)),
        (Target("udp", HOST, 5353), Answer("dns", 53, OUTSIDE)),
    ):
        see("from outside", outside, target, answer)
    saw(is_silent(outside, web.ip, 80), f"from outside past the published port, {web.ip}:80: silence")


def reach_from_here(stage: Stage) -> None:
    """They answer this host and the containers too, which look like the gateway."""
    gateway = stage.client.inspect("web").gateway
    web, dns = Answer("web", 80, gateway), Answer("dns", 53, gateway)
    here = os.getpid()
    see("from this host", here, Target("tcp", "127.0.0.1", 8080), web)
    see("from this host", here, Target("tcp", "::1", 8080), web)
    see("from this host", here, Target("udp", "::1", 5353), dns)
    see("from web itself", stage.guests["web"].pid, WEB, web)
    see("from dns", stage.guests["dns"].pid, WEB, web)


def crash(stage: Stage) -> None:
    """Actors crash under traffic, and nobody outside notices."""
    say(
        "The agent is a tree of actors that share nothing. Two of them are made to raise, while a client "
        "outside makes one connection after the other:"
    )
    with traffic(stage) as clients, stage.client.subscribe(["actor_restarted"]) as events:
        for actor in ("port-mapper", "proxy:tcp/0.0.0.0:8080"):
            clients.go_on()
            stage.client.crash(actor)
            happened(events, actor=actor)
            clients.go_on()
            say(f"{actor} crashed and was started again")
    unharmed(clients)
    see(
        "from this host",
        os.getpid(),
        Target("tcp", "::1", 8080),
        Answer("web", 80, stage.client.inspect("web").gateway),
    )
    command("status")


def kill(stage: Stage) -> None:
    """The agent is killed in the middle of a download."""
    before = stage.client.list()
    with traffic(stage) as clients, Download(stage.guests["outside"].pid, WEB) as download:
        download.read(MEBIBYTE)
        stage.agent.kill()
        say(f"killed by SIGKILL, when {download.size >> 20} of {DOWNLOAD >> 20} MiB had come")
        download.read(16 * MEBIBYTE)
        clients.go_on()
        saw(download.size == 17 * MEBIBYTE, "with no agent there, 16 MiB more came")
        stage.agent.start()
        download.read()
        clients.go_on()
    whole = f"with a new agent the rest: {DOWNLOAD >> 20} MiB, byte for byte as sent"
    saw(download.digest() == digest(), whole)
    unharmed(clients)
    saw(stage.client.list() == before, "the new agent knows all that the old one did")


def repeat(stage: Stage) -> None:
    """A client that lost its answer asks again."""
    before = stage.client.list()
    say("The same request string as before the kill gets the first answer, and takes nothing twice:")
    command(ONCE)
    saw(stage.client.list() == before, "dns has two mappings as before, not three")


def tamper(stage: Stage) -> None:
    """Somebody else removes the rules."""
    with stage.client.subscribe(["repaired"]) as events:
        began = time.monotonic()
        leftovers.remove_table()
        what = happened(events)["what"]
        took = time.monotonic() - began
    saw(took < REPAIR, f"{what}: put right in {took:.2f} s, {REPAIR:.0f} s are promised")
    see("from outside", stage.guests["outside"].pid, WEB, Answer("web", 80, OUTSIDE))


def die(stage: Stage) -> None:
    """A container dies, and nobody says so."""
    with stage.client.subscribe(["interface_collected"]) as events:
        stage.guests["dns"].end()
        happened(events, id="dns")
    saw([each.id for each in stage.client.list()] == ["web"], "what dns had was collected")
    command("ps")


def release(stage: Stage) -> None:
    """Everything is given back."""
    mappings = stage.client.inspect("web").ports
    command("release web")
    command("ps")
    saw(leftovers.links() == ["moorage0", "uplink"], "no link of a container is left")
    saw(leftovers.published() == [], "no rule leads to a container")
    saw(leftovers.held(mappings) == [], "no port is held: anybody may bind them")
    saw(is_silent(stage.guests["outside"].pid, HOST, 8080), f"nothing answers at {HOST}:8080")


def take_down(stage: Stage) -> None:
    """The agent goes, and nothing of it stays."""
    saw(stage.agent.stop() == 0, "SIGTERM ends the agent with exit code 0")
    saw(
        leftovers.tables() == ["bridge moorage", "inet moorage"],
        "its bridge and tables stay, so that ports would go on without it",
    )
    saw(stage.agent.take_down() == 0, "`moorage agent --down` takes them away")
    saw(leftovers.tables() == [], "no table is left")
    saw(leftovers.links() == ["uplink"], "no bridge is left")
    after = leftovers.sysctls()
    same = f"all {len(after)} settings under /proc/sys/net/ipv4 and ipv6 are as they were"
    saw(after == stage.sysctls, same)


def traffic(stage: Stage) -> Traffic:
    """A client outside that does not stop to ask web."""
    return Traffic(stage.guests["outside"].pid, WEB)


def unharmed(clients: Traffic) -> None:
    """See that none of the requests failed."""
    failed = len(clients.failures)
    saw(not failed, f"{clients.done} connections from outside meanwhile, {failed} failed")


STEPS: Sequence[Callable[[Stage], None]] = (
    build,
    start,
    publish,
    reach_from_outside,
    reach_from_here,
    crash,
    kill,
    repeat,
    tamper,
    die,
    release,
    take_down,
)
