"""`python -m dct_jax COMMAND`: reads the command line and calls a library function."""

import sys

from dct_jax.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
