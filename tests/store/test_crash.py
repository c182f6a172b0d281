"""Killed while writing."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.store import Commit, DropInterface, PutInterface, PutNetwork, Store
from store.samples import do, interface, mapping, network, open_store, request

BATCH = 7
SLOTS = 63


def batch(number: int) -> list[Commit]:
    """Batch `number` of a writer without end: each commit gives an interface in place of an older one."""
    commits = []
    for n in range(number * BATCH, (number + 1) * BATCH):
        slot = n % SLOTS
        old = DropInterface(f"id{n - SLOTS}")
        new = PutInterface(interface(f"id{n}", 2 + slot, mapping(1000 + 10 * slot, count=5)))
        commits.append(Commit((old, new), request(f"r{n}"), str(n).encode()))
    return commits


def write(directory: Path) -> None:
    """Commit batches until killed, printing the number of each that was answered."""
    store = open_store(directory)
    do(store, PutNetwork(network()))
    for number in itertools.count():
        store.commit(batch(number))
        print(number, flush=True)


def kill_after(directory: Path, answers: int) -> int:
    """Run `write`, kill it after so many answers, and give the number of the last that it gave."""
    command = [sys.executable, __file__, str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(answers):
            writer.stdout.readline()
        writer.kill()
        return answers - 1 + len([line for line in writer.stdout if line.endswith("\n")])


def expected(number: int) -> list[str]:
    """The interfaces after batch `number`."""
    end = (number + 1) * BATCH
    return [f"id{n}" for n in range(max(0, end - SLOTS), end)]


@pytest.mark.parametrize("answers", [1, 3, 10, 40, 100])
def test_killed_writer_loses_and_tears_nothing(state: Path, answers: int) -> None:
    """After SIGKILL every answered batch is there, and the one under way wholly or not at all."""
    last = kill_after(state, answers)
    store = open_store(state)
    found = [known.id for known in store.interfaces()]
    assert found in (expected(last), expected(last + 1))
    done = last if found == expected(last) else last + 1
    assert all(replies(store, number) == [True] * BATCH for number in range(done + 1))
    assert replies(store, done + 1) == [False] * BATCH
    store.close()


def replies(store: Store, number: int) -> list[bool]:
    """For each commit of a batch, whether its request is remembered with its own answer."""
    answers = [(commit.request, commit.reply) for commit in batch(number)]
    return [store.recall(key) == reply for key, reply in answers if key is not None]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
