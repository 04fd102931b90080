"""Vectors in clusters: PCA, a Gaussian mixture, and for each vector the component most likely to have made it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

DIMENSION = 50
"""Principal components that the mixture sees, where there are as many. Ours: the paper gives none."""
COVARIANCE_TYPE = "full"
"""Ours as well."""
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
SAME = 1e-3
"""Vectors whose coordinates differ by less than this part of the largest one differ by rounding alone."""


@dataclass(frozen=True)
class Clusters:
    """A hard partition, numbered from 0 by decreasing size.

    Args:
        numbers: of each row's cluster, shape (rows,).
        sizes: rows of each cluster, shape (clusters,).
        points: the principal components that were clustered, shape (rows, dimension).
        explained_variance: the fraction of the vectors' variance in each component, shape (dimension,).
        responsibilities: of each row's own cluster for it, shape (rows,).
        bic: the Bayesian information criterion of the mixture; of two, the lower is the better.
        converged: whether the fit did.
    """

    numbers: NDArray[np.int64]
    sizes: NDArray[np.int64]
    points: NDArray[np.float64]
    explained_variance: NDArray[np.float64]
    responsibilities: NDArray[np.float64]
    bic: float
    converged: bool


def check_settings(rows: int, num_clusters: int, dimension: int | None, covariance_type: str, seed: int) -> None:
    """Raise InputError for settings that no vectors, or not so few, can be clustered with."""
    if num_clusters < 2:
        raise InputError(f"--num_clusters is {num_clusters}; it must be at least 2.")
    if rows < num_clusters:
        raise InputError(f"{rows} examples cannot make --num_clusters {num_clusters}; take more examples.")
    if dimension is not None and dimension < 1:
        raise InputError(f"--dimension is {dimension}; it must be at least 1.")
    if dimension is not None and dimension > rows:
        raise InputError(f"--dimension {dimension} is more than the {rows} examples allow; give {rows} at most.")
    if covariance_type not in COVARIANCE_TYPES:
        raise InputError(f"--covariance_type {covariance_type} is none of {', '.join(COVARIANCE_TYPES)}.")
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed is {seed}; it must be from 0 to 2³² - 1.")


def find_clusters(
    vectors: NDArray[np.float32], num_clusters: int, dimension: int | None, covariance_type: str, seed: int
) -> Clusters:
    """Partition vectors; the same arguments give the same clusters.

    Args:
        vectors: shape (rows, size); not copied where it may be written to.
        num_clusters: components of the mixture.
        dimension: principal components that it sees. None: `DIMENSION`, or as many as there can be.
        covariance_type: as scikit-learn names them, `COVARIANCE_TYPES`.
        seed: of the mixture's start.

    Raises:
        InputError: vectors that are all equal or not finite, too large a dimension, or an empty cluster.
    """
    # Imported when they are needed: with scikit-learn it takes a second.
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    check_settings(len(vectors), num_clusters, dimension, covariance_type, seed)
    _check_spread(vectors)
    size = vectors.shape[1]
    if dimension is not None and dimension > size:
        raise InputError(f"--dimension {dimension} is more than the model's {size}; give {size} at most.")
    dimension = dimension or min(DIMENSION, *vectors.shape)
    # The one solver that is exact and neither random nor in need of a copy.
    pca = PCA(dimension, svd_solver="covariance_eigh").fit(vectors)
    points = pca.transform(vectors).astype(np.float64)
    mixture = GaussianMixture(num_clusters, covariance_type=covariance_type, random_state=seed)
    try:
        # k-means, which gives the start, adds up what its threads have in the order in which they end.
        with threadpool_limits(1, user_api="openmp"):
            mixture.fit(points)
    except ValueError as error:
        raise InputError(
            f"The examples do not spread enough for --num_clusters {num_clusters}, --dimension {dimension} and "
            f"--covariance_type {covariance_type}: a cluster collapsed. Make one of them smaller or simpler."
        ) from error
    responsibilities = mixture.predict_proba(points)
    numbers = responsibilities.argmax(axis=1)
    sizes = np.bincount(numbers, minlength=num_clusters)
    if empty := int((sizes == 0).sum()):
        raise InputError(
            f"{empty} of --num_clusters {num_clusters} clusters have no example; choose fewer clusters, another "
            f"--seed or another --dimension."
        )
    firsts = np.unique(numbers, return_index=True)[1]
    by_size = np.lexsort((firsts, -sizes))
    return Clusters(
        numbers=np.argsort(by_size)[numbers],
        sizes=sizes[by_size],
        points=points,
        explained_variance=pca.explained_variance_ratio_.astype(np.float64),
        responsibilities=responsibilities.max(axis=1),
        bic=float(mixture.bic(points)),
        converged=bool(mixture.converged_),
    )


def _check_spread(vectors: NDArray[np.float32]) -> None:
    highest, lowest = vectors.max(axis=0), vectors.min(axis=0)
    if not np.isfinite(highest - lowest).all():
        raise InputError("The model's hidden states are not finite; choose another model or mend its weights.")
    if (highest - lowest).max() <= SAME * max(np.abs(highest).max(), np.abs(lowest).max()):
        raise InputError("All examples have the same embedding, so nothing tells clusters apart; are all texts equal?")
