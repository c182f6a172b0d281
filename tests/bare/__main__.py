"""`bin/test --bare [SUITE...]`: bin/demo and bin/test on machines that have nothing yet, by root and by others.

A machine is a root made by debootstrap in a temporary folder, entered in fresh namespaces: of this machine nothing
can be reached but the network, a clone of the committed tree, and what says how apt, pip and npm reach their packages.
Root lets both commands install what is missing. An ordinary user is refused with one line by each; what the line says
is done, and then both have to pass. Exits 1 when anything did not go so; what was written is kept then.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import ORDINARY, ROOT, Machine, User
from reach import Unreachable, find

SUITES = ("bookworm", "trixie", "forky")
USERS = {"root": ROOT, "ordinary": ORDINARY}
COMMANDS = {"demo": "bin/demo", "test": "bin/test"}
_ADVICE = re.compile(r"as root, run: (?:apt-get update && )?(apt-get install [\w .+-]+)$")
_TAIL = 40


@dataclass(frozen=True)
class Outcome:
    """One thing that was tried: whether it went as wanted, in how many seconds, and what it said in the end."""

    suite: str
    user: str
    what: str
    well: bool
    seconds: float
    said: str

    def __str__(self) -> str:
        """One line of the summary."""
        verdict = "ok" if self.well else "FAILED"
        return (
            f"{self.suite:<9} {self.user:<9} {self.what:<22} {verdict:<7} {self.seconds:6.0f} s  {self.said}"
        )


class Trial:
    """One user on one bare machine, from nothing to both commands."""

    def __init__(self, suite: str, name: str, machine: Machine, logs: Path, arguments: Sequence[str]) -> None:
        """`arguments` are for the tests."""
        self._suite, self._name, self._user = suite, name, USERS[name]
        self._machine, self._logs, self._arguments = machine, logs, arguments

    def run(self, commands: Sequence[str]) -> Iterator[Outcome]:
        """Try everything, in order; what comes later needs what comes before."""
        self._machine.give(self._user)
        advice = {} if self._user is ROOT else {each: self._refused(each) for each in commands}
        yield from (outcome for outcome, _ in advice.values())
        for each in commands:
            if each in advice:
                yield self._heeded(each, advice[each][1])
            arguments = self._arguments if each == "test" else ()
            yield self._try(COMMANDS[each], self._user, [COMMANDS[each], *arguments], _passed)

    def _refused(self, command: str) -> tuple[Outcome, str]:
        """Nothing is there: it has to end at once, with one line that says all."""
        advice: list[str] = []

        def judge(status: int, text: str) -> tuple[bool, str]:
            found = [match[1] for match in map(_ADVICE.search, text.splitlines()) if match]
            advice.extend(found)
            return status != 0 and len(text.splitlines()) == len(found) == 1, _last(text).partition("; ")[2]

        outcome = self._try(f"{COMMANDS[command]}, refused", self._user, [COMMANDS[command]], judge)
        return outcome, advice[0] if advice else "false"

    def _heeded(self, command: str, advice: str) -> Outcome:
        argv = shlex.split(advice.replace("install", "install -y -q", 1))
        return self._try(f"what {command} asks for", ROOT, argv, _passed)

    def _try(
        self, what: str, user: User, argv: Sequence[str], judge: Callable[[int, str], tuple[bool, str]]
    ) -> Outcome:
        log = self._logs / f"{self._suite}-{self._name}-{re.sub(r'[^a-z]+', '-', what)}.log"
        more = {"DEBIAN_FRONTEND": "noninteractive"} | {
            key: os.environ[key] for key in ("CI",) if key in os.environ
        }
        began = time.monotonic()
        status = self._machine.run(user, argv, log, more)
        text = log.read_text(errors="replace")
        well, said = judge(status, text)
        if not well:
            print("\n".join(text.splitlines()[-_TAIL:]))
        return Outcome(self._suite, self._name, what, well, time.monotonic() - began, said)


def _passed(status: int, text: str) -> tuple[bool, str]:
    return status == 0, _last(text) if status == 0 else f"exit status {status}: {_last(text)}"


def _last(text: str) -> str:
    lines = [line.strip("= ") for line in text.splitlines() if line.strip("= ")]
    return lines[-1] if lines else ""


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for; ends the program with 2 where that cannot be."""
    parser = argparse.ArgumentParser("bin/test --bare", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of Debian; unsaid: {' '.join(SUITES)}")
    parser.add_argument("--user", choices=USERS, help="only this one; unsaid: both")
    parser.add_argument("--only", choices=COMMANDS, help="only this command; unsaid: both")
    parser.add_argument("--mirror", metavar="URL", help="of Debian; unsaid: this machine's")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    asked = parser.parse_args(arguments[:split])
    asked.arguments = arguments[split + 1 :]
    return asked


def outcomes(asked: argparse.Namespace, folder: Path, logs: Path) -> Iterator[Outcome]:
    """Everything on every machine, as it ends."""
    reach = find(asked.mirror)
    for suite in asked.suites or SUITES:
        first = Machine(folder / suite, reach)
        log = logs / f"{suite}.log"
        began = time.monotonic()
        try:
            first.make(suite, log)
        except subprocess.CalledProcessError:
            yield Outcome(suite, "-", "debootstrap", False, time.monotonic() - began, _last(log.read_text()))
            continue
        users = [asked.user] if asked.user else list(USERS)
        for name in users:
            machine = first.copy(folder / f"{suite}-{name}")
            yield from Trial(suite, name, machine, logs, asked.arguments).run(
                [asked.only] if asked.only else list(COMMANDS)
            )
            machine.remove()
        first.remove()


def main() -> None:
    """Try, tell, and exit with 1 unless all went well."""
    asked = options(sys.argv[1:])
    if os.geteuid():
        sys.exit("bin/test --bare makes whole machines, which only root can: run it as root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended, and nothing is left of the machines"))
    logs = Path(tempfile.mkdtemp(prefix="moorage-bare-logs-"))
    print(f"what is said goes to {logs}", flush=True)
    done = []
    with tempfile.TemporaryDirectory(prefix="moorage-bare-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        try:
            for outcome in outcomes(asked, Path(folder), logs):
                done.append(outcome)
                print(outcome, flush=True)
        except Unreachable as error:
            sys.exit(f"bin/test --bare: {error}")
    failed = sum(not outcome.well for outcome in done)
    print("\nIn all:", *done, sep="\n")
    if failed or not done:
        sys.exit(f"{failed} of {len(done)} did not go well; what they said is in {logs}")
    shutil.rmtree(logs)


if __name__ == "__main__":
    main()
