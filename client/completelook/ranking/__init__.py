"""Ranking: the products of a catalog, most compatible with a scene first."""
