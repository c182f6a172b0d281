"""Published TCP ports on loopback, led straight to containers for the sockets of one network namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from moorage.errors import Code, Refused
from moorage.kernel.linux.bounds import limit
from moorage.kernel.linux.connect import bpf, sockets
from moorage.kernel.linux.connect.attachment import Attachment, Running, closing
from moorage.kernel.linux.connect.programs import (
    ENDPOINT_SIZE,
    KINDS,
    STORAGE_SIZE,
    Maps,
    endpoint,
    parsed,
    programs,
)
from moorage.kernel.linux.flows import Wanted, is_led
from moorage.kernel.linux.nfnetlink import SOCK_DIAG, Netlink
from moorage.kernel.protocol import Element, Flow
from moorage.model.elements import front, is_published, ports_of

_MOST = 1 << 17
"""Every port of both families. What is published on single addresses besides may find no room."""
_PORTS, _ASKED = "moorage_ports", "moorage_asked"
_ROOMLESS = frozenset({errno.E2BIG, errno.ENOMEM})
LOST = "the programs that lead sockets on loopback were not all attached to the cgroup, attached"


class ConnectHook:
    """The programs, the map by which they lead, and the sockets that they led.

    Rules lead the rest: sockets of other cgroups, ports that there is no room for. Used by one thread.
    """

    def __init__(self) -> None:
        """Attach nothing yet. Raises Refused (unsupported, denied) where that is not possible."""
        self._programs: dict[int, int] = {}
        self._published: dict[bytes, bytes] = {}
        with ExitStack() as opened, _refusing():
            self._attachment = Attachment(KINDS)
            opened.callback(self._attachment.close)
            self._netlink = opened.enter_context(Netlink(SOCK_DIAG))
            if not sockets.can_end(self._netlink):
                raise OSError(errno.EOPNOTSUPP, "this kernel has no CONFIG_INET_DIAG_DESTROY")
            self._asked = self._find_asked()
            opened.callback(os.close, self._asked)
            self._attachment.remove_orphans()
            self._ports = bpf.make_hash(_PORTS, ENDPOINT_SIZE, ENDPOINT_SIZE, _MOST)
            opened.callback(os.close, self._ports)
            self._close = opened.pop_all().close

    def install(self, elements: Iterable[Element]) -> list[str]:
        """Lead to what `elements` publish and nowhere else. Returns a sentence when others had taken it away."""
        self._put(dict(_entries(elements)))
        if self.intact():
            return []
        lost = bool(self._programs)
        with _refusing():
            self._attach()
        return [LOST] * lost

    def add(self, elements: Iterable[Element]) -> None:
        """Lead to these too."""
        self._update(dict(_entries(elements)))

    def remove(self, elements: Iterable[Element]) -> None:
        """Lead to these no more; sockets that are connected stay so."""
        self._delete([asked for asked, _ in _entries(elements) if asked in self._published])

    def intact(self) -> bool:
        """Whether all is attached, as far as it can be known. Cheap: four system calls."""
        with suppress(OSError):
            return bool(self._programs) and self._attachment.runs(self._programs)
        return False

    def end(self, flows: Collection[Flow]) -> None:
        """Reset the connections of these mappings."""
        if any(flow.proto == "tcp" for flow in flows):
            wanted = Wanted(flows)
            self._end(lambda ip, port, to: any(is_led(flow, ip, to) for flow in wanted.of_tcp(port)))

    def end_strays(self, mapped: Collection[Flow]) -> None:
        """Reset the connections of all others."""
        wanted = Wanted(mapped)
        self._end(lambda ip, port, to: not any(is_led(flow, ip, to) for flow in wanted.of_tcp(port)))

    def clear(self) -> None:
        """Detach all programs of this network namespace, and reset what was led."""
        with ExitStack() as until, _refusing():
            for each in self._attachment.running(until):
                self._attachment.detach(each)
            self._programs = {}
            self.end_strays(())

    def close(self) -> None:
        """Give back descriptors. The kernel keeps what is attached; a second time is no error."""
        self._close()

    def _find_asked(self) -> int:
        """What a former life's sockets remember, or nothing yet."""
        with ExitStack() as until:
            for each in self._attachment.running(until):
                fd = each.maps.get(_ASKED)
                if fd is not None and bpf.is_socket_storage(bpf.describe_map(fd), STORAGE_SIZE):
                    return os.dup(fd)
        return bpf.make_socket_storage(_ASKED, STORAGE_SIZE)

    def _attach(self) -> None:
        """Load all programs, and put each in the place of a former one if there is one."""
        with ExitStack() as until:
            before = self._attachment.running(until)
            maps = Maps(published=self._ports, asked=self._asked)
            made = {
                kind: until.enter_context(closing(bpf.load(name, code, kind)))
                for kind, (name, code) in programs(maps, self._attachment.cookie).items()
            }
            self._attachment.sign(made.values())
            try:
                self._put_all(made, before)
            except OSError as error:
                if error.errno != errno.E2BIG:
                    raise
                self._attachment.remove_orphans(forced=True)
                self._put_all(made, before)
            self._programs = {kind: bpf.describe_program(program).id for kind, program in made.items()}

    def _put_all(self, made: Mapping[int, int], before: list[Running]) -> None:
        """All of them, or none that was not there."""
        with ExitStack() as undo:
            for kind, program in made.items():
                former = [each for each in before if each.kind == kind]
                self._replace(kind, program, former)
                if not former:
                    undo.callback(
                        self._attachment.detach, Running(kind, program, {}, self._attachment.cookie)
                    )
            undo.pop_all()

    def _replace(self, kind: int, program: int, before: list[Running]) -> None:
        self._attachment.attach(kind, program, before[0].program if before else None)
        for each in before[1:]:
            self._attachment.detach(each)

    def _put(self, wanted: dict[bytes, bytes]) -> None:
        self._delete([asked for asked in self._published if asked not in wanted])
        self._update({asked: led for asked, led in wanted.items() if self._published.get(asked) != led})

    def _update(self, new: dict[bytes, bytes]) -> None:
        with _refusing():
            try:
                bpf.update(self._ports, list(new.items()))
            except OSError as error:
                if error.errno not in _ROOMLESS:
                    raise
        self._published |= new  # some of which rules lead to where there was no room

    def _delete(self, gone: list[bytes]) -> None:
        with _refusing():
            bpf.delete(self._ports, gone)
        for asked in gone:
            del self._published[asked]

    def _end(self, concerned: Callable[[str, int, str], bool]) -> None:
        with _refusing():
            for found in list(sockets.led(self._netlink, self._asked)):
                if concerned(*parsed(found.asked), parsed(found.led)[0]):
                    sockets.end(self._netlink, found)


def remove_former() -> None:
    """Take away what an agent that led sockets has left in this network namespace, if that can be known."""
    with suppress(OSError), ExitStack() as until:
        attachment = Attachment(KINDS)
        until.callback(attachment.close)
        attachment.remove_orphans()
        if not attachment.running(until):
            return
        hook = ConnectHook()
        until.callback(hook.close)
        hook.clear()


def _entries(elements: Iterable[Element]) -> Iterator[tuple[bytes, bytes]]:
    """What is asked for and where it leads, of the TCP ports that elements publish on loopback."""
    for element in filter(is_published, elements):
        proto, host = front(element)
        if proto == "tcp" and (host in {"0.0.0.0", "::"} or host.startswith("127.")):  # noqa: S104 - as above
            backend, *to = element.value
            for port in ports_of(element):
                yield endpoint(host, port), endpoint(str(backend), int(to[0]) if to else port)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if (full := limit("lead sockets as they connect", error)) is not None:
            raise full from error
        if error.errno == errno.E2BIG:
            code, wants = Code.LIMIT, "room in the cgroup, which runs 64 programs of a kind, and runs as many"
        elif error.errno in {errno.EPERM, errno.EACCES}:
            code, wants = (
                Code.DENIED,
                "CAP_SYS_ADMIN and CAP_NET_ADMIN, and a cgroup whose programs suffer others",
            )
        else:
            code, wants = Code.UNSUPPORTED, f"cgroup2 and BPF, and here is {error}"
        text = f'leading sockets as they connect takes {wants}: say loopback = "kernel" to do without'
        raise Refused(code, text) from error
