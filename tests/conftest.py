"""How JAX runs in the tests."""

import os
from pathlib import Path

# Two CPU devices, so that data parallelism can be tested anywhere. All of this must be set before JAX starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ["JAX_PLATFORMS"] = "cpu"
# Many tests compile the same small programs.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parent.parent / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
# They compile much and run little: machine code that is made sooner serves them better than faster machine code.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
