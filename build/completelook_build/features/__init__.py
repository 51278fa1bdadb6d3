"""The backbone's features, kept on disk."""
