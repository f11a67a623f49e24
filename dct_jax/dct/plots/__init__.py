"""Figures of what a DCTransformer is trained on and reaches: list statistics, bits, and curves of training."""
