#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/residual.hpp"
#include "wasi/linalg/signs.hpp"
#include "wasi/linalg/svd_factors.hpp"
#include "wasi/storage/eigen/family.hpp"
#include "wasi/storage/scale.hpp"

namespace wasi::linalg {

struct TruncatedSvdOptions {
    RankRule rank = Energy{1.0};
    Index max_rank = std::numeric_limits<Index>::max();
    Signs signs = Signs::largest_right_positive;
};

/// Thin SVD A = U diag(s) Vᵀ, k = min(m,n). Cost about 6 mn² + 20 n³ flops for m >= n.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> thin_svd(ConstMatrixView<T> a, Memory& memory)
{
    const Index k = std::min(a.rows, a.cols);
    SvdFactors<T> result{workspace<T>(memory, a.rows, k), host_row<T>(memory, k), workspace<T>(memory, a.cols, k), {}};
    result.info.rank = k;
    result.info.captured_energy = 1.0;
    result.info.passes = 1;
    if (!S::svd(a, result.u.matrix(), result.s.span(), result.v.matrix(), memory)) {
        result.info.status = Status::not_converged;
    }
    return result;
}

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
    S::add_constant(gram.matrix().diagonal(), T(-1));
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
    Tensor<double> squares = host_row<double>(memory, n);
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
    SvdFactors<T> result{workspace<T>(memory, a.rows, k), host_row<T>(memory, k), workspace<T>(memory, n, k), {}};
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
    SvdFactors<T> result{workspace<T>(memory, full.u.shape()[0], k), host_row<T>(memory, k),
                         workspace<T>(memory, full.v.shape()[0], k), full.info};
    S::copy(result.u.matrix(), full.u.matrix().col_block(0, k));
    std::copy_n(full.s.data(), k, result.s.data());
    S::copy(result.v.matrix(), full.v.matrix().col_block(0, k));
    result.info.rank = k;
    return result;
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

namespace detail {

/// ||A - U diag(s) Vᵀ||_F, formed block by block in double; 2 m n k flops.
template <class S, Scalar T>
[[nodiscard]] double measured_residual(ConstMatrixView<T> a, const SvdFactors<T>& f, Memory& memory)
{
    if (a.rows < a.cols) {  // the copies in double are of the shorter side's factor and of blocks
        return residual_of_rows<S, T>(a.transposed(), f.v.matrix(), f.s.span(), f.u.matrix(), memory);
    }
    return residual_of_rows<S, T>(a, f.u.matrix(), f.s.span(), f.v.matrix(), memory);
}

/// A rule asked for an error near rounding: measures what the factors have. Where that is too much, the triplets that
/// `again` makes, every one that the matrix has, are tried; where that is not enough either, the status says so.
template <class S, Scalar T, class Again>
void measure(SvdFactors<T>& factors, ConstMatrixView<T> a, const RankRule& rule, const Spectrum& spectrum,
             Again&& again, Memory& memory)
{
    double error = measured_residual<S, T>(a, factors, memory);
    if (factors.info.status == Status::ok && !rule.met(error * error, factors.info.rank, spectrum)) {
        factors = again();
        error = measured_residual<S, T>(a, factors, memory);
        if (factors.info.status == Status::ok && !rule.met(error * error, factors.info.rank, spectrum)) {
            factors.info.status = Status::rule_not_met;
        }
    }
    factors.info.residual_estimate = error;
    factors.info.residual_bound = error;
}

/// truncated_svd of a matrix whose numbers are of ordinary size and known to be finite.
template <class S, Scalar T>
[[nodiscard]] SvdFactors<T> truncated_svd_at_scale(ConstMatrixView<T> a, int exponent,
                                                   const TruncatedSvdOptions& options, Memory& memory)
{
    const double total = S::dot(a, a);
    std::vector<double> all;
    Spectrum spectrum{{}, total, total, 0.0, a.rows, a.cols, 0.0, factor_rounding<T> * std::sqrt(total), exponent};
    const auto decompose = [&](auto choose) {
        Index wanted = 0;
        SvdFactors<T> result = leading_svd<S, T>(
            a,
            [&](std::span<const double> values) {
                all.assign(values.begin(), values.end());
                spectrum.values = all;
                spectrum.noise = rounding_floor<T>(a.rows, a.cols, all);
                wanted = choose();
                return std::min(wanted, options.max_rank);
            },
            memory);
        account(result, total, wanted);
        return result;
    };
    SvdFactors<T> result = decompose([&] { return options.rank.choose(spectrum); });
    result.info.residual_bound = result.info.residual_estimate + spectrum.rounding;
    const auto share = options.rank.allowed_share();
    if (share && std::sqrt(*share) < measured_below<T> && *share > 0.0 && total > 0.0) {
        const auto everything = [&] { return decompose([&] { return static_cast<Index>(all.size()); }); };
        measure<S, T>(result, a, options.rank, spectrum, everything, memory);
    }
    return result;
}

}  // namespace detail

/// The best rank-k approximation (Eckart, Young 1936), k chosen by the rule, by a dense SVD: see leading_svd. The rule
/// is met by the true error: where it asks for one near rounding, the difference is measured, and a rule that the type
/// cannot meet ends with Status::rule_not_met. The answer is the same at every scale that the type holds, whose squares
/// need not be numbers. About m n² + 4/3 n³ + 4 (m + n) n k flops in float for m >= n, 6 m n² + 20 n³ in double.
/// Throws argument_error on NaN or infinity, or singular values beyond the type, shape_error on an empty A.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> truncated_svd(ConstMatrixView<T> a, const TruncatedSvdOptions& options, Memory& memory)
{
    require<shape_error>(a.size() > 0, "truncated_svd: empty matrix ", shape_text(a.shape()));
    require<argument_error>(options.max_rank >= 1, "truncated_svd: max_rank is ", options.max_rank);
    const double largest = S::largest(a);
    require<argument_error>(std::isfinite(largest), "truncated_svd: a ", shape_text(a.shape()),
                            " holds NaN or infinity");
    const int exponent = scale_exponent<T>(largest);
    SvdFactors<T> result;
    if (exponent == 0) {
        result = detail::truncated_svd_at_scale<S, T>(a, 0, options, memory);
    } else {
        const detail::ScaledCopy<S, T> scaled(a, -exponent, memory);
        result = detail::truncated_svd_at_scale<S, T>(scaled.matrix(), exponent, options, memory);
        detail::rescale(result, exponent, "truncated_svd");
    }
    if (options.signs == Signs::largest_right_positive) {
        settle_signs<S, T>(result.u.matrix(), result.v.matrix(), memory);
    }
    return result;
}

/// What is no matrix of float or double is refused when compiling, with one sentence.
Svd<Eigen::MatrixXd, Eigen::VectorXd> truncated_svd(wasi::detail::NotAMatrix a, const TruncatedSvdOptions& options = {},
                                                    Memory& memory = plain_memory());

/// truncated_svd for a user's matrix; U, s and V are of the same kind.
template <MatrixLike A>
[[nodiscard]] auto truncated_svd(const A& a, const TruncatedSvdOptions& options = {}, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        return as_family<A>(truncated_svd<typename F::Storage, typename F::Scalar>(view, options, memory));
    });
}

WASI_COMPILED(WASI_LINALG_SVD)

}  // namespace wasi::linalg
