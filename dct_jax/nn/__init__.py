"""What the networks of several systems share: attention, blocks, embeddings, masks, precision."""
