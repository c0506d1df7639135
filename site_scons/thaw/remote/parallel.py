"""Several transfers at once, which all end when one fails."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from thaw import interrupt

AT_ONCE = 8
Task = Callable[[Callable[[], None]], None]  # is given the check that stops it


class _Stopped(Exception):
    """Another transfer failed."""


def run(tasks: Iterable[Task]) -> None:
    """Run every task; the first exception ends the others and is raised."""
    stop = threading.Event()

    def check() -> None:
        interrupt.check()
        if stop.is_set():
            raise _Stopped

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="remote") as pool:
        futures = [pool.submit(task, check) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
