"""Paths that clients name: looked at as they may themselves, and opened only where a namespace is."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_links import cookie_at, find_namespace
from lab import Lab
from moorage.errors import Refused
from moorage.kernel.linux import lookup, netns
from moorage.kernel.linux.purse import Purse
from moorage.kernel.protocol import Namespace
from moorage.model.caller import Caller
from users import EVE, GROUP, OTHER, User, open_directory

pytestmark = pytest.mark.system

CALLER = Caller(EVE, EVE)
DUMPABLE = 3  # PR_GET_DUMPABLE


@pytest.fixture
def user() -> Iterator[User]:
    """A process of the caller's."""
    with User() as made:
        yield made


@pytest.fixture
def place(lab: Lab, user: User) -> Iterator[Path]:
    """A directory that everybody reaches, with `web.ns`, a namespace; in `secret`, which only root does, another."""
    for directory in open_directory("callers"):
        secret = directory / "secret"
        secret.mkdir(mode=0o700)
        for name, path in (("web", directory / "web.ns"), ("vault", secret / "vault.ns")):
            bind(lab.container(name), path)
        yield directory


def bind(namespace: str, path: Path) -> None:
    path.touch()
    subprocess.run(["mount", "--bind", namespace, str(path)], check=True)


def told(path: object, caller: Caller | None = CALLER) -> str:
    """What is answered of it, a namespace's cookie apart."""
    try:
        return str(find_namespace(str(path), caller).cookie)
    except Refused as refused:
        return str(refused)


def test_what_may_not_be_looked_at_is_denied_in_the_same_words(lab: Lab, place: Path) -> None:
    """Whether nothing is there, or a file, a directory, a FIFO, a device, a link or a namespace."""
    path = place / "secret" / "x"
    makers: list[Callable[[], Any]] = [
        lambda: None,
        path.touch,
        path.mkdir,
        lambda: os.mkfifo(path),
        lambda: os.mknod(path, 0o20666, os.makedev(1, 3)),
        lambda: path.symlink_to("vault.ns"),
        lambda: path.symlink_to("nothing"),
    ]
    said = []
    for make in makers:
        make()
        said.append(told(path))
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
    assert set(said) == {said[0]}
    assert said[0].startswith(f"denied: {path} may not be looked at by uid {EVE}")
    assert told(place / "secret" / "vault.ns") == said[0].replace(
        str(path), str(place / "secret" / "vault.ns")
    )
    assert told(place / "secret" / "vault.ns", None) == str(cookie_at(lab.path("vault")))


def test_what_anybody_may_name_is_found_with_the_agents_rights(lab: Lab, place: Path) -> None:
    """A process, and a name under /run/netns, in whatever words, also where the caller could not look."""
    path = lab.path("vault")
    pid = lab.popen("vault", ["sleep", "60"]).pid
    found = str(cookie_at(path))
    names = (
        Path(path).name,
        path,
        f"/var{path}",
        f"pid:{pid}",
        f"/proc/{pid}/ns/net",
        f"/proc/{pid}/task/{pid}/ns/net",
    )
    assert {name: told(name) for name in names} == dict.fromkeys(names, found)


def test_a_path_that_the_caller_reaches_is_found(lab: Lab, place: Path) -> None:
    """By itself, by links and by dots; what is there and no namespace is invalid, what is not there not found."""
    found = str(cookie_at(lab.path("web")))
    (place / "link").symlink_to("web.ns")
    (place / "open").mkdir(mode=0o755)
    (place / "open" / "up").symlink_to("..")
    for path in ("web.ns", "link", "open/../web.ns", "open/up/web.ns", "./open//up/link"):
        assert told(f"{place}/{path}") == found
    assert find_namespace(f"{place}/link", CALLER) == Namespace(f"{place}/link", int(found))
    assert told(place / "open").startswith(f"invalid: {place}/open is not a network namespace")
    assert told("/dev/null").startswith("invalid: /dev/null is not")
    assert told(place / "nothing").startswith("not_found: there is no network namespace")


def test_links_lead_no_further_than_the_caller(place: Path) -> None:
    """A link into what the caller may not look at is denied, and so is every link of /proc that leads out of it."""
    for name, to in (("in", "secret/vault.ns"), ("absent", "secret/nothing"), ("through", "in")):
        (place / name).symlink_to(to)
        assert told(place / name).startswith(f"denied: {place}/{name} may not be looked at by uid {EVE}"), (
            name
        )
    for path in (
        f"/proc/self/root{place}/web.ns",
        f"/proc/self/root{place}/secret/nothing",
        "/proc/self/ns/net",
        f"/proc/{os.getpid()}/cwd/x",
        f"/proc/{os.getpid()}/fd/0",
    ):
        assert told(path).startswith("denied: /proc/"), path
        assert "leads through a link of /proc" in told(path), path
    (place / "circle").symlink_to("circle")
    assert told(place / "circle").startswith("denied: ")
    assert told(f"/proc/self/root{place}/web.ns", None).isdecimal()


def test_groups_and_access_control_lists_count(lab: Lab, place: Path) -> None:
    """What the caller's own group, another of hers or a list lets her look at is found."""
    found = str(cookie_at(lab.path("vault")))
    path = place / "secret" / "vault.ns"
    (place / "secret").chmod(0o710)
    os.chown(place / "secret", 0, GROUP)
    assert told(path, Caller(EVE, GROUP)) == found
    assert told(path, Caller(EVE, EVE, frozenset({OTHER, GROUP}))) == found
    assert told(path, Caller(EVE, EVE, frozenset({OTHER}))).startswith("denied: ")
    entries = [(0x01, 7, -1), (0x02, 1, EVE), (0x04, 0, -1), (0x10, 1, -1), (0x20, 0, -1)]
    packed = b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, mode, who in entries
    )
    os.setxattr(place / "secret", "system.posix_acl_access", b"\2\0\0\0" + packed)
    assert told(path, CALLER) == found
    assert told(path, Caller(OTHER, OTHER)).startswith("denied: ")


@pytest.mark.parametrize("caller", [None, CALLER])
def test_nothing_but_a_namespace_is_opened(place: Path, caller: Caller | None) -> None:
    """The kernel tells of every opening, and of none of a FIFO, a file, a device or a directory that was named."""
    os.mkfifo(place / "fifo", 0o666)
    (place / "file").touch()
    os.mknod(place / "device", 0o20666, os.makedev(1, 3))
    (place / "folder").mkdir()
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(watch, bytes(place), 0x20)  # IN_OPEN
    for name in ("fifo", "file", "device", "folder"):
        assert told(place / name, caller) == f"invalid: {place / name} is not a network namespace"
    with pytest.raises(BlockingIOError):
        os.read(watch, 4096)
    os.close(os.open(place / "file", os.O_RDONLY))
    assert b"file" in os.read(watch, 4096)
    os.close(watch)


def test_the_agent_stays_who_it_is(place: Path) -> None:
    """After a look as somebody else no thread is left, no descriptor, and no right has changed."""

    def state() -> tuple[Any, ...]:
        libc = ctypes.CDLL(None)
        lines = Path("/proc/self/status").read_text().splitlines()
        ids = [line for line in lines if line.startswith(("Uid", "Gid", "Groups", "Cap"))]
        return (
            ids,
            threading.active_count(),
            libc.prctl(DUMPABLE, 0, 0, 0, 0),
            len(list(Path("/proc/self/fd").iterdir())),
        )

    before = state()
    for path in (place / "web.ns", place / "secret" / "x", place / "nothing", place):
        told(path, Caller(EVE, GROUP, frozenset({OTHER})))
    assert state() == before


def test_a_link_that_changes_is_followed_once(lab: Lab, place: Path) -> None:
    """Whoever swaps a link while it is looked at gets one of the two answers, and never another's namespace."""
    web, vault = (str(cookie_at(lab.path(name))) for name in ("web", "vault"))
    os.chown(place, EVE, EVE)
    link, spare, over = place / "link", place / "spare", threading.Event()
    link.symlink_to("web.ns")

    def swap() -> None:
        while not over.is_set():
            for to in ("secret/vault.ns", "web.ns"):
                spare.symlink_to(to)
                spare.rename(link)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        said = {told(link).partition(":")[0] for _ in range(500)}
    finally:
        over.set()
        swapping.join()
    assert said <= {web, "denied"}
    assert vault not in said


def test_what_was_found_and_changed_is_told_in_the_same_words(lab: Lab, place: Path) -> None:
    """The agent comes back to a path with its own rights, and whoever changed it meanwhile learns nothing by that."""
    link, web = place / "link", cookie_at(lab.path("web"))
    os.mkfifo(place / "secret" / "fifo")
    (place / "secret" / "open").mkdir()
    said = set()
    for to in (
        "secret/vault.ns",
        "secret/fifo",
        "secret/open",
        "secret/nothing",
        "nothing",
        "/proc/1/ns/net",
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(to)
        with pytest.raises(Refused) as refused, netns.reopened(Namespace(str(link), web)):
            pass
        said.add(str(refused.value))
    assert said == {f"not_found: the namespace that was found at {link} is there no longer"}
    link.unlink()
    link.symlink_to("web.ns")
    with netns.reopened(Namespace(str(link), web)) as fd:
        assert netns.cookie_of(fd) == web


def test_without_the_right_to_become_another_nothing_is_looked_at(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the agent cannot look as the caller, it says which capability it lacks, and does not look as itself."""
    monkeypatch.setattr(lookup, "_SETGROUPS", {})
    for path in (place / "web.ns", place / "nothing"):
        assert told(path).startswith(
            f"denied: {path} cannot be looked at as uid {EVE}: that needs CAP_SETUID and CAP_"
        )
    assert told(place / "web.ns", None).isdecimal()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """File systems that answer when this is set, and not before."""
    answers, opened = threading.Event(), lookup._openat2

    def slow(within: int, path: str, resolve: int) -> int:
        if resolve & lookup._CACHED:
            raise BlockingIOError
        answers.wait()
        return opened(within, path, resolve)

    monkeypatch.setattr(lookup, "_openat2", slow)
    yield answers
    answers.set()
    for thread in list(lookup._hanging):
        thread.join()


def test_a_file_system_is_not_asked_where_others_wait(place: Path, late: threading.Event) -> None:
    """A look that would ask one says that there is more to find out; names and processes are found."""
    for caller in (CALLER, None):
        assert netns.find(str(place / "web.ns"), caller) is None
    assert told(f"pid:{os.getpid()}").isdecimal()
    late.set()
    assert told(place / "web.ns").isdecimal()


def test_what_waits_for_a_file_system_waits_for_so_long_in_all(
    place: Path, late: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few looks go on behind its back, then none is begun; once the purse is empty none waits at all."""
    monkeypatch.setattr(lookup, "PURSE", Purse(most=0.05, share=1e-9))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    before = threading.active_count()
    assert said(place).endswith("its file system does not answer): " + netns._INSTEAD)
    for _ in range(3):
        assert "so long that none is asked for a while" in said(place)
    monkeypatch.setattr(lookup, "PURSE", Purse(most=0.02, share=1e9))
    for _ in range(lookup.HANGING - 1):
        assert "its file system does not answer" in said(place)
    assert f"{lookup.HANGING} others wait" in said(place)
    assert threading.active_count() == before + lookup.HANGING
    late.set()
    for thread in list(lookup._hanging):
        thread.join()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert cookie_at(str(place / "web.ns"))


def said(place: Path) -> str:
    with pytest.raises(Refused) as refused:
        cookie_at(str(place / "web.ns"))
    assert str(refused.value).startswith(f"unavailable: {place}/web.ns cannot be looked at now (")
    return str(refused.value)


@pytest.mark.parametrize("path", ["/" + "x" * 5000, "/x" * 2047, "/" + "../" * 1300 + "nothing", "/\udcff"])
def test_long_and_odd_paths_are_answered_in_a_sentence(path: str, user: User) -> None:
    """A path of 4 KiB and more, or without a text, has an answer that is shorter."""
    assert told(path).partition(":")[0] in {"invalid", "not_found"}
    assert len(told(path)) < 500


WORDS = (
    "web.ns",
    "secret",
    "vault.ns",
    "open",
    "own",
    "up",
    "in",
    "..",
    ".",
    "nothing",
    "fifo",
    "sticky",
    "link",
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6))
def test_the_kernel_decides_as_it_does_for_the_user(place: Path, user: User, words: list[str]) -> None:
    """Whatever the path: what her own process is denied is denied, what it does not find is not found."""
    if not (place / "open").exists():
        _furnish(place)
    path = "/".join([str(place), *words])
    seen = user.look(path)
    code = (
        {13: "denied", 2: "not_found", 20: "not_found", 40: "denied"}.get(seen)
        if isinstance(seen, int)
        else None
    )
    said = told(path)
    if code is not None:
        assert said.startswith(f"{code}: ")
    else:
        assert said.isdecimal() or said.startswith("invalid: ")


def _furnish(place: Path) -> None:
    (place / "open").mkdir(mode=0o755)
    (place / "own").mkdir(mode=0o700)
    os.chown(place / "own", EVE, EVE)
    (place / "own" / "web.ns").symlink_to("../web.ns")
    (place / "open" / "up").symlink_to("..")
    (place / "open" / "in").symlink_to("../secret")
    (place / "in").symlink_to("secret/vault.ns")
    os.mkfifo(place / "fifo")
    (place / "sticky").mkdir()
    (place / "sticky").chmod(0o1777)
    (place / "sticky" / "link").symlink_to("../web.ns")
    with suppress(OSError):
        os.chown(place / "sticky" / "link", OTHER, OTHER, follow_symlinks=False)
