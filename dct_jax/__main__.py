"""`python -m dct_jax COMMAND`: reads the command line and calls a library function."""

import sys
from typing import NoReturn


def run() -> NoReturn:
    """Runs the command of the command line; also `dct-jax COMMAND`."""
    try:
        from dct_jax.commands import entry
    except KeyboardInterrupt:  # while packages are imported
        sys.exit(130)
    entry()


if __name__ == "__main__":
    run()
