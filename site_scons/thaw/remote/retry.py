"""Whether a call that failed is tried again, and the wait before that."""

import random
import time

from thaw import interrupt
from thaw.remote.failure import CallFailed

TRIES = 5
FIRST_WAIT = 0.2  # seconds before the second try; doubled for each further one
LONGEST_WAIT = 3.2  # seconds
BUSY = "RESOURCE_EXHAUSTED"


class Retry:
    """The tries of one call. ``timeout``: seconds that a server may go on saying it is busy.

    A busy server answers: it takes fewer calls at once than there are, some of them ours. So it is
    waited for as long as for one that is silent, where a broken connection gets a few tries.
    """

    def __init__(self, timeout: float, tries: int = TRIES) -> None:
        self._timeout, self._tries = timeout, tries
        self._failures = self._refusals = 0
        self._busy_since = 0.0

    def progress(self) -> None:
        """The call got on: what comes now is counted from the beginning."""
        self._failures = self._refusals = 0

    def again(self, error: CallFailed, passes: bool = False) -> bool:
        """Whether to try again now, after the wait. ``passes``: for this call the error may pass.

        Raises Interrupted.
        """
        if error.code == BUSY:
            self._refusals += 1
            if self._refusals == 1:
                self._busy_since = time.monotonic()
            elif time.monotonic() - self._busy_since > self._timeout:
                return False
            _wait(self._refusals)
            return True
        self._failures += 1
        if self._failures >= self._tries or not (error.passes or passes):
            return False
        _wait(self._failures)
        return True


def _wait(number: int) -> None:
    seconds = min(FIRST_WAIT * 2 ** (number - 1), LONGEST_WAIT) * random.uniform(0.7, 1.3)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        interrupt.check()
        time.sleep(0.05)
