"""A session with clients that are odd, slow or hostile, over a real socket and with scripted answers."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgpack
import pytest

from moorage.errors import MoorageError, Refused
from moorage.rpc import session as session_module
from moorage.rpc.budgets import Bounds, Budget, Budgets
from moorage.rpc.codec import CLIENT, Decoder, Message, Notification, Request, Response, encode
from moorage.rpc.session import BACKLOG, FRAME, OUTSTANDING, Session
from moorage.rpc.turns import Turns

PATIENCE = 10.0


class Timer:
    """A call that is made when the test says so."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Peer:
    """The client's end of a session, and what the session asked of the agent."""

    def __init__(
        self,
        *,
        refused: Refused | None = None,
        held: bool = False,
        uid: int = 0,
        budgets: Budgets | None = None,
    ) -> None:
        self.asked: list[tuple[str, list[Any]]] = []
        self.done: list[str] = []
        self.go_on = asyncio.Event()
        self.timers: list[tuple[float, Timer]] = []
        self.closed = asyncio.Event()
        self.asking = asyncio.Event()
        self._refused = refused
        self._decoder = Decoder(CLIENT)
        if not held:
            self.go_on.set()
        self.session = Session(
            self._answer, lambda _: self._refused, self._lost, self._later, budgets=budgets
        )  # type: ignore[arg-type]
        self.session.uid = uid

    async def _answer(self, method: str, params: list[Any]) -> tuple[Any, MoorageError | None]:
        self.asked.append((method, params))
        self.asking.set()
        await self.go_on.wait()
        self.done.append(method)
        return method, None

    def _lost(self, _session: Session) -> None:
        self.closed.set()

    def _later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append((seconds, Timer(call)))
        return self.timers[-1][1]

    async def connect(self) -> None:
        ours, theirs = socket.socketpair()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self.session, sock=theirs)
        self.reader, self.writer = await asyncio.open_unix_connection(sock=ours)

    def send(self, *messages: Message) -> None:
        self.writer.write(b"".join(map(encode, messages)))

    async def receive(self) -> Message:
        while (message := self._decoder.next_message()) is None:
            data = await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE)
            assert data, "the session closed the connection"
            self._decoder.feed(data)
        return message

    async def ended(self) -> None:
        """Wait until the session has closed the connection."""
        await asyncio.wait_for(self.closed.wait(), PATIENCE)


@asynccontextmanager
async def connected(**how: Any) -> AsyncIterator[Peer]:
    peer = Peer(**how)
    await peer.connect()
    try:
        yield peer
    finally:
        peer.go_on.set()
        peer.writer.close()
        await peer.ended()


def event(name: str, **fields: Any) -> bytes:
    return encode(Notification("event", [{"event": name, **fields}]))


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE))  # type: ignore[arg-type]  # each is a coroutine function


def test_requests_are_answered_as_they_are_done() -> None:
    """A request is answered with its id; a notification is done and answers nothing."""

    async def test() -> None:
        async with connected() as peer:
            peer.send(Notification("release", []), Request(7, "hello", []))
            assert await peer.receive() == Response(7, None, "hello")
            assert sorted(peer.done) == ["hello", "release"]

    run(test)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100,
        msgpack.packb([0, 1, "hello", {}]),
        msgpack.packb([0, 1, 5, []]),
        msgpack.packb([0, -1, "hello", []]),
        msgpack.packb([1, 1, None, None]),
        msgpack.packb([3, 1]),
        msgpack.packb({}),
    ],
    ids=lambda data: data[:12].hex(),
)
def test_what_is_no_frame_closes_its_connection(garbage: bytes) -> None:
    """Garbage, a promise of 4 GB, deep nesting, or an answer nobody asked for ends that session only."""

    async def test() -> None:
        async with connected() as other, connected() as peer:
            peer.send(Request(1, "hello", []))
            assert isinstance(await peer.receive(), Response)
            peer.writer.write(garbage)
            await peer.ended()
            other.send(Request(2, "hello", []))
            assert await other.receive() == Response(2, None, "hello")

    run(test)


def test_half_a_frame_has_a_deadline() -> None:
    """A client that sends half a frame and stops is closed after a minute, counted from the frame's first byte."""

    async def test() -> None:
        async with connected() as peer:
            frame = encode(Request(1, "hello", []))
            for byte in frame[:-1]:
                peer.writer.write(bytes([byte]))
                await peer.writer.drain()
            while not peer.timers:
                await asyncio.sleep(0)
            ((seconds, timer),) = peer.timers
            assert seconds == FRAME
            assert not timer.cancelled
            timer.call()
            await peer.ended()

    run(test)


def test_a_whole_frame_has_no_deadline() -> None:
    """Once the rest of a frame has come nothing is waited for, and the next one has a minute of its own."""

    async def test() -> None:
        async with connected() as peer:
            frame = encode(Request(1, "hello", []))
            peer.writer.write(frame[:3])
            while not peer.timers:
                await asyncio.sleep(0)
            peer.writer.write(frame[3:] + frame[:3])
            await peer.receive()
            (_, first), (_, second) = peer.timers
            assert first.cancelled
            assert not second.cancelled
            peer.writer.write(frame[3:])
            await peer.receive()
            assert second.cancelled

    run(test)


def test_many_requests_are_pipelined() -> None:
    """256 requests sent at once are under way together, and every one is answered."""

    async def test() -> None:
        async with connected(held=True) as peer:
            peer.send(*[Request(number, "hello", []) for number in range(256)])
            while len(peer.asked) < 256:
                await asyncio.sleep(0)
            peer.go_on.set()
            answers = [await peer.receive() for _ in range(256)]
            assert {each.msgid for each in answers if isinstance(each, Response)} == set(range(256))

    run(test)


def test_beyond_the_limit_the_agent_reads_on_later() -> None:
    """Past the limit nothing more is taken until one is answered, and then all are."""

    async def test() -> None:
        async with connected(held=True) as peer:
            total = OUTSTANDING + 500
            peer.send(*[Request(number, "hello", []) for number in range(total)])
            while len(peer.asked) < OUTSTANDING:
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(peer.asked) == OUTSTANDING
            peer.go_on.set()
            answers = [await peer.receive() for _ in range(total)]
            assert len({each.msgid for each in answers if isinstance(each, Response)}) == total

    run(test)


def weighty(msgid: int) -> Request:
    """A request of a good megabyte, as its values weigh once they are read."""
    return Request(msgid, "publish", [{"ports": ["80"] * 10_000}])


def test_a_large_request_past_what_a_uid_may_have_under_way_is_refused() -> None:
    """`limit`, at once and in the same words for whoever it is, while a small one, and another uid's, is done."""

    async def test() -> None:
        budgets = Budgets(frozenset({0}))
        budgets.working = Budget(Bounds(uid=2 << 20, all=3 << 20))
        async with (
            connected(held=True, uid=1000, budgets=budgets) as first,
            connected(held=True, uid=1000, budgets=budgets) as second,
            connected(held=True, uid=1001, budgets=budgets) as other,
            connected(held=True, uid=0, budgets=budgets) as root,
        ):
            first.send(weighty(1))
            await asyncio.wait_for(first.asking.wait(), PATIENCE)
            second.send(weighty(2))
            answer = await second.receive()
            assert isinstance(answer, Response)
            assert answer.error[1].startswith("limit: uid 1000 has requests under way")
            for peer in (second, other, root):
                peer.send(Request(3, "hello", []) if peer is second else weighty(3))
                await asyncio.wait_for(peer.asking.wait(), PATIENCE)
            for peer in (first, second, other, root):
                peer.go_on.set()
                assert isinstance(await peer.receive(), Response)
            second.send(weighty(4))
            assert await second.receive() == Response(4, None, "publish")

    run(test)


def test_past_what_a_uid_may_have_under_way_a_busy_session_reads_on_later() -> None:
    """A session that waits for answers takes the next large request when one has come, and none is refused."""

    async def test() -> None:
        budgets = Budgets()
        budgets.working = Budget(Bounds(uid=3 << 20, all=64 << 20))
        async with connected(held=True, uid=1000, budgets=budgets) as peer:
            peer.send(*map(weighty, range(10)))
            while len(peer.asked) < 2:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(peer.asked) == 2
            peer.go_on.set()
            answers = [await peer.receive() for _ in range(10)]
            assert {each.msgid for each in answers if isinstance(each, Response)} == set(range(10))
            assert all(isinstance(each, Response) and each.error is None for each in answers)

    run(test)


def test_one_uid_has_so_many_done_at_a_time() -> None:
    """However many connections a uid has, so many of its requests are done at a time; others' begin meanwhile."""

    async def test() -> None:
        budgets = Budgets({0})
        budgets.turns = Turns({0}, each=3, together=100)
        async with (
            connected(held=True, uid=1000, budgets=budgets) as first,
            connected(held=True, uid=1000, budgets=budgets) as second,
            connected(held=True, uid=1001, budgets=budgets) as other,
            connected(held=True, uid=0, budgets=budgets) as root,
        ):
            for peer in (first, second, other, root):
                peer.send(*(Request(msgid, "hello", []) for msgid in range(5)))
            while len(root.asked) < 5 or len(other.asked) < 3:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(first.asked) + len(second.asked) == 3
            assert len(other.asked) == 3
            for peer in (first, second, other, root):
                peer.go_on.set()
            for peer in (first, second, other, root):
                assert {(await peer.receive()).msgid for _ in range(5)} == set(range(5))

    run(test)


def test_what_a_crowd_sends_is_looked_at_a_little_in_a_turn() -> None:
    """Frames of many small values on many connections of one uid: root is answered before one is whole."""

    async def test() -> None:
        budgets = Budgets(frozenset({0}))
        async with AsyncExitStack() as stack:
            crowd = [await stack.enter_async_context(connected(uid=4001, budgets=budgets)) for _ in range(20)]
            root = await stack.enter_async_context(connected(budgets=budgets))
            for each in crowd:
                each.send(Request(1, "hello", [[None] * 40_000]))
            root.send(Request(1, "hello", []))
            assert await root.receive() == Response(1, None, "hello")
            assert [each.asked for each in crowd if each.asked] == []
            for each in crowd:
                assert await each.receive() == Response(1, None, "hello")

    run(test)


def test_great_answers_of_one_uid_are_begun_a_few_at_a_time() -> None:
    """Answers without a bound are begun four at a time for a uid, and what has one waits for none of them."""

    async def test() -> None:
        budgets = Budgets({0})
        async with AsyncExitStack() as stack:
            peers = [
                await stack.enter_async_context(connected(held=True, uid=1000, budgets=budgets))
                for _ in range(6)
            ]
            for peer in peers:
                peer.send(Request(1, "tree", []), Request(2, "hello", []))
            while sum(len(peer.asked) for peer in peers) < 10:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            asked = [method for peer in peers for method, _ in peer.asked]
            assert (asked.count("tree"), asked.count("hello")) == (4, 6)
            for peer in peers:
                peer.go_on.set()
            for peer in peers:
                assert {(await peer.receive()).msgid for _ in range(2)} == {1, 2}

    run(test)


def test_changes_of_one_uid_are_begun_some_at_a_time() -> None:
    """Of what changes something sixteen are begun at a time for a uid; its questions and others' changes meanwhile."""

    async def test() -> None:
        budgets = Budgets({0})
        async with (
            connected(held=True, uid=1000, budgets=budgets) as crowd,
            connected(held=True, uid=1001, budgets=budgets) as other,
        ):
            crowd.send(*(Request(msgid, "release", [{"id": f"i{msgid}"}]) for msgid in range(40)))
            crowd.send(Request(40, "hello", []))
            other.send(Request(0, "allocate", []))
            while not other.asked or len(crowd.asked) < 17:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            assert Counter(method for method, _ in crowd.asked) == {"release": 16, "hello": 1}
            crowd.go_on.set()
            other.go_on.set()
            assert {(await crowd.receive()).msgid for _ in range(41)} == set(range(41))

    run(test)


def test_a_notification_past_the_bound_is_not_done() -> None:
    """A large notification that there is no room for does nothing, and ends nothing."""

    async def test() -> None:
        budgets = Budgets()
        budgets.working = Budget(Bounds(uid=1 << 20, all=1 << 20))
        async with connected(uid=1000, budgets=budgets) as peer:
            peer.send(Notification("publish", weighty(0).params), Request(1, "hello", []))
            assert await peer.receive() == Response(1, None, "hello")
            assert peer.done == ["hello"]

    run(test)


@pytest.mark.parametrize("method", ["list", "networks", "status", "tree"])
def test_lists_are_answered_one_at_a_time(method: str) -> None:
    """Of requests that look at everything there is one is under way, others of the same client beside it."""

    async def test() -> None:
        async with connected(held=True) as peer:
            peer.send(*[Request(number, method, []) for number in range(50)], Request(50, "hello", []))
            while len(peer.asked) < 2:
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(peer.asked) == 2
            peer.go_on.set()
            answers = [await peer.receive() for _ in range(51)]
            assert {each.msgid for each in answers if isinstance(each, Response)} == set(range(51))

    run(test)


def test_a_client_that_does_not_read_is_asked_nothing_more() -> None:
    """With answers unread the agent stops reading requests, and goes on when the client reads."""

    async def test() -> None:
        async with connected() as peer:
            big = "x" * 100_000
            peer.session._answer = lambda _method, _params: give(big)  # type: ignore[assignment]
            total = 300
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for number in range(total):
                peer.send(Request(number, "list", []))
                await asyncio.sleep(0)
            while peer.session._outgoing.writable:
                await asyncio.sleep(0)
            assert peer.session.transport.is_reading() is False
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            answers = [await peer.receive() for _ in range(total)]
            assert len(answers) == total

    async def give(text: str) -> tuple[Any, MoorageError | None]:
        return text, None

    run(test)


def test_a_slow_subscriber_is_dropped() -> None:
    """A subscriber that leaves a megabyte of events unread is disconnected; one that reads gets them all."""

    async def test() -> None:
        async with connected() as slow, connected() as quick:
            for peer in (slow, quick):
                peer.send(Request(1, "subscribe", [{"events": ["repaired"]}]))
                assert await peer.receive() == Response(1, None, None)
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            body = {"event": "repaired", "what": "x" * 10_000}
            sent = 0
            while not slow.closed.is_set() and sent < 10 * BACKLOG // 10_000:
                for peer in (slow, quick):
                    peer.session.send_event("repaired", encode(Notification("event", [body])))
                sent += 1
                assert await quick.receive() == Notification("event", [body])
            await slow.ended()

    run(test)


def test_a_subscriber_gets_only_what_it_asked_for() -> None:
    """Before it subscribes a client is sent nothing, and afterwards only events of the names it gave."""

    async def test() -> None:
        async with connected() as peer:
            peer.session.send_event("repaired", event("repaired"))
            peer.send(Request(1, "subscribe", [{"events": ["repaired"]}]))
            assert await peer.receive() == Response(1, None, None)
            peer.session.send_event("network_created", event("network_created"))
            peer.session.send_event("repaired", event("repaired", what="x"))
            assert await peer.receive() == Notification("event", [{"event": "repaired", "what": "x"}])
            peer.send(Request(2, "subscribe", [{"events": ["nonsense"]}]))
            answer = await peer.receive()
            assert isinstance(answer, Response)
            assert answer.error[1].startswith("invalid: ")

    run(test)


def test_a_client_that_goes_is_served_to_the_end() -> None:
    """A request whose client disconnects in the middle of it is done nevertheless."""

    async def test() -> None:
        async with connected(held=True) as peer:
            peer.send(Request(1, "allocate", []), Notification("release", []))
            await asyncio.wait_for(peer.asking.wait(), PATIENCE)
            peer.writer.transport.abort()  # type: ignore[attr-defined]
            peer.go_on.set()
            while len(peer.done) < 2:
                await asyncio.sleep(0)

    run(test)


def test_a_client_that_sends_no_more_is_still_answered() -> None:
    """A client that closes its sending side gets the answers to what it asked, and then the end of the stream."""

    async def test() -> None:
        async with connected(held=True) as peer:
            peer.send(Request(1, "list", []))
            peer.writer.write_eof()
            await asyncio.wait_for(peer.asking.wait(), PATIENCE)
            peer.go_on.set()
            assert await peer.receive() == Response(1, None, "list")
            assert await asyncio.wait_for(peer.reader.read(), PATIENCE) == b""

    run(test)


def test_a_client_that_may_not_is_told_so() -> None:
    """A client that is refused gets that answer to every method, subscriptions too, and nothing is asked for it."""

    async def test() -> None:
        async with connected(refused=Refused("denied", "not you")) as peer:
            for number, method in enumerate(["hello", "subscribe", "release", "nonsense"]):
                peer.send(Notification(method, []), Request(number, method, []))
                answer = await peer.receive()
                assert isinstance(answer, Response)
                assert answer.error == [1, "denied: not you"]
            assert peer.asked == []
            assert peer.session.events is None

    run(test)


def test_an_answer_that_cannot_be_sent_is_a_fault() -> None:
    """Where an answer is beyond MessagePack the client hears of a fault, and the session goes on."""

    async def test() -> None:
        async with connected() as peer:
            peer.session._answer = lambda _method, _params: give()  # type: ignore[assignment]
            peer.send(Request(1, "list", []), Request(2, "list", []))
            for _ in range(2):
                answer = await peer.receive()
                assert isinstance(answer, Response)
                assert answer.error[0] == 0

    async def give() -> tuple[Any, MoorageError | None]:
        return 1 << 70, None

    run(test)


def test_finishing_answers_what_is_under_way() -> None:
    """A session that finishes takes no more requests, answers those it has, and closes."""

    async def test() -> None:
        async with connected(held=True) as peer:
            peer.send(Request(1, "list", []))
            await asyncio.wait_for(peer.asking.wait(), PATIENCE)
            finishing = asyncio.ensure_future(peer.session.finish())
            await asyncio.sleep(0)
            peer.send(Request(2, "list", []))
            peer.go_on.set()
            assert await peer.receive() == Response(1, None, "list")
            await asyncio.wait_for(finishing, PATIENCE)
            await peer.ended()
            assert len(peer.asked) == 1

    run(test)


def test_the_clock_is_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default clock of a session is its loop's."""
    monkeypatch.setattr(session_module, "FRAME", 0.01)

    async def test() -> None:
        peer = Peer()
        peer.session = Session(peer._answer, lambda _: None, peer._lost)
        await peer.connect()
        peer.writer.write(b"\x94")
        await peer.ended()
        peer.writer.close()

    run(test)


def test_answers_of_one_turn_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are answered at the same time are sent in one piece, each with its id."""

    async def test() -> None:
        async with connected(held=True) as peer:
            peer.send(*(Request(msgid, "hello", []) for msgid in range(5)))
            while len(peer.asked) < 5:
                await asyncio.wait_for(peer.asking.wait(), PATIENCE)
                peer.asking.clear()
            pieces: list[bytes] = []
            write = peer.session.transport.write
            monkeypatch.setattr(
                peer.session.transport, "write", lambda data: (pieces.append(data), write(data))
            )
            peer.go_on.set()
            answered = [await peer.receive() for _ in range(5)]
            assert answered == [Response(msgid, None, "hello") for msgid in range(5)]
            assert len(pieces) == 1

    run(test)
