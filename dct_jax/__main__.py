"""`python -m dct_jax COMMAND`: reads the command line and calls a library function."""

from dct_jax.commands import entry

if __name__ == "__main__":
    entry()
