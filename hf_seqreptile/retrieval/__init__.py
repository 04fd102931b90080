"""Translations found by their vectors, and parallel sentences mined; imports console and embeddings."""

from .accuracy import Accuracy, retrieval_accuracy

__all__ = ["Accuracy", "retrieval_accuracy"]
