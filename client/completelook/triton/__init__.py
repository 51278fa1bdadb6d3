"""Triton: the connection, and what its answers hold."""

from completelook.triton.connection import AsyncConnection, Connection
from completelook.triton.credentials import PLAIN, Credentials
from completelook.triton.embeddings import ProductEmbedding, SceneEmbedding

__all__ = [
    "PLAIN",
    "AsyncConnection",
    "Connection",
    "Credentials",
    "ProductEmbedding",
    "SceneEmbedding",
]
