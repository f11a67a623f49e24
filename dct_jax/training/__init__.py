"""The training step and the loop around it. They know batches and losses, not DCT."""
