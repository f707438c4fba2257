#pragma once
#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/storage/eigen/family.hpp"

namespace wasi::linalg {

/// How a computation ended.
enum class Status {
    ok,
    rank_limit,     ///< the rule asked for more than max_rank
    not_converged,  ///< an iteration inside did not converge; the factors are not to be trusted
};

/// Which way a decomposition was computed.
enum class Route { dense, randomized };

struct SvdInfo {
    Status status = Status::ok;
    Index rank = 0;
    double captured_energy = 0.0;  ///< sum of the kept s² over ||A||_F²; 1 for a zero matrix
    Index passes = 0;              ///< how often A was read
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
[[nodiscard]] double rounding_floor(const SvdFactors<T>& factors)
{
    const auto longer = static_cast<double>(std::max(factors.u.shape()[0], factors.v.shape()[0]));
    return factors.s.size() == 0 ? 0.0
                                 : longer * static_cast<double>(epsilon<T>) * static_cast<double>(factors.s.data()[0]);
}

}  // namespace detail

/// Keeps what the rule asks for. `total` is ||A||_F² of the matrix that the factors approximate.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> truncate(SvdFactors<T> full, const TruncatedSvdOptions& options, double total,
                                     Memory& memory)
{
    const std::vector<double> values(full.s.span().begin(), full.s.span().end());
    const Index wanted = options.rank.choose({values, total, total, detail::rounding_floor(full)});
    const Index rank = std::min(wanted, options.max_rank);
    SvdFactors<T> result{workspace<T>(memory, full.u.shape()[0], rank), workspace<T>(memory, 1, rank),
                         workspace<T>(memory, full.v.shape()[0], rank), full.info};
    S::copy(result.u.matrix(), full.u.matrix().col_block(0, rank));
    S::copy(result.s.matrix(), full.s.matrix().col_block(0, rank));
    S::copy(result.v.matrix(), full.v.matrix().col_block(0, rank));
    double kept = 0.0;
    for (Index j = 0; j < rank; ++j) {
        kept += values[static_cast<std::size_t>(j)] * values[static_cast<std::size_t>(j)];
    }
    result.info.rank = rank;
    result.info.captured_energy = total > 0.0 ? std::min(1.0, kept / total) : 1.0;
    if (rank < wanted && result.info.status == Status::ok) {
        result.info.status = Status::rank_limit;
    }
    return result;
}

/// The best rank-k approximation by a dense SVD (Eckart, Young 1936), k chosen by the rule.
/// Throws argument_error on NaN or infinity, shape_error on an empty A.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> truncated_svd(ConstMatrixView<T> a, const TruncatedSvdOptions& options, Memory& memory)
{
    require<shape_error>(a.size() > 0, "truncated_svd: empty matrix ", shape_text(a.shape()));
    require<argument_error>(options.max_rank >= 1, "truncated_svd: max_rank is ", options.max_rank);
    require_finite<S, T>(a, "truncated_svd", "a");
    const double total = S::dot(a, a);
    return truncate<S, T>(thin_svd<S, T>(a, memory), options, total, memory);
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
