"""Errors in double of what either side wrote, by one piece of code for both. Each function takes the data of a row and a
result and returns relative errors in the Frobenius norm: `error`, where it is known `best` (what no result of the same
size can beat), and further figures that only the CSV shows."""
import numpy as np


def relative(difference, reference):
    return float(np.linalg.norm(difference) / np.linalg.norm(reference))


def doubles(tensors):
    return {name: value.astype(np.float64) for name, value in tensors.items()}


def svd(data, result):
    """||A - U diag(s) Vᵀ||; the best by the singular values of A; the spectral norm of the same difference."""
    a, r = data["a"], result
    rest = a - (r["u"] * r["s"]) @ r["v"].T
    # Squares of singular values are enough here: the difference is far above rounding.
    squares = np.sort(np.linalg.eigvalsh(a.T @ a))[::-1]
    rank = r["s"].size
    spectral = np.sqrt(np.linalg.eigvalsh(rest.T @ rest)[-1] / squares[0])
    return {"error": relative(rest, a), "best": float(np.sqrt(squares[rank:].sum() / squares.sum())),
            "spectral_error": float(spectral), "ranks": str(rank)}


def variances(data, result):
    """The largest relative error of a variance, of the components that were asked for."""
    found = result["variances"]
    rank = found.size
    basis = result["components"]
    defect = np.linalg.norm(basis.T @ basis - np.eye(rank))
    return {"error": float(np.max(np.abs(found / data["variances"][:rank] - 1.0))), "best": 0.0,
            "orthogonality_defect": float(defect), "ranks": str(rank)}


def values(data, result):
    """The largest relative error of a singular value, of those that were asked for."""
    rank = result["s"].size
    return {"error": float(np.max(np.abs(result["s"] / data["s"][:rank] - 1.0))), "best": 0.0, "ranks": str(rank)}


def qb(data, result):
    """||A - Q B||; the best for as many columns from the singular values of A."""
    a, rank = data["a"], result["q"].shape[1]
    exact = np.linalg.svd(a, compute_uv=False)
    return {"error": relative(a - result["q"] @ result["b"], a),
            "best": float(np.linalg.norm(exact[rank:]) / np.linalg.norm(exact)), "ranks": str(rank)}


def expand(result):
    """S x_1 U_1 x_2 U_2 x_3 U_3."""
    x = result["core"]
    for mode in range(3):
        x = np.moveaxis(np.tensordot(x, result[f"u{mode}"], axes=([mode], [1])), -1, mode)
    return x


def tucker(x, result):
    """||X - X~||. Its bound from below: the mode that loses most at these ranks, if it were cut alone."""
    worst = 0.0
    for mode in range(3):
        unfolded = np.moveaxis(x, mode, 0).reshape(x.shape[mode], -1)
        squares = np.sort(np.linalg.eigvalsh(unfolded @ unfolded.T))[::-1]
        worst = max(worst, squares[result["core"].shape[mode]:].sum() / squares.sum())
    error = relative(x - expand(result), x)
    return {"error": error, "best": float(np.sqrt(worst)), "captured_energy": 1.0 - error**2,
            "ranks": "x".join(str(n) for n in result["core"].shape)}


def weight(data, result):
    """||W+ - L R|| after all gradients once, W+ = L R - sum P Qᵀ from the start; the best by an SVD of W+."""
    w = data["left"] @ data["right"]
    for g in range(sum(name.startswith("p") for name in data)):
        w -= data[f"p{g}"] @ data[f"q{g}"].T
    rank = result["left"].shape[1]
    values = np.linalg.svd(w, compute_uv=False)
    defect = np.linalg.norm(result["left"].T @ result["left"] - np.eye(rank))
    return {"error": relative(w - result["left"] @ result["right"], w),
            "best": float(np.linalg.norm(values[rank:]) / np.linalg.norm(values)),
            "orthogonality_defect": float(defect), "ranks": str(rank)}


def gradient(data, result):
    """||dW~ - dYᵀ X||; for a compressed X also against the gradient of what X was compressed to."""
    x, dy = data["x"], data["dy"].reshape(-1, data["dy"].shape[-1])
    exact = dy.T @ x.reshape(-1, x.shape[-1])
    if "dw" in result:
        return {"error": relative(result["dw"] - exact, exact), "best": 0.0}
    made = result["p"] @ result["u2"].T
    of_compressed = dy.T @ expand(result).reshape(-1, x.shape[-1])
    return {"error": relative(made - exact, exact), "best": 0.0,
            "error_of_contraction": relative(made - of_compressed, of_compressed),
            "error_of_compressed_input": relative(x - expand(result), x)}
