"""This user's cache of what can be made again: statistics of pictures, and compiled programs."""

import hashlib
import logging
import os
import platform
import re
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Returns DCT_JAX_CACHE, or dct_jax in the user's folder for caches, or dct_jax in that for
    temporary files where the user has no folder."""
    if named := os.environ.get("DCT_JAX_CACHE"):
        return Path(os.path.expanduser(named))
    folder = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(tempfile.gettempdir() if folder.startswith("~") else folder) / "dct_jax"


def keep_programs() -> None:
    """Has JAX keep what takes it a second or longer to compile, if the folder can be written.

    Call it before JAX is imported. JAX's own JAX_COMPILATION_CACHE_DIR names another place. Delete
    the folder to empty it.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "programs" / processor()
    if not make_private(folder):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # XLA warns of every program that it reads on a CPU, in lines of 2,000 letters: the features it
    # compiled for include its own preferences for gathering and scattering, which no machine has
    # (JAX 0.10). What it says of GPUs is left alone.
    if not Path("/dev/nvidiactl").exists():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def make_private(folder: Path) -> bool:
    """Makes a folder below `cache_folder()`, and says whether this user alone can write it. In a
    place for temporary files another user may have made it, and programs in it would be
    executed."""
    top = cache_folder()
    try:
        top.parent.mkdir(parents=True, exist_ok=True)
        for path in (*reversed(folder.relative_to(top).parents), folder.relative_to(top)):
            (top / path).mkdir(mode=0o700, exist_ok=True)
            state = (top / path).stat()
            if state.st_uid != os.getuid() or state.st_mode & 0o022:
                log.warning("%s can be written by other users, so no compiled programs are kept there.", top / path)
                return False
        return os.access(folder, os.W_OK)
    except OSError:
        return False


def processor() -> str:
    """Names this machine's instructions and cores: others may share the home folder."""
    cpuinfo = Path("/proc/cpuinfo")
    features = re.search(r"^(?:flags|Features)\s*:.*$", cpuinfo.read_text(), re.M) if os.access(cpuinfo, os.R_OK) else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()}-{hashlib.sha256((features[0] if features else '').encode()).hexdigest()[:8]}-{cores}"
