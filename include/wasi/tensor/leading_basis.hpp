#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/tensor/mode_product.hpp"

namespace wasi::tensor::detail {

/// X_(m) X_(m)ᵀ (n,n) in double, without the unfolding.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<double> mode_gram_in_double(ConstTensorView<T, N> x, std::size_t mode, Memory& memory)
{
    const auto parts = x.around(mode);
    const Index n = parts.shape[1];
    Tensor<double> gram = workspace<double>(memory, n, n);
    if (parts.shape[2] == 1) {
        S::gram(gram.matrix(), 0.0, parts.rows_by(1), memory);
        return gram;
    }
    if (parts.shape[0] == 1) {
        S::gram(gram.matrix(), 0.0, parts.slice(0).transposed(), memory);
        return gram;
    }
    // Eight partial sums over the left index, added in order: threads without a change of rounding.
    const Index pieces = std::min<Index>(8, parts.shape[0]);
    Tensor<double> partial(memory, Tag{Use::workspace, 0}, Shape{pieces, n, n});
    parallel_for(pieces, [&](Index piece) {
        const auto sum = partial.template view<3>().slice(piece);
        const Index first = piece * parts.shape[0] / pieces;
        const Index last = (piece + 1) * parts.shape[0] / pieces;
        for (Index i = first; i < last; ++i) {
            S::gram(sum, i == first ? 0.0 : 1.0, parts.slice(i).transposed(), memory);
        }
    });
    for (Index piece = 0; piece < pieces; ++piece) {
        S::add_scaled(gram.matrix(), piece == 0 ? 0.0 : 1.0, 1.0,
                      std::as_const(partial).template view<3>().slice(piece));
    }
    return gram;
}

/// The leading left singular vectors of X_(m), as many as the rule asks for; energies relative to `reference`. Through
/// the Gram matrix of the shorter side in double, of order n: in float values down to n epsilon of the largest count,
/// in double values below sqrt(n epsilon) are lost in the rounding of the squares, so no rule is asked to keep them.
/// Throws error when the eigenvalues of a finite matrix do not converge, which no input is known to cause.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> leading_basis(ConstTensorView<T, N> x, std::size_t mode, const linalg::RankRule& rule,
                                      double reference, Memory& memory)
{
    const auto parts = x.around(mode);
    const Index n = parts.shape[1];
    const Index others = n == 0 ? 0 : x.size() / n;
    const Index order = std::min(n, others);
    std::vector<double> values(static_cast<std::size_t>(order));
    const ChooseCount choose = [&](std::span<const double> squares) {
        double total = 0.0;
        std::transform(squares.begin(), squares.end(), values.begin(),
                       [](double square) { return std::sqrt(std::max(0.0, square)); });
        for (const double value : values) {
            total += value * value;
        }
        const double rounding = static_cast<double>(order) * static_cast<double>(epsilon<T>);
        const double floor = (sizeof(T) < sizeof(double) ? rounding : std::sqrt(rounding)) * values.front();
        return rule.choose({values, total, reference, floor, n, others});
    };
    Tensor<double> squares = workspace<double>(memory, 1, order);
    const auto vectors_of = [&](Tensor<double>& gram) {
        const Index rank = S::eigh_leading(gram.matrix(), squares.span(), choose, memory);
        require<error>(rank >= 0, "HOSVD: the eigenvalues of mode ", mode, " of a tensor ", shape_text(x.shape),
                       " did not converge");
        Tensor<T> vectors = workspace<T>(memory, order, rank);
        S::convert(vectors.matrix(), std::as_const(gram).matrix().col_block(0, rank));
        return vectors;
    };
    if (n <= others) {
        Tensor<double> gram = mode_gram_in_double<S, T, N>(x, mode, memory);
        return vectors_of(gram);
    }
    // X_(m) is tall: eigenvectors V of X_(m)ᵀ X_(m), then U = X_(m) V diag(1/s). Only an inner mode needs the
    // unfolding.
    Tensor<T> copied = workspace<T>(memory, 0, 0);
    ConstMatrixView<T> unfolded;
    if (parts.shape[2] == 1) {
        unfolded = parts.rows_by(1).transposed();
    } else if (parts.shape[0] == 1) {
        unfolded = parts.slice(0);
    } else {
        copied = unfold<S, T, N>(x, mode, memory);
        unfolded = std::as_const(copied).matrix();
    }
    Tensor<double> gram = workspace<double>(memory, others, others);
    S::gram(gram.matrix(), 0.0, unfolded, memory);
    const Tensor<T> vectors = vectors_of(gram);
    Tensor<T> basis = workspace<T>(memory, n, vectors.shape()[1]);
    if (!linalg::detail::left_from_right<S, T>(basis.matrix(), unfolded, vectors.matrix(), values, memory)) {
        S::multiply(basis.matrix(), T(1), unfolded, vectors.matrix(), T(0), memory);
        (void)S::orthonormalize(basis.matrix(), memory);
    }
    return basis;
}

}  // namespace wasi::tensor::detail
