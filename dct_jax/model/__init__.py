"""The network and the likelihood of lists under it. No files, no command line, no data loading."""

from dct_jax.model.initial import initial_params
from dct_jax.model.likelihood import SymbolNats, log_likelihood
from dct_jax.model.transformer import DCTransformer, Triples, network

__all__ = ["DCTransformer", "SymbolNats", "Triples", "initial_params", "log_likelihood", "network"]
