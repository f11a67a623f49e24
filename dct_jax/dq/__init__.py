"""DQ-VAE: an autoencoder with coarse codes for smooth regions and fine ones where there is detail
(Huang et al., "Towards Accurate Image Coding: Improved Autoregressive Image Generation with Dynamic
Vector Quantization", 2023)."""
