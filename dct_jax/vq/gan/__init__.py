"""VQ-GAN: an autoencoder with codes whose reconstructions look sharp (Esser et al., 2021)."""
