"""DCTransformer: its configuration, reader, network, sampler, likelihood, compression and stage."""
