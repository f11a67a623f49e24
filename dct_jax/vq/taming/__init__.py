"""Checkpoints of Taming Transformers (Esser et al., 2021), and of latent diffusion's autoencoders
with codes (Rombach et al., 2022), as runs of ours."""
