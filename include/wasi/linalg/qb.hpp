#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/sketched_svd.hpp"

namespace wasi::linalg {

struct QbOptions {
    /// ||A - Q B||_F is to be at most this share of ||A||_F.
    double tolerance = 1e-6;
    /// Never more columns than this; where the tolerance needs more, the status is rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
    /// Columns by which Q grows. Wider blocks are faster, narrower ones stop nearer to the least rank.
    Index block = 32;
    /// Power iterations of each block, or steps of the block Krylov method between random blocks: two passes each. One
    /// keeps Q near the best width also where the spectrum decays slowly.
    Index power_iterations = 1;
    /// As in RandomizedSvdOptions.
    Index probes = as_needed;
    /// Krylov: blocks after the first come from A (AᵀQ), in two passes where one power iteration needs four.
    SketchMethod method = SketchMethod::subspace_iteration;
    /// An operator's Q and B take at most this many bytes together; the status is rank_limit where that binds.
    std::size_t memory_limit = std::size_t{1} << 30;
};

struct QbInfo {
    Status status = Status::ok;
    Index rank = 0;
    double residual_estimate = -1.0;  ///< of ||A - Q B||_F; measured where a matrix is at hand
    double residual_bound = -1.0;     ///< ||A - Q B||_F is at most this, except with probability bound_failure
    double bound_failure = 0.0;
    Index passes = 0;
};

/// A ~ Q B, Q (m,k) with orthonormal columns, B = QᵀA (k,n), as booked tensors.
template <Scalar T>
struct QbFactors {
    Tensor<T> q;
    Tensor<T> b;
    QbInfo info;
};

/// The same in the types of the matrix they came from.
template <class Matrix>
struct Qb {
    Matrix q;
    Matrix b;
    QbInfo info;
};

namespace detail {

/// Q and B from the first k columns of a sketch.
template <class S, Scalar T>
[[nodiscard]] QbFactors<T> cut_qb(ConstMatrixView<T> basis, ConstMatrixView<T> projected, Index k, int exponent,
                                  Memory& memory)
{
    QbFactors<T> result{workspace<T>(memory, basis.rows, k), workspace<T>(memory, k, projected.rows), {}};
    S::copy(result.q.matrix(), basis.col_block(0, k));
    S::add_scaled(result.b.matrix(), T(0), static_cast<T>(power_of_two(exponent)),
                  projected.col_block(0, k).transposed());
    result.info.rank = k;
    return result;
}

/// sum_{i>=j} ||b_i||² for the rows b_i of B, j = 0 ... w: what Q B loses when it keeps j columns.
template <class S, Scalar T>
[[nodiscard]] std::vector<double> tail_energies(ConstMatrixView<T> projected)
{
    std::vector<double> tails(static_cast<std::size_t>(projected.cols) + 1, 0.0);
    for (Index j = projected.cols; j-- > 0;) {
        const auto row = projected.col_block(j, 1);
        tails[static_cast<std::size_t>(j)] = tails[static_cast<std::size_t>(j) + 1] + S::dot(row, row);
    }
    return tails;
}

/// ||2^-e A - Q B||_F of the whole sketch, formed in double.
template <class S, Scalar T, class Operator>
[[nodiscard]] double measured_sketch(const GuardedOperator<S, T, Operator>& a,
                                     const RangeFinder<S, T, Operator>& finder, Memory& memory)
{
    const MatrixAtScale<S, T> scaled(a.inner().dense(), a.exponent(), memory);
    const ConstMatrixView<T> view = scaled.view();
    return view.rows < view.cols
               ? residual_of_rows<S, T>(view.transposed(), finder.projected(), {}, finder.basis(), memory)
               : residual_of_rows<S, T>(view, finder.basis(), {}, finder.projected(), memory);
}

template <class S, Scalar T, class Operator>
[[nodiscard]] QbFactors<T> qb(GuardedOperator<S, T, Operator>& a, double squared_norm, const QbOptions& options,
                              RandomKey key, Memory& memory)
{
    constexpr bool matrix = has_matrix<Operator>;
    const Index smaller = std::min(a.rows(), a.cols());
    const int norm_exponent = a.exponent();
    Index widest = std::min(options.max_rank, smaller);
    if constexpr (!matrix) {
        widest = std::clamp<Index>(
            static_cast<Index>(options.memory_limit / sizeof(T)) / std::max<Index>(1, a.rows() + a.cols()), 1, widest);
    }
    const Index probes = options.probes == as_needed ? (matrix ? 8 : 16) : std::max<Index>(options.probes, 2);
    const double factor = norm_bound_factor(probes, bound_failure);
    RangeFinder<S, T, Operator> finder(a, probes, key, memory);
    double beyond = 0.0;  // ||A - Q B||², or a bound of it
    double total = 0.0;
    double estimate = 0.0;
    double slack = 0.0;
    bool measured = false;
    Status status = Status::ok;
    for (;;) {
        const Index width = std::min(finder.width() + std::min(options.block, widest), widest);
        if (options.method == SketchMethod::block_krylov && finder.width() > 0) {
            finder.extend(width - finder.width());
        } else {
            finder.widen(width, {options.power_iterations, options.power_iterations});
        }
        estimate = finder.residual_squared();
        const double known = std::ldexp(squared_norm, 2 * (norm_exponent - a.exponent()));
        const double seen = S::dot(finder.projected(), finder.projected());
        total = std::isnormal(known) && known > 0.0 ? known : seen + estimate;
        const double allowed = options.tolerance * options.tolerance * total;
        slack = factor_rounding<T> * std::sqrt(total);
        beyond = factor * estimate;
        if constexpr (matrix) {
            // The estimate says when it is worth forming the difference.
            measured = estimate <= 2.0 * allowed || finder.width() == widest;
            if (measured) {
                const double error = measured_sketch<S, T, Operator>(a, finder, memory);
                beyond = error * error;
            }
        }
        // Fresh vectors do not see what the elements of B are rounded by.
        if (std::sqrt(beyond) + (measured ? 0.0 : slack) <= std::sqrt(allowed)) {
            break;
        }
        // Below what the products' own rounding leaves, no further column helps.
        const double blur = 16.0 * static_cast<double>(epsilon<T>);
        const bool blind = estimate <= blur * blur * total && beyond <= 4.0 * factor * blur * blur * total;
        if (finder.width() == widest || blind) {
            status = widest < smaller && !blind ? Status::rank_limit : Status::rule_not_met;
            break;
        }
    }
    // Columns of the last block that the tolerance does not need; rows of B are orthogonal parts of A's energy.
    const std::vector<double> tails = tail_energies<S, T>(finder.projected());
    Index k = finder.width();
    const double most = options.tolerance * std::sqrt(total) - slack;
    while (status == Status::ok && k > 1 && std::sqrt(beyond + tails[static_cast<std::size_t>(k) - 1]) <= most) {
        --k;
    }
    const double cut = tails[static_cast<std::size_t>(k)];
    QbFactors<T> result = cut_qb<S, T>(finder.basis(), finder.projected(), k, a.exponent(), memory);
    result.info.status = status;
    result.info.residual_estimate = std::ldexp(std::sqrt((measured ? beyond : estimate) + cut), a.exponent());
    result.info.residual_bound = std::ldexp(std::sqrt(beyond + cut) + slack, a.exponent());
    result.info.bound_failure = measured ? 0.0 : bound_failure;
    result.info.passes = a.passes() + (squared_norm > 0.0 ? 1 : 0);
    return result;
}

inline void check_options(const QbOptions& options, Index rows, Index cols)
{
    require<shape_error>(rows > 0 && cols > 0, "qb: empty matrix (", rows, ", ", cols, ")");
    require<argument_error>(options.tolerance >= 0.0 && options.tolerance < 1.0,
                            "qb: tolerance must be in [0, 1), got ", options.tolerance);
    require<argument_error>(options.max_rank >= 1, "qb: max_rank is ", options.max_rank);
    require<argument_error>(options.block >= 1, "qb: block is ", options.block);
    require<argument_error>(options.power_iterations >= 0, "qb: power_iterations is ", options.power_iterations);
    require<argument_error>(options.probes >= 0 || options.probes == as_needed, "qb: probes is ", options.probes);
}

}  // namespace detail

/// A ~ Q B to a tolerance: Q (m,k) with orthonormal columns, B = QᵀA (k,n), ||A - Q B||_F <= tolerance ||A||_F.
///
/// Method: the blocked adaptive range finder randQB_EI (Yu, Gu, Li 2018), with two differences. The error is never
/// ||A||² - ||B||², whose digits end at 1e-8 of ||A||: of a matrix the difference A - Q B is formed and measured once
/// the estimate says that it may do; of an operator it is bounded by what is left of fresh random vectors (see
/// norm_bound_factor). And blocks are projected twice, so that Q is orthonormal to rounding. Columns of the last block
/// that the tolerance does not need are cut.
/// Error: met by the true error, or the status says rank_limit or rule_not_met (a tolerance below rounding).
/// Throws as randomized_svd. Cost about 2 mnk (2 + 2 power_iterations) + 2 m k² flops, and 2 mnk for each measuring.
/// Example: examples/operator_svd.cpp
template <class S, Scalar T, class Operator>
requires StorageFor<S, T> && LinearOperator<Operator, T>
[[nodiscard]] QbFactors<T> qb(const Operator& a, const QbOptions& options, RandomKey key, Memory& memory)
{
    detail::check_options(options, a.rows(), a.cols());
    int exponent = 0;
    if constexpr (requires { a.largest(); }) {
        exponent = scale_exponent<T>(a.largest());
    }
    detail::GuardedOperator<S, T, Operator> guarded(a, "qb", exponent);
    return detail::qb<S, T, Operator>(guarded, detail::known_squared_norm(guarded), options, key, memory);
}

/// The same for a matrix.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] QbFactors<T> qb(ConstMatrixView<T> a, const QbOptions& options, RandomKey key, Memory& memory)
{
    detail::check_options(options, a.rows, a.cols);
    return detail::with_scaled_operator<S, T>(a, "qb", memory, [&](auto& guarded, double squared_norm) {
        return detail::qb<S, T>(guarded, squared_norm, options, key, memory);
    });
}

/// Factors of the engine in the types of a user's matrix.
template <MatrixLike A, Scalar T>
[[nodiscard]] auto as_family(const QbFactors<T>& factors)
{
    using F = Family<A>;
    using S = typename F::Storage;
    const Index k = factors.info.rank;
    Qb<typename F::Matrix> result{F::make_matrix(factors.q.shape()[0], k), F::make_matrix(k, factors.b.shape()[1]),
                                  factors.info};
    S::copy(F::view(result.q), factors.q.matrix());
    S::copy(F::view(result.b), factors.b.matrix());
    return result;
}

/// What is no matrix of float or double, and a call without a key, is refused when compiling, with one sentence.
Qb<Eigen::MatrixXd> qb(wasi::detail::NotAMatrix a, const QbOptions& options, RandomKey key,
                       Memory& memory = plain_memory());
Qb<Eigen::MatrixXd> qb(wasi::detail::WithoutKey a, const QbOptions& options = {});
Qb<Eigen::MatrixXd> qb(wasi::detail::Anything a, const QbOptions& options, wasi::detail::NotAKey key,
                       Memory& memory = plain_memory());

/// The same for a user's matrix; Q and B are of the same kind.
template <MatrixLike A>
[[nodiscard]] auto qb(const A& a, const QbOptions& options, RandomKey key, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        return as_family<A>(qb<typename F::Storage, typename F::Scalar>(view, options, key, memory));
    });
}

WASI_COMPILED(WASI_LINALG_QB)

}  // namespace wasi::linalg
