"""Sources -> batches that a system's Reader makes. NumPy and Grain; no JAX, because it runs in
worker threads and processes."""
