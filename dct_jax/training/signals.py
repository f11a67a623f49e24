"""Signals that ask a program to stop, as words that it looks at when it can."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """While it is open, SIGTERM and SIGINT only append their name to the list. A Ctrl-C more than a
    second after the first signal interrupts at once; within that second make and schedulers may
    send one stop twice. Outside the main thread, where Python sets no handlers, the list stays
    empty.

    An exception in a handler is lost if the signal comes during a callback of the garbage collector
    (JAX has one), so the first signal must not depend on one.
    """
    stopped: list[str] = []
    since = 0.0

    def note(number: int, frame: Any) -> None:
        nonlocal since
        if not stopped:
            since = time.monotonic()
            stopped.append(signal.Signals(number).name)
        elif number == signal.SIGINT and time.monotonic() - since > 1:
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT) if is_main}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set by Python cannot be set again
                signal.signal(number, handler)
