"""The clients: scenes and products in, embeddings and ranked products out."""

from completelook.clients.async_client import AsyncCompleteLook
from completelook.clients.client import CompleteLook
from completelook.clients.doctor import Check, diagnose

__all__ = ["AsyncCompleteLook", "Check", "CompleteLook", "diagnose"]
