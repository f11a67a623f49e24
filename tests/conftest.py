"""Small models that several tests share."""

import os

# Two CPU devices, so that data parallelism can be tested anywhere; this must be set before JAX starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ["JAX_PLATFORMS"] = "cpu"
