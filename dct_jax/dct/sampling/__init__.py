"""Samples lists from a model: decoding policies and the cached sampler."""
