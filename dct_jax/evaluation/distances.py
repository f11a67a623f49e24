"""Distances between two sets of feature vectors: Frechet's between their Gaussians, and precision and recall; in float64."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

_BLOCK_BYTES = 32 << 20


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of a set of feature vectors. Sets can be joined (+), and a part can be taken out again (-).

    The sums are about the mean rather than about 0, so nothing cancels where features vary little (Chan, Golub and LeVeque,
    "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979).

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
        """Those of vectors [N, D], of which there may be none.

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
    """The share of fakes that lie among the reals, and the share of reals that lie among the fakes."""

    precision: float
    recall: float


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), of covariances A and B, in the features' units squared.

    This is the squared Frechet (2-Wasserstein) distance of the Gaussians with these moments (Dowson and Landau, 1982), which
    Heusel et al. (2017) call FID when the features are Inception's.

    With A = U U^T and B = V V^T the trace of (A B)^(1/2) is the sum of the singular values of U^T V. These are found to an
    accuracy relative to the largest; eigenvalues of A B, whose roots are to be taken, would lose half of the digits, above all
    when a covariance is singular because there are fewer samples than features.

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
    """U [D, R] with U U^T = the covariance, of rank R. Eigenvalues that can only be rounding are left out: their roots are
    1e-8 where they are 1e-16."""
    values, vectors = np.linalg.eigh(moments.covariance)  # ascending
    rank = min(len(values), moments.count - 1)
    values, vectors = values[-rank:], vectors[:, -rank:]
    kept = values > values[-1] * len(moments.mean) * np.finfo(float).eps
    return vectors[:, kept] * np.sqrt(values[kept])


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al., 2019): a vector lies among a set if, for one of its vectors at least,
    it is no further away than that one's k-th nearest neighbour in the set.

    Distances are Euclidean, of the features as float64, and ties are decided as by np.square(x - y).sum() of each pair. Besides
    three float64 copies of both sets this takes at most about 300 MiB, or ten rows of N or M numbers where these are larger.

    Args:
        real, fake: features [N, D] and [M, D], more than k of each.
        k: the number of neighbours, 1 or more; a vector is not its own neighbour, its duplicates are.

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
    real, real_copies = _different(real)
    fake, fake_copies = _different(fake)
    among_reals = _covered(fake, real, _radii(real, real_copies, k))
    among_fakes = _covered(real, fake, _radii(fake, fake_copies, k))
    shares = (np.average(among, weights=copies) for among, copies in ((among_reals, fake_copies), (among_fakes, real_copies)))
    return PrecisionRecall(*(float(share) for share in shares))


def _vectors(features: np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(features, np.float64)
    if vectors.ndim != 2:
        raise ValueError(f"the features are {list(vectors.shape)}; they must be [vectors, features]")
    if not np.isfinite(vectors).all():
        raise ValueError("a feature is not a finite number; look at the weights and the pictures")
    return vectors


def _different(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows [U, D] of x [N, D] and how many there are of each, int64 [U]. A model that makes one picture again
    and again would otherwise have all pairs compared number by number."""
    numbers: dict[bytes, int] = {}
    group = [numbers.setdefault(hashlib.sha256(row).digest(), len(numbers)) for row in x + 0.0]  # -0.0 becomes 0.0
    _, first, copies = np.unique(group, return_index=True, return_counts=True)
    return x[first], copies


# Products of matrices give all distances soon but not exactly: two equal vectors may come out 1e-12 apart, or closer than
# equal. So they only decide what is beyond this margin, and pairs within it are subtracted.
def _margin(x: np.ndarray, y: np.ndarray) -> float:
    largest = max(np.einsum("nd,nd->n", z, z).max() for z in (x, y))
    return 16 * (x.shape[1] + 4) * np.finfo(float).eps * largest


def _rough(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances [b, M] of the rows of x [b, D] and y [M, D], to the margin."""
    return np.einsum("nd,nd->n", x, x)[:, None] + np.einsum("nd,nd->n", y, y) - 2 * x @ y.T


def _exact(x: np.ndarray, y: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
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
    """The squared distance of each of the different rows [U, D] from its k-th nearest neighbour, where `copies` [U] says how
    often a row is there."""
    margin = _margin(x, x)
    radii = np.zeros(len(x))
    alone = np.flatnonzero(copies <= k)  # the k-th neighbour of the others is a duplicate
    for block in _blocks(len(alone), len(x)):
        own = alone[block]
        rough = _rough(x[own], x)  # [b, U]
        rough[np.arange(len(own)), own] = np.inf
        nearest = min(k, len(x) - 1) - 1
        near = rough <= np.partition(rough, nearest, axis=1)[:, nearest : nearest + 1] + 2 * margin
        rows, columns = np.nonzero(near)
        exact = _exact(x, x, own[rows], columns)
        order = np.lexsort((exact, rows))
        rows, columns, exact = rows[order], columns[order], exact[order]
        # The first neighbour by which the row's own duplicates, its nearer neighbours and theirs are k.
        reached = np.cumsum(copies[columns])
        before = (reached - copies[columns])[np.searchsorted(rows, np.arange(len(own)))]
        enough = reached - before[rows] >= k - (copies[own] - 1)[rows]
        found = np.flatnonzero(enough)
        radii[own] = exact[found[np.searchsorted(rows[found], np.arange(len(own)))]]
    return radii


def _covered(x: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """bool [N]: whether a row of x [N, D] is within the squared radius [M] of one of the centres [M, D]."""
    margin = _margin(x, centres)
    covered = np.empty(len(x), bool)
    for block in _blocks(len(x), len(centres)):
        beyond = _rough(x[block], centres) - radii  # [b, M]
        inside = (beyond < -margin).any(axis=1)
        rows, columns = np.nonzero((beyond <= margin) & ~inside[:, None])
        inside[rows[_exact(x, centres, rows + block.start, columns) <= radii[columns]]] = True
        covered[block] = inside
    return covered
