"""Rows of peer.py on principal components, QB, sparse matrices, flat spectra and Tucker forms: calls of scikit-learn,
scipy and TensorLy as their documentation says. Each class holds its data and does one job a round."""
import numpy as np
import scipy.linalg.interpolative
import scipy.sparse
import sklearn.decomposition
import sklearn.utils.extmath

import tensor_file

try:
    import tensorly
    import tensorly.decomposition
except ImportError:  # not among Debian's packages; its lines then say so
    tensorly = None

TOLERANCE = 1e-6  # of the QB rows
# Settings at which a peer's error comes to ours and not below it; found once, for the data of make_data.py.
SPECTRAL_TOLERANCE = 1e-7
SPARSE_PASSES, SPARSE_TOLERANCE, FINE_TOLERANCE = 18, 0.1, 0.05
FLAT_PASSES, FLAT_KRYLOV_PASSES = 26, 29


def tensorly_version():
    return "missing" if tensorly is None else tensorly.__version__


class Pca:
    """Fits float32 points; what `fit` finds, not the scores."""

    def __init__(self, folder, solver):
        self.a = tensor_file.read(folder / "points.safetensors")["a"]
        self.solver = solver

    def fitted(self):
        return sklearn.decomposition.PCA(n_components=8, svd_solver=self.solver, random_state=0).fit(self.a)

    def round(self):
        fit = self.fitted()
        return {"variances": fit.explained_variance_, "components": fit.components_.T}


class IncrementalPca(Pca):
    def __init__(self, folder):
        super().__init__(folder, None)

    def fitted(self):
        return sklearn.decomposition.IncrementalPCA(n_components=16, batch_size=1000).fit(self.a)


class InterpolativeQb:
    """A ~ A[:, chosen] P, asked for in the spectral norm so that the Frobenius norm is met. Q is the chosen columns, B is
    P."""

    def __init__(self, folder):
        self.a = tensor_file.read(folder / "exponential.safetensors")["a"]

    def decompose(self):
        return scipy.linalg.interpolative.interp_decomp(self.a, SPECTRAL_TOLERANCE, rand=True)

    def round(self):
        return dict(zip(("rank", "order", "coefficients"), self.decompose()))

    def result(self):
        rank, order, coefficients = self.decompose()
        return {"q": scipy.linalg.interpolative.reconstruct_skel_matrix(self.a, rank, order),
                "b": scipy.linalg.interpolative.reconstruct_interp_matrix(order, coefficients)}


class RangeFinderQb:
    """A range finder of twice the size until ||A - Q QᵀA|| is small enough, which is formed and measured."""

    def __init__(self, folder):
        self.a = tensor_file.read(folder / "exponential.safetensors")["a"]

    def round(self):
        size, allowed = 32, TOLERANCE * np.linalg.norm(self.a)
        while True:
            q = sklearn.utils.extmath.randomized_range_finder(self.a, size=size, n_iter=0, random_state=0)
            b = q.T @ self.a
            if np.linalg.norm(self.a - q @ b) <= allowed:
                return {"q": q, "b": b}
            size *= 2


class Values:
    """Leading singular values (their vectors are computed too, and dropped); `decompose` returns U, s, Vᵀ."""

    def __init__(self, a, decompose):
        self.a, self.decompose = a, decompose

    def round(self):
        return {"s": np.sort(self.decompose(self.a)[1])[::-1]}


def documents(folder):
    data = tensor_file.read(folder / "documents.safetensors")
    parts = (data["values"], data["columns"].astype(np.int32), data["starts"].astype(np.int32))
    return scipy.sparse.csr_matrix(parts, shape=tuple(data["shape"]))


def sparse_randomized(passes):
    return lambda folder: Values(documents(folder), lambda a: sklearn.utils.extmath.randomized_svd(
        a, 32, n_oversamples=10, n_iter=passes, random_state=0))


def sparse_svds(solver, **options):
    return lambda folder: Values(documents(folder), lambda a: scipy.sparse.linalg.svds(
        a, k=32, solver=solver, random_state=np.random.default_rng(0), **options))


def flat(passes):
    return lambda folder: Values(
        tensor_file.read(folder / "flat.safetensors")["a"],
        lambda a: sklearn.utils.extmath.randomized_svd(a, 20, n_oversamples=10, n_iter=passes, random_state=0))


class Tucker:
    """Orthogonal iteration from an HOSVD. `modes`: the others stay as they are."""

    def __init__(self, folder, ranks, modes):
        self.x = tensor_file.read(folder / "activations_128x50x768.safetensors")["x0"]
        self.ranks, self.modes = ranks, modes
        if tensorly is None:
            raise RuntimeError("TensorLy is not installed")

    def round(self):
        if len(self.modes) == self.x.ndim:
            core, factors = tensorly.decomposition.tucker(self.x, rank=self.ranks, init="svd", tol=1e-5)
        else:
            core, factors = tensorly.decomposition.partial_tucker(self.x, rank=self.ranks, modes=self.modes, init="svd",
                                                                  tol=1e-5)[0]
        return {"core": core, **{f"u{mode}": factor for mode, factor in zip(self.modes, factors)}}

    def result(self):
        whole = {f"u{mode}": np.eye(extent, dtype=np.float32) for mode, extent in enumerate(self.x.shape)}
        return whole | self.round()


ROWS = {
    "pca_covariance": lambda folder: Pca(folder, "covariance_eigh"),
    "pca_full": lambda folder: Pca(folder, "full"),
    "pca_randomized": lambda folder: Pca(folder, "randomized"),
    "incremental_pca": IncrementalPca,
    "qb_interpolative": InterpolativeQb,
    "qb_range_finder": RangeFinderQb,
    "sparse_sklearn": sparse_randomized(SPARSE_PASSES),
    "sparse_arpack": sparse_svds("arpack", tol=SPARSE_TOLERANCE),
    "sparse_propack": sparse_svds("propack", tol=SPARSE_TOLERANCE),
    "sparse_propack_fine": sparse_svds("propack", tol=FINE_TOLERANCE),
    "flat_sklearn": flat(FLAT_PASSES),
    "flat_sklearn_krylov": flat(FLAT_KRYLOV_PASSES),
    "tucker_tensorly": lambda folder: Tucker(folder, [8, 4, 8], [0, 1, 2]),
    "partial_tucker_tensorly": lambda folder: Tucker(folder, [4, 8], [1, 2]),
}
