"""Autoencoders with a discrete bottleneck: VQ-VAE, their quantisers, and files of codes."""
