"""Translations found by their vectors, and parallel sentences mined; imports console, embeddings and metrics."""

from .accuracy import Accuracy, retrieval_accuracy

__all__ = ["Accuracy", "retrieval_accuracy"]
