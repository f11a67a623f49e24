"""What a process does when the one that has started it is gone, however that one ended."""

import os
import threading
import time
from collections.abc import Callable


def when_orphaned(parent: int, act: Callable[[], object]) -> None:
    """Calls a function, in a thread, within about a second after the parent is gone.

    Args:
        parent: the number of the process that has started this one.
        act: what to do then.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        act()

    threading.Thread(target=watch, daemon=True).start()
