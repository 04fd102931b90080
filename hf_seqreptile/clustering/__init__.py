"""One dataset becomes several tasks by PCA and a Gaussian mixture; imports console and embeddings."""

from .dataset_clusters import cluster

__all__ = ["cluster"]
