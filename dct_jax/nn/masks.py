"""Logits of symbols that cannot come next."""

IMPOSSIBLE = -1e30
"""The logit of an impossible symbol: finite, so that rows without any possible symbol (padding) give no NaN."""
