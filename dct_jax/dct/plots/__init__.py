"""Figures of list statistics, of a DCTransformer's bits, and of its training."""
