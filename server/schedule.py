"""What the server does by itself every few minutes: forget old turns, train due voices again.

One light thread. It knows no model and no queue: a training becomes a job like any other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from server.retrain import retrain_what_is_due
from server.services import SECONDS_PER_DAY, Services

logger = logging.getLogger(__name__)

LOOK_SECONDS = 300.0


class Schedule:
    """Looks every `seconds`, first after the first pause: a short-lived command starts nothing."""

    def __init__(
        self,
        services: Services,
        *,
        seconds: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._services = services
        self._seconds = seconds
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.look()
            except Exception:  # a full disk, say: the next look may find it mended
                logger.exception("what was due could not be done")

    def look(self) -> None:
        """Do what is due now."""
        now = self._clock()
        before = int(now) - self._services.settings.turn_retention_days * SECONDS_PER_DAY
        self._services.turns.forget(before=before)
        self._services.responses.forget(before=before)
        self._services.feedback.expire(before=before)
        retrain_what_is_due(self._services, now=now)
