"""The network and the likelihood of lists under it; no files, no command line, no data loading."""

from dct_jax.dct.network.log_likelihood import SymbolNats, log_likelihood
from dct_jax.dct.network.transformer import DCTransformer, Triples, network

__all__ = ["DCTransformer", "SymbolNats", "Triples", "log_likelihood", "network"]
