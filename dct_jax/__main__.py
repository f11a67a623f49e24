"""`python -m dct_jax COMMAND`: reads the command line and calls a library function."""

import sys

if __name__ == "__main__":
    try:
        from dct_jax.commands import entry
    except KeyboardInterrupt:  # while packages are imported
        sys.exit(130)
    entry()
