"""The one way to try again: for the server, for the migration lock, and for a table's locks."""

import random
import time
from logging import getLogger

log = getLogger(__name__)

REPORT_EVERY = 10.0  # seconds


class Attempts:
    """One more attempt, and one more, for `wait` seconds from the first failure on."""

    def __init__(
        self, wait: float, *, first: float, longest: float, every: float = REPORT_EVERY
    ) -> None:
        """Between attempts from `first` to `longest` seconds; reports one in `every` seconds."""
        self._wait, self._pause, self._longest, self._every = wait, first, longest, every
        self._deadline = self._report_at = 0.0

    def again(self, why: str) -> bool:
        """Log why, wait, and return True; False once the time is over."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self._wait
        left = self._deadline - now
        if left <= 0:
            return False
        if now >= self._report_at:
            log.info("%s; trying again for %.0f s", why, left)
            self._report_at = now + self._every
        # Jitter: those that failed together do not come again together.
        time.sleep(min(left, self._pause * random.uniform(0.5, 1.5)))  # noqa: S311 (no secret)
        self._pause = min(self._pause * 2, self._longest)
        return True
