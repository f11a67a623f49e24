"""Pictures -> batches of chunks. NumPy and Grain; no JAX, because it runs in worker threads and
processes."""
