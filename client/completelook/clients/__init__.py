"""The clients: scenes and products in, embeddings and ranked products out."""
