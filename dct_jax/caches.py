"""Where things that can be made again are kept: statistics of pictures, and compiled programs."""

import hashlib
import os
import platform
import re
from pathlib import Path


def cache_folder() -> Path:
    """DCT_JAX_CACHE, or dct_jax in the user's folder for caches."""
    if named := os.environ.get("DCT_JAX_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dct_jax"


def keep_programs() -> None:
    """Has JAX keep what it compiles for a second or longer, so that the next process need not. Call it before JAX is imported.

    JAX's own JAX_COMPILATION_CACHE_DIR names another place. Delete the folder to empty it.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "programs" / _processor()))
    # XLA warns of every program that it reads on a CPU, in lines of 2,000 letters: the features it compiled for include its own
    # preferences for gathering and scattering, which no machine has (XLA of JAX 0.10).
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _processor() -> str:
    """A name for this machine's instructions: programs for CPUs of others, with the same home folder, may not run here."""
    cpuinfo = Path("/proc/cpuinfo")
    features = re.search(r"^(?:flags|Features)\s*:.*$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return f"{platform.machine()}-{hashlib.sha256((features[0] if features else '').encode()).hexdigest()[:8]}"
