"""Parts that networks of several systems share: attention, blocks, embeddings, precision."""
