"""Distances of two sets of feature vectors, in float64: Frechet's, and precision and recall."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

_BLOCK_BYTES = 32 << 20


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of a set of feature vectors. Sets can be joined (+), and a part can
    be taken out again (-).

    The sums are about the mean rather than about 0, so nothing cancels where features vary little
    (Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979).

    Attributes:
        count: how many vectors.
        mean: float64 [D].
        scatter: float64 [D, D], the sum of (x - mean)(x - mean)^T.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """Returns the moments of vectors [N, D]; N may be 0.

        Raises:
            ValueError: if they are not finite.
        """
        vectors = _vectors(features)  # [N, D]
        mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1])
        centred = vectors - mean
        return cls(len(vectors), mean, centred.T @ centred)

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased estimate, float64 [D, D], for two vectors or more."""
        return self.scatter / (self.count - 1)

    def __add__(self, other: Self) -> Self:
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(step, step * (self.count * other.count / count))
        return type(self)(count, self.mean + step * (other.count / count), scatter)

    def __sub__(self, part: Self) -> Self:
        """The rest of a set of which `part` is a proper part."""
        count = self.count - part.count
        if count < 1:
            raise ValueError(f"{part.count} of {self.count} vectors cannot be taken out; at least one must stay")
        step = (self.mean - part.mean) * (self.count / count)  # from the part's mean to that of the rest
        scatter = self.scatter - part.scatter - np.outer(step, step * (count * part.count / self.count))
        return type(self)(count, part.mean + step, scatter)


class PrecisionRecall(NamedTuple):
    """The shares of fakes that lie among the reals, and of reals that lie among the fakes."""

    precision: float
    recall: float


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), of covariances A and B, in the features'
    units squared.

    This is the squared Frechet (2-Wasserstein) distance of the Gaussians with these moments (Dowson
    and Landau, 1982), which Heusel et al. (2017) call FID when the features are Inception's.

    With A = U U^T and B = V V^T the trace of (A B)^(1/2) is the sum of the singular values of U^T
    V. These are accurate relative to the largest. The roots of the eigenvalues of A B would lose
    half of the digits, above all when a covariance is singular: with fewer samples than features.

    Args:
        a, b: of two vectors or more each, with as many features.

    Raises:
        ValueError: if there are too few vectors, or other numbers of features.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"the sets have {len(a.mean)} and {len(b.mean)} features; a distance needs the same ones of both")
    if min(a.count, b.count) < 2:
        raise ValueError(f"the sets have {a.count} and {b.count} vectors; a covariance needs 2 or more")
    overlap = np.linalg.svd(_factor(a).T @ _factor(b), compute_uv=False).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return max(0.0, float(np.square(a.mean - b.mean).sum() + traces - 2 * overlap))


def _factor(moments: Moments) -> np.ndarray:
    """U [D, R] with U U^T = the covariance, of rank R. Eigenvalues that can only be rounding are
    left out: their roots are 1e-8 where they are 1e-16."""
    values, vectors = np.linalg.eigh(moments.covariance)  # ascending
    rank = min(len(values), moments.count - 1)
    values, vectors = values[-rank:], vectors[:, -rank:]
    kept = values > values[-1] * len(moments.mean) * np.finfo(float).eps
    return vectors[:, kept] * np.sqrt(values[kept])


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al., 2019): a vector lies among a set if one
    of the set's vectors is no further from it than from its own k-th nearest neighbour in the set.

    Distances are Euclidean, in float64; ties are decided as by np.square(x - y).sum() of each pair.
    Besides three float64 copies of both sets this takes about 300 MiB at most, or ten rows of N or
    M numbers if that is more.

    Args:
        real, fake: features [N, D] and [M, D], more than k of each.
        k: the number of neighbours, 1 or more; duplicates count, the vector itself does not.

    Raises:
        ValueError: if there are too few vectors, or the sets have other numbers of features.
    """
    real, fake = _vectors(real), _vectors(fake)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"the sets have {real.shape[1]} and {fake.shape[1]} features; they must have the same ones")
    if k < 1:
        raise ValueError(f"k is {k}; it must be 1 or more")
    for name, vectors in (("real", real), ("fake", fake)):
        if len(vectors) <= k:
            raise ValueError(f"there are {len(vectors)} {name} vectors; with k = {k} there must be at least {k + 1}")
    real, real_copies = _distinct(real)
    fake, fake_copies = _distinct(fake)
    among_reals = _is_covered(fake, real, _radii(real, real_copies, k))
    among_fakes = _is_covered(real, fake, _radii(fake, fake_copies, k))
    shares = (np.average(among, weights=copies) for among, copies in ((among_reals, fake_copies), (among_fakes, real_copies)))
    return PrecisionRecall(*(float(share) for share in shares))


def _vectors(features: np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(features, np.float64)
    if vectors.ndim != 2:
        raise ValueError(f"the features are {list(vectors.shape)}; they must be [vectors, features]")
    if not np.isfinite(vectors).all():
        raise ValueError("a feature is not a finite number; look at the weights and the pictures")
    return vectors


def _distinct(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct rows [U, D] of x [N, D] and how often each is there, int64 [U]. Without
    it, copies of one picture would have all pairs compared number by number."""
    numbers: dict[bytes, int] = {}
    group = [numbers.setdefault(hashlib.sha256(row).digest(), len(numbers)) for row in x + 0.0]  # -0.0 becomes 0.0
    _, first, copies = np.unique(group, return_index=True, return_counts=True)
    return x[first], copies


# Products of matrices give all distances soon but not exactly: two equal vectors may come out 1e-12
# apart. So products only decide what is beyond this margin, and pairs within it are subtracted.
def _margin(x: np.ndarray, y: np.ndarray) -> float:
    largest = max(np.einsum("nd,nd->n", z, z).max() for z in (x, y))
    return 16 * (x.shape[1] + 4) * np.finfo(float).eps * largest


def _rough_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances [b, M] of the rows of x [b, D] and y [M, D], to the margin."""
    return np.einsum("nd,nd->n", x, x)[:, None] + np.einsum("nd,nd->n", y, y) - 2 * x @ y.T


def _exact_distances(x: np.ndarray, y: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Squared distances [P] of the pairs x[rows], y[columns]."""
    distances = np.empty(len(rows))
    step = max(1, _BLOCK_BYTES // (512 * x.shape[1]))  # such a part stays in the processor's cache
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        distances[part] = np.square(x[rows[part]] - y[columns[part]]).sum(axis=1)
    return distances


def _blocks(rows: int, columns: int) -> list[slice]:
    step = max(1, _BLOCK_BYTES // (8 * columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _radii(x: np.ndarray, copies: np.ndarray, k: int) -> np.ndarray:
    """The squared distances of distinct rows [U, D] from their k-th nearest neighbours; `copies`
    [U] says how often a row is there."""
    margin = _margin(x, x)
    radii = np.zeros(len(x))
    alone = np.flatnonzero(copies <= k)  # the k-th neighbour of the others is a duplicate
    for block in _blocks(len(alone), len(x)):
        own = alone[block]
        rough = _rough_distances(x[own], x)  # [b, U]
        rough[np.arange(len(own)), own] = np.inf
        nearest = min(k, len(x) - 1) - 1
        near = rough <= np.partition(rough, nearest, axis=1)[:, nearest : nearest + 1] + 2 * margin
        rows, columns = np.nonzero(near)
        exact = _exact_distances(x, x, own[rows], columns)
        order = np.lexsort((exact, rows))
        rows, columns, exact = rows[order], columns[order], exact[order]
        # The first neighbour at which the row's duplicates and its neighbours, with copies, are k.
        reached = np.cumsum(copies[columns])
        before = (reached - copies[columns])[np.searchsorted(rows, np.arange(len(own)))]
        enough = reached - before[rows] >= k - (copies[own] - 1)[rows]
        candidates = np.flatnonzero(enough)
        radii[own] = exact[candidates[np.searchsorted(rows[candidates], np.arange(len(own)))]]
    return radii


def _is_covered(x: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """bool [N]: whether a row of x [N, D] is within the squared radius [M] of a centre [M, D]."""
    margin = _margin(x, centres)
    covered = np.empty(len(x), bool)
    for block in _blocks(len(x), len(centres)):
        beyond = _rough_distances(x[block], centres) - radii  # [b, M]
        inside = (beyond < -margin).any(axis=1)
        rows, columns = np.nonzero((beyond <= margin) & ~inside[:, None])
        inside[rows[_exact_distances(x, centres, rows + block.start, columns) <= radii[columns]]] = True
        covered[block] = inside
    return covered
