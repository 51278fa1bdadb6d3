"""Explanations: where the model looked, and pages that show it."""
