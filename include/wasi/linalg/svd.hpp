#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/status.hpp"
#include "wasi/storage/eigen/family.hpp"

namespace wasi::linalg {

/// Which way a decomposition was computed.
enum class Route { dense, randomized };

struct SvdInfo {
    Status status = Status::ok;
    Index rank = 0;
    /// sum of the kept s² over ||A||_F², in double; 1 for a zero matrix. 1 - captured_energy is a difference of sums:
    /// it says nothing about a relative error below 1e-8 (sqrt of double's epsilon), in float below 3e-4 times the
    /// error of the factors themselves. See residual_estimate.
    double captured_energy = 0.0;
    /// ||A - U diag(s) Vᵀ||_F, or an estimate of it that has no such floor: the dense route sums the discarded s², the
    /// randomized one applies what is left to random vectors. Negative when it was not asked for.
    double residual_estimate = -1.0;
    Index passes = 0;  ///< how often A was read
    Route route = Route::dense;
};

/// U (m,k), s (k), V (n,k) as booked tensors.
template <Scalar T>
struct SvdFactors {
    Tensor<T> u;
    Tensor<T> s;
    Tensor<T> v;
    SvdInfo info;
};

/// U, s, V in the types of the matrix they came from.
template <class Matrix, class Vector>
struct Svd {
    Matrix u;
    Vector s;
    Matrix v;
    SvdInfo info;
};

struct TruncatedSvdOptions {
    RankRule rank = Energy{1.0};
    Index max_rank = std::numeric_limits<Index>::max();
};

/// Thin SVD A = U diag(s) Vᵀ, k = min(m,n). Cost about 6 mn² + 20 n³ flops for m >= n.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> thin_svd(ConstMatrixView<T> a, Memory& memory)
{
    const Index k = std::min(a.rows, a.cols);
    SvdFactors<T> result{
        workspace<T>(memory, a.rows, k), workspace<T>(memory, 1, k), workspace<T>(memory, a.cols, k), {}};
    result.info.rank = k;
    result.info.captured_energy = 1.0;
    result.info.passes = 1;
    if (!S::svd(a, result.u.matrix(), result.s.span(), result.v.matrix(), memory)) {
        result.info.status = Status::not_converged;
    }
    return result;
}

namespace detail {

/// Singular values at or below this are rounding, not data: the longer side times epsilon times the largest.
template <Scalar T>
[[nodiscard]] double rounding_floor(Index rows, Index cols, std::span<const double> values)
{
    return values.empty() ? 0.0
                          : static_cast<double>(std::max(rows, cols)) * static_cast<double>(epsilon<T>) * values[0];
}

}  // namespace detail

/// Asked once all singular values (descending) are known: how many triplets to compute.
using ChooseRank = std::function<Index(std::span<const double>)>;

namespace detail {

/// U = A V diag(1/s), made orthonormal to rounding from the first column on (CholeskyQR: columns keep their sign). The
/// later ones, of small s, carry the larger errors; a correction that shared them out would spoil the leading ones.
/// False when columns are too far from orthonormal: values so small that A V is mostly rounding.
template <class S, Scalar T>
[[nodiscard]] bool left_from_right(MatrixView<T> u, ConstMatrixView<T> a, ConstMatrixView<T> v,
                                   std::span<const double> s, Memory& memory)
{
    const Index k = v.cols;
    Tensor<T> scaled = workspace<T>(memory, v.rows, k);
    for (Index j = 0; j < k; ++j) {
        const double value = s[static_cast<std::size_t>(j)];
        if (!(value > 0.0)) {
            return false;
        }
        S::add_scaled(scaled.matrix().col_block(j, 1), T(0), static_cast<T>(1.0 / value), v.col_block(j, 1));
    }
    S::multiply(u, T(1), a, std::as_const(scaled).matrix(), T(0), memory);
    Tensor<T> gram = workspace<T>(memory, k, k);
    S::multiply(gram.matrix(), T(1), u.transposed(), u, T(0), memory);
    for (Index j = 0; j < k; ++j) {
        gram.matrix()(j, j) -= T(1);
    }
    const double defect = std::sqrt(S::dot(std::as_const(gram).matrix(), gram.matrix()));
    if (defect <= 2.0 * std::sqrt(static_cast<double>(k)) * static_cast<double>(epsilon<T>)) {
        return true;
    }
    return defect < 0.3 && S::cholesky_orthonormalize(u, memory) >= 0;
}

/// The leading triplets of a tall float matrix: eigenvectors of AᵀA in double, where the squares of float values lose
/// nothing that float had, then U = A V diag(1/s). Empty when that is not accurate: tiny values are wanted, or the
/// iteration did not converge. m n² + 4/3 n³ + 4 (m + n) n k flops, against 6 m n² + 20 n³ of thin_svd.
template <class S, Scalar T>
[[nodiscard]] std::optional<SvdFactors<T>> svd_by_gram(ConstMatrixView<T> a, const ChooseRank& choose, Memory& memory)
{
    const Index n = a.cols;
    Tensor<double> gram = workspace<double>(memory, n, n);
    Tensor<double> squares = workspace<double>(memory, 1, n);
    S::gram(gram.matrix(), 0.0, a, memory);
    std::vector<double> values(static_cast<std::size_t>(n));
    const Index k = S::eigh_leading(
        gram.matrix(), squares.span(),
        [&](std::span<const double> w) {
            std::transform(w.begin(), w.end(), values.begin(), [](double x) { return std::sqrt(std::max(x, 0.0)); });
            return choose(values);
        },
        memory);
    if (k < 0) {
        return std::nullopt;
    }
    SvdFactors<T> result{workspace<T>(memory, a.rows, k), workspace<T>(memory, 1, k), workspace<T>(memory, n, k), {}};
    S::convert(result.v.matrix(), std::as_const(gram).matrix().col_block(0, k));
    for (Index j = 0; j < k; ++j) {
        result.s.data()[j] = static_cast<T>(values[static_cast<std::size_t>(j)]);
    }
    if (!left_from_right<S, T>(result.u.matrix(), a, std::as_const(result.v).matrix(), values, memory)) {
        return std::nullopt;
    }
    result.info.rank = k;
    result.info.passes = 2;
    return result;
}

/// The first k triplets.
template <class S, Scalar T>
[[nodiscard]] SvdFactors<T> leading(SvdFactors<T> full, Index k, Memory& memory)
{
    if (k == full.s.size()) {
        return full;
    }
    SvdFactors<T> result{workspace<T>(memory, full.u.shape()[0], k), workspace<T>(memory, 1, k),
                         workspace<T>(memory, full.v.shape()[0], k), full.info};
    S::copy(result.u.matrix(), full.u.matrix().col_block(0, k));
    S::copy(result.s.matrix(), full.s.matrix().col_block(0, k));
    S::copy(result.v.matrix(), full.v.matrix().col_block(0, k));
    result.info.rank = k;
    return result;
}

/// Sets captured energy and status once a rule has chosen. `wanted` is what the rule asked for.
template <Scalar T>
void account(SvdFactors<T>& factors, double total, Index wanted)
{
    double kept = 0.0;
    for (const T value : factors.s.span()) {
        kept += static_cast<double>(value) * static_cast<double>(value);
    }
    factors.info.rank = factors.s.size();
    factors.info.captured_energy = total > 0.0 ? std::min(1.0, kept / total) : 1.0;
    if (factors.info.rank < wanted && factors.info.status == Status::ok) {
        factors.info.status = Status::rank_limit;
    }
}

}  // namespace detail

/// The leading triplets of A, as many as `choose` says when it sees all singular values. Float matrices go through
/// their Gram matrix in double, and only the chosen vectors are computed; where that would not be accurate, and for
/// double, all triplets are. `residual_estimate` is the root of the sum of the discarded squares.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> leading_svd(ConstMatrixView<T> a, const ChooseRank& choose, Memory& memory)
{
    double tail = 0.0;
    const ChooseRank count = [&](std::span<const double> values) {
        const Index k = std::clamp<Index>(choose(values), 0, static_cast<Index>(values.size()));
        tail = 0.0;
        for (const double value : values.subspan(static_cast<std::size_t>(k))) {
            tail += value * value;
        }
        return k;
    };
    const auto finish = [&](SvdFactors<T> factors) {
        factors.info.residual_estimate = std::sqrt(tail);
        return factors;
    };
    if constexpr (sizeof(T) < sizeof(double)) {
        const bool tall = a.rows >= a.cols;
        auto quick = detail::svd_by_gram<S, T>(tall ? a : a.transposed(), count, memory);
        if (quick) {
            if (!tall) {
                std::swap(quick->u, quick->v);
            }
            return finish(std::move(*quick));
        }
    }
    SvdFactors<T> full = thin_svd<S, T>(a, memory);
    const std::vector<double> values(full.s.span().begin(), full.s.span().end());
    const Index k = count(values);
    SvdFactors<T> kept = detail::leading<S, T>(std::move(full), k, memory);
    // What the products inside left of rounding goes.
    (void)S::cholesky_orthonormalize(kept.u.matrix(), memory);
    (void)S::cholesky_orthonormalize(kept.v.matrix(), memory);
    return finish(std::move(kept));
}

/// The best rank-k approximation (Eckart, Young 1936), k chosen by the rule, by a dense SVD: see leading_svd. About m
/// n²
/// + 4/3 n³ + 4 (m + n) n k flops in float for m >= n, 6 m n² + 20 n³ in double.
/// Throws argument_error on NaN or infinity, shape_error on an empty A.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> truncated_svd(ConstMatrixView<T> a, const TruncatedSvdOptions& options, Memory& memory)
{
    require<shape_error>(a.size() > 0, "truncated_svd: empty matrix ", shape_text(a.shape()));
    require<argument_error>(options.max_rank >= 1, "truncated_svd: max_rank is ", options.max_rank);
    require_finite<S, T>(a, "truncated_svd", "a");
    const double total = S::dot(a, a);
    Index wanted = 0;
    SvdFactors<T> result = leading_svd<S, T>(
        a,
        [&](std::span<const double> values) {
            wanted = options.rank.choose(
                {values, total, total, detail::rounding_floor<T>(a.rows, a.cols, values), a.rows, a.cols});
            return std::min(wanted, options.max_rank);
        },
        memory);
    detail::account(result, total, wanted);
    return result;
}

/// Factors of the engine in the types of a user's matrix.
template <MatrixLike A, Scalar T>
[[nodiscard]] auto as_family(const SvdFactors<T>& factors)
{
    using F = Family<A>;
    using S = typename F::Storage;
    const Index k = factors.info.rank;
    Svd<typename F::Matrix, typename F::Vector> result{F::make_matrix(factors.u.shape()[0], k), F::make_vector(k),
                                                       F::make_matrix(factors.v.shape()[0], k), factors.info};
    S::copy(F::view(result.u), factors.u.matrix());
    S::copy(as_row(F::span(result.s)), factors.s.matrix());
    S::copy(F::view(result.v), factors.v.matrix());
    return result;
}

/// truncated_svd for a user's matrix; U, s and V are of the same kind.
template <MatrixLike A>
[[nodiscard]] auto truncated_svd(const A& a, const TruncatedSvdOptions& options = {}, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        return as_family<A>(truncated_svd<typename F::Storage, typename F::Scalar>(view, options, memory));
    });
}

}  // namespace wasi::linalg
