"""One dataset becomes several tasks by PCA and a Gaussian mixture; imports console."""

from .dataset_clusters import cluster

__all__ = ["cluster"]
