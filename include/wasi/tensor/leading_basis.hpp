#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/status.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/tensor/mode_product.hpp"
#include "wasi/tensor/mode_rank.hpp"

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

/// The basis of a mode. Status not_converged: no eigenvalues were to be had; the basis spans all of the mode, which
/// loses nothing and saves nothing.
template <Scalar T>
struct ModeBasis {
    Tensor<T> u;
    linalg::Status status = linalg::Status::ok;
};

/// X_(m) as a matrix. Only an inner mode needs a copy, which goes into `copied`.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] ConstMatrixView<T> unfolded_into(Tensor<T>& copied, ConstTensorView<T, N> x, std::size_t mode,
                                               Memory& memory)
{
    const auto parts = x.around(mode);
    if (parts.shape[2] == 1) {
        return parts.rows_by(1).transposed();
    }
    if (parts.shape[0] == 1) {
        return parts.slice(0);
    }
    copied = unfold<S, T, N>(x, mode, memory);
    return std::as_const(copied).matrix();
}

/// The first `count` columns.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> leading_columns(ConstMatrixView<T> a, Index count, Memory& memory)
{
    Tensor<T> result = workspace<T>(memory, a.rows, count);
    S::copy(result.matrix(), a.col_block(0, count));
    return result;
}

/// A basis of all of X_(m) (n, others): the unit vectors, or an orthonormal basis of the columns where these are fewer.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] ModeBasis<T> whole_basis(ConstMatrixView<T> unfolded, Memory& memory)
{
    const Index order = std::min(unfolded.rows, unfolded.cols);
    Tensor<T> basis = workspace<T>(memory, unfolded.rows, order);
    if (order < unfolded.rows) {
        S::copy(basis.matrix(), unfolded);
        static_cast<void>(S::orthonormalize(basis.matrix(), memory));
    } else {
        S::fill(basis.matrix(), T(0));
        S::fill(basis.matrix().diagonal(), T(1));
    }
    return {std::move(basis), linalg::Status::not_converged};
}

/// What is at or below this in a singular value of a computed (n, others) matrix of this norm is rounding. The first
/// term bounds what rounding every element to T can do; the second is what a backward stable SVD adds.
template <Scalar T>
[[nodiscard]] double mode_floor(double norm, double largest, Index order)
{
    const auto unit = static_cast<double>(epsilon<T>);
    return sizeof(T) < sizeof(double) ? unit * norm
                                      : unit * (norm + 2.0 * std::sqrt(static_cast<double>(order)) * largest);
}

/// By the SVD of the unfolding itself: values down to rounding. About 6 m n² + 20 n³ flops, n the shorter side, serial;
/// workspace for three copies of X.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] ModeBasis<T> basis_by_svd(ConstMatrixView<T> unfolded, const linalg::RankRule& rule,
                                        const Unfolding& from, Memory& memory)
{
    linalg::SvdFactors<T> svd = linalg::thin_svd<S, T>(unfolded, memory);
    if (svd.info.status != linalg::Status::ok) {
        return whole_basis<S, T>(unfolded, memory);
    }
    const std::vector<double> values(svd.s.span().begin(), svd.s.span().end());
    double squares = 0.0;
    for (const double value : values) {
        squares += value * value;
    }
    const double floor = mode_floor<T>(std::sqrt(squares), values.front(), std::min(unfolded.rows, unfolded.cols));
    ModeBasis<T> result;
    result.u = leading_columns<S, T>(std::as_const(svd.u).matrix(), count_to_keep(rule, values, floor, from), memory);
    static_cast<void>(S::cholesky_orthonormalize(result.u.matrix(), memory));  // what the products inside left
    return result;
}

/// The leading left singular vectors of X_(m), as many as the rule asks for; energies relative to `reference`, `beyond`
/// of which the mode has lost before. Through the Gram matrix of the shorter side, of order n, in double. Squares are
/// then right to n epsilon of the largest, epsilon that of double: in float that is below the rounding of the data; in
/// double it is sqrt(n epsilon) of the largest value, and where a rule looks below that, the SVD of the unfolding
/// decides.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] ModeBasis<T> mode_basis(ConstTensorView<T, N> x, std::size_t mode, const linalg::RankRule& rule,
                                      double reference, Memory& memory, double beyond = 0.0)
{
    constexpr bool wide = sizeof(T) == sizeof(double);
    const Index n = x.shape[mode];
    const Index others = n == 0 ? 0 : x.size() / n;
    const Index order = std::min(n, others);
    const Unfolding from{n, others, reference, beyond};
    std::vector<double> values(static_cast<std::size_t>(order));
    bool undecided = false;
    const ChooseCount choose = [&](std::span<const double> squares) -> Index {
        if constexpr (wide) {
            const double delta = static_cast<double>(order) * epsilon<double> * std::max(0.0, squares.front());
            const std::optional<Index> count = count_by_squares(rule, squares, delta, values, from);
            undecided = !count.has_value();
            return count.value_or(0);
        } else {
            double total = 0.0;
            std::transform(squares.begin(), squares.end(), values.begin(),
                           [](double square) { return std::sqrt(std::max(0.0, square)); });
            for (const double value : values) {
                total += value * value;
            }
            return count_to_keep(rule, values, mode_floor<T>(std::sqrt(total), values.front(), order), from);
        }
    };
    Tensor<T> copied;
    Tensor<double> squares = host_row<double>(memory, order);
    const bool tall = n > others;
    Tensor<double> gram;
    ConstMatrixView<T> unfolded;
    if (tall) {
        unfolded = unfolded_into<S, T, N>(copied, x, mode, memory);
        gram = workspace<double>(memory, others, others);
        S::gram(gram.matrix(), 0.0, unfolded, memory);
    } else {
        gram = mode_gram_in_double<S, T, N>(x, mode, memory);
    }
    const Index rank = S::eigh_leading(gram.matrix(), squares.span(), choose, memory);
    squares.reset();
    if (rank < 0 || undecided) {
        gram.reset();
        unfolded = tall ? unfolded : unfolded_into<S, T, N>(copied, x, mode, memory);
        if constexpr (wide) {
            return basis_by_svd<S, T>(unfolded, rule, from, memory);
        } else {
            return whole_basis<S, T>(unfolded, memory);
        }
    }
    Tensor<T> vectors = workspace<T>(memory, order, rank);
    S::convert(vectors.matrix(), std::as_const(gram).matrix().col_block(0, rank));
    if (!tall) {
        return {std::move(vectors)};
    }
    // Eigenvectors V of X_(m)ᵀ X_(m), then U = X_(m) V diag(1/s).
    Tensor<T> basis = workspace<T>(memory, n, rank);
    const ConstMatrixView<T> right = std::as_const(vectors).matrix();
    if (!linalg::detail::left_from_right<S, T>(basis.matrix(), unfolded, right, values, memory)) {
        S::multiply(basis.matrix(), T(1), unfolded, right, T(0), memory);
        static_cast<void>(S::orthonormalize(basis.matrix(), memory));
    }
    return {std::move(basis)};
}

/// mode_basis for those who have no status to hand on: throws error when the eigenvalues of a finite matrix do not
/// converge, which no input is known to cause.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> leading_basis(ConstTensorView<T, N> x, std::size_t mode, const linalg::RankRule& rule,
                                      double reference, Memory& memory)
{
    ModeBasis<T> basis = mode_basis<S, T, N>(x, mode, rule, reference, memory);
    require<error>(basis.status == linalg::Status::ok, "HOSVD: the eigenvalues of mode ", mode, " of a tensor ",
                   shape_text(x.shape), " did not converge");
    return std::move(basis.u);
}

}  // namespace wasi::tensor::detail
