"""What agents that led sockets leave in a cgroup when their network namespaces end."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import ExitStack, closing

import pytest

from cgroups import Cgroup, attached
from lab import Lab, end
from moorage.errors import Refused
from moorage.kernel.linux import living, netns
from moorage.kernel.linux.connect import bpf
from moorage.kernel.linux.connect.attachment import Attachment
from moorage.kernel.linux.connect.attachment import closing as closing_fd
from moorage.kernel.linux.connect.code import Code
from moorage.kernel.linux.connect.programs import KINDS
from moorage.kernel.linux.firewall import LinuxFirewall

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not living.sees_all(), reason="this is not the host's first namespace of processes"),
]

ODD = "\x1b[2J\n\t \\012#\v\f\x1c\x85\u2028\xadé - nsfs nsfs"
NOBODYS = 1 << 60
"""A cookie that no namespace has."""
MOST = 64


def leave(lab: Lab, name: str) -> None:
    """What an agent leaves that led sockets of a namespace and was killed."""
    left = lab.call(name, LinuxFirewall, loopback="connect")
    left.install(())
    left.close()


def come(lab: Lab, name: str, loopback: str = "kernel") -> None:
    """An agent, or `--down`, in that namespace."""
    lab.call(name, LinuxFirewall, loopback=loopback).close()


@pytest.mark.parametrize("loopback", ["connect", "kernel"])
def test_what_is_left_of_a_namespace_that_ended_goes(cgroup: Cgroup, lab: Lab, loopback: str) -> None:
    """Whichever agent comes next, in whichever namespace, takes it away; what is of the living stays."""
    lab.container("gone")
    for name in ("host", "gone"):
        leave(lab, name)
    lab.remove("gone")
    assert sorted(attached()) == sorted(KINDS * 2)
    come(lab, "outside", loopback)
    assert sorted(attached()) == sorted(KINDS)
    with ExitStack() as until, closing(lab.call("host", Attachment, KINDS)) as attachment:
        assert len(attachment.running(until)) == len(KINDS)


@pytest.mark.parametrize("held", ["process", "thread", "descriptor", "mount", "odd mount"])
def test_what_lives_without_a_name_is_living(cgroup: Cgroup, lab: Lab, held: str) -> None:
    """A namespace ends with its last process, thread, descriptor and mount, in whichever mount namespace."""
    path = lab.container("held")
    leave(lab, "held")
    with ExitStack() as until:
        hold(lab, held, path, until)
        lab.remove("held")
        come(lab, "outside")
        assert sorted(attached()) == sorted(KINDS)
    come(lab, "outside")
    assert attached() == []


def hold(lab: Lab, how: str, path: str, until: ExitStack) -> None:
    """Keep the namespace "held" alive until that."""
    if how == "process":
        until.callback(end, lab.popen("held", ["sleep", "100"]))
    elif how == "thread":
        inside, go = threading.Event(), threading.Event()

        def stay() -> None:
            inside.set()
            go.wait()

        thread = threading.Thread(target=lab.call, args=("held", stay))
        thread.start()
        assert inside.wait(10)
        until.callback(thread.join)
        until.callback(go.set)
    elif how == "descriptor":
        until.callback(os.close, os.open(path, os.O_RDONLY))
    else:
        until.callback(end, mounting(path, ODD if how == "odd mount" else "a b"))


def mounting(path: str, name: str) -> subprocess.Popen[bytes]:
    """A program in whose mount namespace alone a namespace is mounted, at a place of that name."""
    script = (
        'mount -t tmpfs none /mnt && touch "/mnt/$0" && mount --bind "$1" "/mnt/$0" && echo && exec sleep 100'
    )
    other = subprocess.Popen(["unshare", "-m", "sh", "-c", script, name, path], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    return other


def test_a_file_system_that_does_not_answer(
    cgroup: Cgroup, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may be mounted behind one is taken to live, but by `--down`; all others are known nevertheless."""
    path = lab.container("held")
    leave(lab, "held")
    with ExitStack() as until:
        until.callback(end, mounting(path, "a b"))
        lab.remove("held")
        with monkeypatch.context() as patched:
            patched.setattr(netns, "look", unanswered)
            come(lab, "outside")
        assert sorted(attached()) == sorted(KINDS)
    come(lab, "outside")
    assert attached() == []


def unanswered(path: str, _caller: object) -> int:
    """Find nothing, as where a file system never answers."""
    raise TimeoutError(f"{path} does not answer")


def fill(lab: Lab, name: str, *, signed: bool) -> None:
    """Attach as many programs as a cgroup runs, of namespaces that are gone, or of nobody."""
    code = Code()
    code.set(0, 1)
    code.exit()
    with closing(lab.call("host", Attachment, KINDS)) as attachment:
        for number in range(MOST):
            attachment.cookie = NOBODYS + number
            for kind in KINDS:
                with closing_fd(bpf.load(name, code.assembled(), kind)) as program:
                    if signed:
                        attachment.sign([program])
                    attachment.attach(kind, program, None)


def test_a_cgroup_full_of_the_dead_has_room(cgroup: Cgroup, lab: Lab) -> None:
    """A cgroup runs 64 programs of a kind: those of namespaces that are gone keep no agent out."""
    fill(lab, "moorage_conn4", signed=True)
    assert len(attached()) == MOST * len(KINDS)
    leave(lab, "host")
    assert sorted(attached()) == sorted(KINDS)
    cgroup.detach_all()


def test_a_cgroup_without_room_is_named(cgroup: Cgroup, lab: Lab) -> None:
    """Where others have all the room the agent is refused as past a limit, and has attached nothing."""
    fill(lab, "others", signed=False)
    with (
        closing(lab.call("host", LinuxFirewall, loopback="connect")) as refused,
        pytest.raises(Refused) as why,
    ):
        refused.install(())
    assert why.value.code == "limit"
    assert "64" in why.value.text
    assert 'loopback = "kernel"' in why.value.text
    assert len(attached()) == MOST * len(KINDS)
    cgroup.detach_all()
