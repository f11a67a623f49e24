"""Where things that can be made again are kept: statistics of pictures, and compiled programs."""

import hashlib
import os
import platform
import re
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """DCT_JAX_CACHE, or dct_jax in the user's folder for caches; where there is no such user, in that for temporary files."""
    if named := os.environ.get("DCT_JAX_CACHE"):
        return Path(os.path.expanduser(named))
    folder = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(tempfile.gettempdir() if folder.startswith("~") else folder) / "dct_jax"


def keep_programs() -> None:
    """Has JAX keep what it compiles for a second or longer, so that the next process need not; if the folder can be written.

    Call it before JAX is imported. JAX's own JAX_COMPILATION_CACHE_DIR names another place. Delete the folder to empty it.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "programs" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # XLA warns of every program that it reads on a CPU, in lines of 2,000 letters: the features it compiled for include its own
    # preferences for gathering and scattering, which no machine has (JAX 0.10). What it says of GPUs is left alone.
    if not Path("/dev/nvidiactl").exists():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _processor() -> str:
    """A name for this machine's instructions and cores: a home folder may be shared with others, for which programs differ."""
    cpuinfo = Path("/proc/cpuinfo")
    features = re.search(r"^(?:flags|Features)\s*:.*$", cpuinfo.read_text(), re.M) if os.access(cpuinfo, os.R_OK) else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()}-{hashlib.sha256((features[0] if features else '').encode()).hexdigest()[:8]}-{cores}"
