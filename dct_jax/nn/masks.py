"""Logits of symbols that cannot come next."""

IMPOSSIBLE = -1e30
"""The logit of an impossible symbol: finite, so that rows without a possible one give no NaN."""
