"""How a command ends early: at a signal, or where nobody takes what it prints."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOST = 0.1
"""Seconds until a signal whose exception was lost is sent again."""


@contextmanager
def tidy_end() -> Iterator[None]:
    """While it is open, SIGTERM ends the process as an exception does, so that temporary files are
    removed. Whoever has called `main` with a handler of their own keeps it.

    Service managers and `timeout` may send one stop twice, so a second signal within a second does
    not disturb the end; later ones count.

    An exception in a handler is lost if the signal comes during a callback of the garbage collector
    (JAX has one) or of Numba's compiler. Python tells `sys.unraisablehook` of it, and the signal is
    sent once more.
    """
    last = -math.inf
    timers: list[threading.Timer] = []
    before = sys.unraisablehook

    def stop(number: int, frame: Any) -> None:
        nonlocal last
        if time.monotonic() - last > 1:
            last = time.monotonic()
            raise SystemExit(128 + number)

    def send_again(lost: Any) -> None:
        nonlocal last
        numbers = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}
        if lost.exc_type not in numbers:
            return before(lost)
        last = -math.inf
        main = threading.main_thread().ident or 0
        timers.append(threading.Timer(LOST, signal.pthread_kill, (main, numbers[lost.exc_type])))
        timers[-1].start()

    is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if is_ours:
        signal.signal(signal.SIGTERM, stop)
        sys.unraisablehook = send_again
    try:
        yield
    finally:
        if is_ours:
            for timer in timers:
                timer.cancel()
                timer.join()
            sys.unraisablehook = before
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def flush_output(code: int) -> int:
    """Sends what is printed on its way. Where that fails, Python would try again at its end, and
    say so in lines of its own.

    Args:
        code: the exit code so far.

    Returns:
        The exit code: 141, as after SIGPIPE, if nobody reads, and 2 if what reads has no room.
    """
    try:
        if sys.stdout:  # None if it is closed
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        print(f"dct_jax: the output cannot be written ({error.strerror})", file=sys.stderr)
        return code or 2
    return code
