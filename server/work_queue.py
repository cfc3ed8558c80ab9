"""One thread that carries out what is recorded, in order, while nothing else holds the machine.

Trainings and evaluations each have one; the lock `cores` keeps them from competing. What is to be
done is in the database, so a restart goes on where it was: the queue only asks for the next.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from retrieval.errors import HousewordRetrievalError
from server.errors import ServerError
from tuning.errors import TuningError

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.3
IDLE_SECONDS = 60.0
RETRY_SECONDS = 10.0


class _Recorded(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=_Recorded)


class Interrupted(Exception):
    """What was being carried out was cancelled, or the server is stopping."""


class WorkQueue(Generic[Item]):
    """The thread. `wake` it after something was recorded or cancelled.

    `carry_out` does one item and may raise `Interrupted` to leave it as it is; what else it
    raises goes to `fail`, in words.
    """

    def __init__(
        self,
        name: str,
        *,
        next_: Callable[[], Item | None],
        carry_out: Callable[[Item], None],
        fail: Callable[[Item, str], None],
        cores: threading.Lock,
    ) -> None:
        self._next = next_
        self._carry_out = carry_out
        self._fail = fail
        self._cores = cores  # held while at work
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it was at goes on after the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=30)

    def wake(self) -> None:
        self._wake.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def pause(self, seconds: float = POLL_SECONDS) -> None:
        """Wait a moment, or until woken; for the thread itself."""
        self._wake.wait(timeout=seconds)
        self._wake.clear()

    def _run(self) -> None:
        while not self.stopping:
            if self._next() is None:
                self.pause(IDLE_SECONDS)
            elif self._cores.acquire(timeout=POLL_SECONDS):
                try:
                    # Not the one from before: it may have been cancelled meanwhile.
                    item = self._next()
                    if item is not None and not self.stopping:
                        self._attempt(item)
                except Exception:  # not even the failure could be recorded: a full disk, say
                    logger.exception("work waits: its state cannot be written")
                    self._stopping.wait(RETRY_SECONDS)
                finally:
                    self._cores.release()

    def _attempt(self, item: Item) -> None:
        try:
            self._carry_out(item)
        except Interrupted:
            return
        except (TuningError, HousewordRetrievalError, ServerError, OSError) as error:
            self._fail(item, str(error))
        except Exception:
            logger.exception("%s failed", item.id)
            self._fail(item, "an error inside the server: its log tells more")
