"""Autoencoders with a discrete bottleneck: VQ-VAE, VQ-GAN, and their quantisers."""
