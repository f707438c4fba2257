#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/status.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::subspace {

/// What was seen of the inputs x (I) of a map y = W x, W (O,I), and what its outputs are worth. Views.
template <Scalar T>
struct SeenInputs {
    ConstMatrixView<double> scatter;  ///< Σ (x - m)(x - m)ᵀ (I,I); where O <= I of the outputs W x instead, (O,O)
    double count = 1.0;               ///< of the inputs
    std::span<const T> gain;          ///< g (O) > 0: an error e of the output counts as Σ (g_o e_o)²
};

/// The directions of W's outputs, those first that matter most for the inputs seen: principal components of G W x,
/// G = diag(gain). Of any number K of them follows the best W~ of rank K for such inputs (output_factors).
template <Scalar T>
struct OutputBasis {
    Tensor<T> rows;                ///< (k, O) where O <= I: directions u of G W x; else (k, I): b with G W b = u
    std::vector<double> energies;  ///< all min(O,I): mean of (uᵀ G W (x - m))², descending

    [[nodiscard]] Index count() const { return rows.empty() ? 0 : rows.shape()[0]; }
};

namespace detail {

/// C + δ 1 = F Fᵀ, δ what it takes: 0, or from 1e-12 of the mean eigenvalue; C = 0 counts as 1. Throws argument_error
/// for what is not positive semidefinite.
template <class S>
void root_of_semidefinite(MatrixView<double> f, ConstMatrixView<double> c, Memory& memory)
{
    Tensor<double> ones = workspace<double>(memory, c.rows, 1);
    S::fill(ones.matrix(), 1.0);
    const double mean = S::dot(MatrixView<const double>(c).diagonal(), std::as_const(ones).matrix()) /
                        static_cast<double>(std::max<Index>(c.rows, 1));
    require<argument_error>(mean >= 0.0, "output_basis: a scatter matrix with a negative trace");
    double shift = mean > 0.0 ? 0.0 : 1.0;
    for (int tries = 0; tries < 5; ++tries, shift = shift == 0.0 ? 1e-12 * mean : 100.0 * shift) {
        S::copy(f, c);
        if (shift > 0.0) {
            S::add_constant(f.diagonal(), shift);
        }
        if (S::cholesky(f, memory)) {
            return;
        }
    }
    throw argument_error("output_basis: a scatter matrix is not positive semidefinite");
}

}  // namespace detail

/// The `most` leading directions (fewer where nothing is left of the outputs). An eigenvalue problem in double of the
/// smaller side, n = min(O,I): about 9 n³ flops and two or three n x n doubles; where O > I another 4 n³ and O n². For
/// singular inputs a part in 1e12 of their mean variance, or more, is added to each. Throws shape_error for matrices
/// that do not fit, argument_error for NaN, infinity and an eigenvalue problem that does not converge.
template <class S, Scalar T>
requires NeuralStorageFor<S, T> && NeuralStorageFor<S, double>
[[nodiscard]] OutputBasis<T> output_basis(ConstMatrixView<T> w, const SeenInputs<T>& seen, Index most, Memory& memory,
                                          Tag tag)
{
    const bool outputs_are_fewer = w.rows <= w.cols;
    const Index n = std::min(w.rows, w.cols);
    require<shape_error>(n >= 1 && seen.scatter.rows == n && seen.scatter.cols == n &&
                             seen.gain.size() == static_cast<std::size_t>(w.rows) && most >= 1 && seen.count >= 1.0,
                         "output_basis: W (", w.rows, ", ", w.cols, "), scatter (", seen.scatter.rows, ", ",
                         seen.scatter.cols, "), ", seen.gain.size(), " gains");
    require<argument_error>(S::all_finite(w) && S::all_finite(seen.scatter),
                            "output_basis: W or what was seen holds NaN or infinity");
    Tensor<double> a = workspace<double>(memory, n, n);
    Tensor<double> root;
    if (outputs_are_fewer) {
        Tensor<double> gain = workspace<double>(memory, 1, n);
        const auto narrow = MatrixView<const T>::row_major(seen.gain.data(), 1, n);
        S::convert(gain.matrix(), narrow);
        Tensor<double> half = workspace<double>(memory, n, n);
        S::copy(half.matrix(), seen.scatter);
        S::scale_columns(half.matrix(), std::as_const(gain).span());
        S::copy(a.matrix(), std::as_const(half).matrix().transposed());
        S::scale_columns(a.matrix(), std::as_const(gain).span());
    } else {
        root = workspace<double>(memory, n, n);
        Tensor<double> gram = workspace<double>(memory, n, n);
        Tensor<double> product = workspace<double>(memory, n, n);
        detail::root_of_semidefinite<S>(root.matrix(), seen.scatter, memory);
        {
            Tensor<T> scaled = workspace<T>(memory, w.cols, w.rows);  // (G W)ᵀ
            S::copy(scaled.matrix(), w.transposed());
            S::scale_columns(scaled.matrix(), seen.gain);
            S::gram(gram.matrix(), 0.0, std::as_const(scaled).matrix().transposed(), memory);
        }
        S::multiply(product.matrix(), 1.0, std::as_const(gram).matrix(), std::as_const(root).matrix(), 0.0, memory);
        S::multiply(a.matrix(), 1.0, std::as_const(root).matrix().transposed(), std::as_const(product).matrix(), 0.0,
                    memory);
    }
    Tensor<double> values = host_row<double>(memory, n);
    const Index count = S::eigh_leading(
        a.matrix(), values.span(),
        [&](std::span<const double> w_all) {
            const double least = std::max(w_all.front(), 0.0) * 1e-13;
            const auto sound = std::partition_point(w_all.begin(), w_all.end(), [&](double v) { return v > least; });
            return std::clamp<Index>(sound - w_all.begin(), outputs_are_fewer ? 1 : 0, most);
        },
        memory);
    require<argument_error>(count >= 0, "output_basis: the eigenvalue problem does not converge");
    OutputBasis<T> result;
    for (const double value : std::as_const(values).span()) {
        result.energies.push_back(std::max(value, 0.0) / seen.count);
    }
    if (count == 0) {
        return result;
    }
    result.rows = Tensor<T>(memory, tag, Shape{count, n});
    const auto vectors = std::as_const(a).matrix().col_block(0, count);
    if (outputs_are_fewer) {
        S::convert(result.rows.matrix(), vectors.transposed());
        return result;
    }
    // b = F v / sqrt(value), so that |G W b| = 1.
    Tensor<double> b = workspace<double>(memory, n, count);
    S::multiply(b.matrix(), 1.0, std::as_const(root).matrix(), vectors, 0.0, memory);
    Tensor<double> inverse = host_row<double>(memory, count);
    for (Index j = 0; j < count; ++j) {
        inverse.data()[j] = 1.0 / std::sqrt(values.data()[j]);
    }
    Tensor<double> there = workspace<double>(memory, 1, count);
    memory.write(there.data(), inverse.data(), there.bytes());
    S::scale_columns(b.matrix(), std::as_const(there).span());
    S::convert(result.rows.matrix(), std::as_const(b).matrix().transposed());
    return result;
}

/// Uᵀ (K,O) of the K leading directions u of G W x, orthonormal. 2 O I K flops where O > I. Throws shape_error for a
/// rank that the basis does not have.
template <class S, Scalar T>
requires NeuralStorageFor<S, T>
[[nodiscard]] Tensor<T> output_directions(ConstMatrixView<T> w, const OutputBasis<T>& basis, std::span<const T> gain,
                                          Index rank, Memory& memory)
{
    require<shape_error>(rank >= 1 && rank <= basis.count() && basis.rows.shape()[1] == std::min(w.rows, w.cols),
                         "output_directions: rank ", rank, " of ", basis.count(), " directions");
    const auto rows = basis.rows.matrix().row_block(0, rank);
    Tensor<T> u = workspace<T>(memory, rank, w.rows);
    if (w.rows <= w.cols) {
        S::copy(u.matrix(), rows);
    } else {
        S::multiply(u.matrix(), T(1), rows, w.transposed(), T(0), memory);
        S::scale_columns(u.matrix(), gain);
    }
    linalg::orthonormalize_columns<S, T>(u.matrix().transposed(), memory);  // small directions have lost some of it
    return u;
}

/// W~ = L R of rank K.
template <Scalar T>
struct OutputFactors {
    Tensor<T> left;   ///< (O,K); orthonormal columns where all gains are equal
    Tensor<T> right;  ///< (K,I)
};

/// The W~ of rank K that makes Σ |G (W - W~)(x - m)|² over the inputs seen least: with U the K leading directions,
/// L = G⁻¹ U and R = Uᵀ G W (principal components of G W x; for G = 1 R = LᵀW, which is WASI's own shape). What it
/// leaves out of the mean, (W - W~) m, belongs into the bias. 4 O I K flops. Throws what output_directions does.
template <class S, Scalar T>
requires NeuralStorageFor<S, T>
[[nodiscard]] OutputFactors<T> output_factors(ConstMatrixView<T> w, const OutputBasis<T>& basis,
                                              std::span<const T> gain, std::span<const T> inverse_gain, Index rank,
                                              Memory& memory, Tag tag)
{
    Tensor<T> u = output_directions<S, T>(w, basis, gain, rank, memory);
    OutputFactors<T> result{Tensor<T>(memory, tag, Shape{w.rows, rank}), Tensor<T>(memory, tag, Shape{rank, w.cols})};
    {
        Tensor<T> scaled = clone<S>(u, Tag{Use::workspace, 0});
        S::scale_columns(scaled.matrix(), gain);
        S::multiply(result.right.matrix(), T(1), std::as_const(scaled).matrix(), w, T(0), memory);
    }
    S::scale_columns(u.matrix(), inverse_gain);
    S::copy(result.left.matrix(), std::as_const(u).matrix().transposed());
    return result;
}

}  // namespace wasi::subspace
