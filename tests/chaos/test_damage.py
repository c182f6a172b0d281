"""A state that is damaged under a real agent, on a real kernel: found, said, put aside, and made anew."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from agents import AgentProcess
from echo_server import ask
from lab import HOST, Lab
from moorage.values import Interface
from system.test_down import traces

pytestmark = pytest.mark.system


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent with three networks, and containers with published ports on each."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        fill(agent)
        yield agent


def fill(agent: AgentProcess) -> None:
    client, lab = agent.client, agent.lab
    client.create_network(
        "dual", subnet="10.0.43.0/24", subnet6="fd43::/64", bridge="br-other", guard="network"
    )
    client.create_network("sealed", subnet="10.0.44.9/24", internal=True, mtu=1400)
    client.allocate(
        "web",
        netns=lab.container("web"),
        ports=["8080:80", "53/udp", "127.0.0.1:8081:81", "8200-8299:8200-8299"],
    )
    client.allocate("api", netns=lab.container("api"), network="dual", ports=["8090:80", "[fd77::1]:8091:80"])
    client.allocate("vault", netns=lab.container("vault"), network="sealed", ifname="net0")
    client.allocate("loose", ip="10.0.42.77", ports=["8100:80"], labels={"a": "b"})


def zero_all(state: Path) -> None:
    remove(state)  # its log too, out of which SQLite may well mend it
    (state / "moorage.db").write_bytes(bytes(1 << 16))


def change_row(state: Path) -> None:
    with closing(sqlite3.connect(state / "moorage.db", isolation_level=None)) as connection:
        connection.execute("UPDATE interfaces SET body = x'00' WHERE id = 'web'")


def remove(state: Path) -> None:
    for path in state.glob("moorage.db*"):
        path.unlink()


def cut(state: Path) -> None:
    """Of what the write-ahead log has too, nothing would be lost."""
    database = state / "moorage.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 3])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "row": change_row,
    "zeroed": zero_all,
    "gone": remove,
    "cut": cut,
}


def known(each: Interface) -> Interface:
    """What the kernel tells of an attached interface."""
    ports = tuple(sorted(each.ports, key=lambda mapping: mapping.name))
    return replace(each, labels={}, created="", ports=ports)


@pytest.mark.parametrize("how", DAMAGES)
def test_attached_containers_are_found_again(agent: AgentProcess, how: str) -> None:
    """Whatever was damaged, attached containers keep interface, ports and connections, and the log says so."""
    client, lab = agent.client, agent.lab
    before = {each.id: each for each in client.list()}
    networks = client.networks()
    lab.echo_server("web", "tcp", 80)
    kept = lab.open("outside", (HOST, 8080))
    ask(kept)
    agent.kill()
    DAMAGES[how](agent.state)
    agent.start()
    assert client.networks() == networks
    after = {each.id: each for each in client.list()}
    for id in ("web", "api", "vault"):
        assert known(after[id]) == known(before[id])
    assert {"10.0.42.77", "8100"} <= {str(x) for each in after.values() for x in (each.ip, *ports(each))}
    assert ask(kept).server == "web"
    assert len(agent.log("state_damaged")) == 1
    (said,) = agent.log("state_rebuilt")
    assert how == "gone" or Path(said["aside"]).exists()
    if how == "row":
        assert said["from_kernel"] == ["interface web"]
        assert after["loose"] == before["loose"]
    agent.replace()
    assert {each.id: each for each in client.list()} == after
    for id in after:
        client.release(id)


def test_what_containers_show_is_not_believed(agent: AgentProcess) -> None:
    """A container that took its neighbour's addresses and MAC has its own again after a rebuild, and not its ports."""
    client, lab = agent.client, agent.lab
    client.allocate("thief", netns=lab.container("thief"))
    before = {each.id: known(each) for each in client.list() if each.netns}
    victim, thief = before["web"], before["thief"]
    for change in (
        f"address del {thief.ip}/24 dev eth0",
        "link set eth0 down",
        f"link set eth0 address {victim.mac}",
        "link set eth0 name eth7",
        "link set eth7 up",
        f"address add {victim.ip}/24 dev eth7",
    ):
        lab.run("thief", ["ip", *change.split()])
    agent.kill()
    lab.run("web", ["ip", "address", "flush", "dev", "eth0"])
    zero_all(agent.state)
    agent.start()
    assert {each.id: known(each) for each in client.list() if each.netns} == before
    lab.echo_server("web", "tcp", 80)
    assert lab.connect("outside", (HOST, 8080)).server == "web"


def ports(each: Interface) -> list[int]:
    return [mapping.host_port for mapping in each.ports]


def test_damage_at_run_time_is_not_served(agent: AgentProcess) -> None:
    """A damaged row that is read ends the agent with a sentence; the next one saves what it can, and serves."""
    client = agent.client
    before = {each.id: known(each) for each in client.list()}
    agent.terminate()
    database = agent.state / "moorage.db"
    with database.open("r+b") as disk:  # opened before the agent looks who else opens it
        agent.start()
        client.hello()
        decay(disk)
        client.crash("journal")  # another one reads what is on the disk, and not in SQLite's cache
        assert agent.ended() == 1
    (said,) = agent.log("agent_gave_up")
    assert "journal" in said["reason"]
    assert agent.log("state_written_anew") == []
    agent.start()
    assert {each.id: known(each) for each in client.list()} == before


def decay(disk: BinaryIO) -> None:
    """Turn a bit of each `web` in the file, as a disk does: nobody wrote, and no time is set."""
    times = os.fstat(disk.fileno())
    content = disk.read()
    disk.seek(0)
    disk.write(content.replace(b"web", b"wEb"))
    disk.flush()
    os.utime(disk.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_somebody_wrote_at_run_time_is_undone(agent: AgentProcess) -> None:
    """Bytes that somebody changed in the file are as they were at the next answer, and at the next start."""
    client = agent.client
    before = client.list()
    database = agent.state / "moorage.db"
    database.write_bytes(database.read_bytes().replace(b"web", b"wEb"))
    client.crash("journal")
    assert client.list() == before
    assert len(agent.log("state_written_anew")) == 1
    agent.kill()
    agent.start()
    assert client.list() == before
    assert agent.log("state_rebuilt") == []


@pytest.mark.parametrize("how", ["row", "zeroed", "gone", "all"])
def test_down_without_a_state(lab: Lab, tmp_path: Path, how: str) -> None:
    """`agent --down` removes rules, bridges and links that are recognisably ours, whatever is left of the state."""
    before = traces(lab)
    agent = AgentProcess(lab, tmp_path, subnet="10.0.42.1/24")
    with agent:
        fill(agent)
        agent.terminate()
    if how == "all":
        for path in agent.state.iterdir():
            path.unlink()
    else:
        DAMAGES[how](agent.state)
    done = agent.down()
    assert done.returncode == 0, done.stderr
    after = traces(lab)
    assert after[:2] == before[:2]
    assert after[3] == before[3]
    assert not agent.state.exists()
