"""Clients that ask all the time, a thread each."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from chaos.told import require
from chaos.worker import ANSWER, Worker
from moorage.values import Interface

CLIENTS = 8


class Load:
    """Workers in threads, which `pause` stops between two answers. A context manager that stops them for good."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        """Start them, paused."""
        self.workers = workers
        self._condition = threading.Condition()
        self._going = self._over = False
        self._idle = 0
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"load {number}", daemon=True)
            for number, worker in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_error: object) -> None:
        with self._condition:
            self._over = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(2 * ANSWER)

    def go(self) -> None:
        """Let them ask."""
        with self._condition:
            self._going = True
            self._condition.notify_all()

    def pause(self) -> None:
        """Wait until each has its answer and asks for nothing more. Raises what one of them raised."""
        with self._condition:
            self._going = False
            settled = self._condition.wait_for(lambda: self._idle == len(self.workers), 2 * ANSWER)
        self.raise_failure()
        require(settled, f"no answer within {2 * ANSWER} s to {[each.waits_for for each in self.workers]}")

    def raise_failure(self) -> None:
        """Raise what the first worker that failed raised."""
        for worker in self.workers:
            if worker.failure is not None:
                raise worker.failure

    @property
    def told(self) -> dict[str, Interface]:
        """What all clients were told, while they are paused."""
        return {id: each for worker in self.workers for id, each in worker.told.interfaces.items()}

    @property
    def answered(self) -> int:
        """Requests that had an answer."""
        return sum(worker.answered for worker in self.workers)

    @property
    def repeated(self) -> int:
        """How often one was repeated for want of an answer."""
        return sum(worker.repeated for worker in self.workers)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest answer took, repeats included."""
        return max(worker.slowest for worker in self.workers)

    def _run(self, worker: Worker) -> None:
        while self._may_go_on():
            try:
                worker.step()
            except BaseException as error:  # noqa: BLE001 - raised again by `pause`
                worker.failure = error
                self._going = False

    def _may_go_on(self) -> bool:
        with self._condition:
            self._idle += 1
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._going or self._over)
            self._idle -= 1
            return not self._over
