"""The training step, and the loop around it. It speaks of batches and log-likelihoods, not of DCT."""
