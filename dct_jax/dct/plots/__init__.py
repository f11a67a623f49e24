"""Figures of list statistics, of a DCTransformer's bits, and of its training."""

SYMBOL_COLORS = {"value": "#d95f02", "position": "#1b9e77", "channel": "#7570b3"}
