"""Priors over grids of codes: what all of them share. The codes are those of an autoencoder, or the
levels of grey pixels."""
