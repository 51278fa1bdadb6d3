"""Catalogs: products and their embeddings, and how they are made."""
