#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/factored.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/signs.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/storage/scale.hpp"

namespace wasi::linalg {

struct ProductSvdOptions {
    /// How many triplets to keep; the default keeps all above rounding.
    RankRule rank = Energy{1.0};
    /// Never more than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
    Signs signs = Signs::largest_right_positive;
};

namespace detail {

/// Columns of P and Q brought to sizes that multiply to that of p_j q_jᵀ over 2^exponent, by powers of two.
template <Scalar T>
struct BalancedPair {
    Tensor<T> p;
    Tensor<T> q;
    int exponent = 0;    // P Qᵀ = 2^exponent p qᵀ
    double terms = 0.0;  // sum of ||p_j|| ||q_j||: what rounding in P Qᵀ is relative to
};

/// The balanced pair. The product is the same to the last bit, whatever the sizes of P and Q and of their columns are,
/// and the largest |p_ij q_lj| is near 1. A pair of columns far below the rounding of the others becomes zero.
template <class S, Scalar T>
[[nodiscard]] BalancedPair<T> balanced(ConstMatrixView<T> p, ConstMatrixView<T> q, Memory& memory)
{
    constexpr int most = std::numeric_limits<T>::max_exponent - 3;  // 2^e and 2^-e are ordinary numbers
    constexpr int negligible = 4 * std::numeric_limits<T>::digits;
    const auto exponents = [&](ConstMatrixView<T> a) {
        std::vector<int> result(static_cast<std::size_t>(a.cols));
        for (Index j = 0; j < a.cols; ++j) {
            const double largest = S::largest(a.col_block(j, 1));
            int exponent = std::numeric_limits<int>::min();
            if (largest > 0.0) {
                static_cast<void>(std::frexp(largest, &exponent));
                exponent = std::clamp(exponent, -most, most);
            }
            result[static_cast<std::size_t>(j)] = exponent;
        }
        return result;
    };
    const std::vector<int> of_p = exponents(p);
    const std::vector<int> of_q = exponents(q);
    const auto absent = [&](std::size_t j) { return std::min(of_p[j], of_q[j]) == std::numeric_limits<int>::min(); };
    BalancedPair<T> result{workspace<T>(memory, p.rows, p.cols), workspace<T>(memory, q.rows, q.cols)};
    bool any = false;
    for (std::size_t j = 0; j < of_p.size(); ++j) {
        if (!absent(j)) {
            result.exponent = any ? std::max(result.exponent, of_p[j] + of_q[j]) : of_p[j] + of_q[j];
            any = true;
        }
    }
    for (Index j = 0; j < p.cols; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const auto to_p = result.p.matrix().col_block(j, 1);
        const auto to_q = result.q.matrix().col_block(j, 1);
        const int size = absent(at) ? -2 * negligible : of_p[at] + of_q[at] - result.exponent;  // <= 0
        const bool keep = size >= -negligible;
        const int share = size / 2;
        const auto factor = [&](int exponent) { return keep ? static_cast<T>(power_of_two(exponent)) : T(0); };
        S::add_scaled(to_p, T(0), factor(keep ? share - of_p[at] : 0), p.col_block(j, 1));
        S::add_scaled(to_q, T(0), factor(keep ? size - share - of_q[at] : 0), q.col_block(j, 1));
        result.terms += std::sqrt(S::dot(ConstMatrixView<T>(to_p), to_p) * S::dot(ConstMatrixView<T>(to_q), to_q));
    }
    return result;
}

/// A = Q C with orthonormal Q (rows, c), c = min(rows, cols): returns C, and A becomes Q. A wide A is its own C, Q = 1.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> split_off_basis(Tensor<T>& a, Memory& memory)
{
    const Index rows = a.shape()[0];
    const Index cols = a.shape()[1];
    if (rows <= cols) {
        Tensor<T> one = workspace<T>(memory, 0, 0);
        std::swap(a, one);
        return one;
    }
    Tensor<T> basis = workspace<T>(memory, rows, cols);
    Tensor<T> coefficients = workspace<T>(memory, cols, cols);
    S::copy(basis.matrix(), std::as_const(a).matrix());
    (void)orthonormalize_columns<S, T>(basis.matrix(), memory);
    S::multiply(coefficients.matrix(), T(1), ConstMatrixView<T>(basis.matrix().transposed()), std::as_const(a).matrix(),
                T(0), memory);
    a = std::move(basis);
    return coefficients;
}

}  // namespace detail

/// SVD P Qᵀ ~ U diag(s) Vᵀ, P (m,r), Q (n,r), without forming P Qᵀ (m,n): P = Q_P C_P and Q = Q_Q C_Q by QR, then the
/// SVD of the small C_P C_Qᵀ (Golub, Van Loan, "Matrix Computations", 5.4 and 8.6). Columns of P and Q are balanced
/// first by powers of two, so that only the product matters: p_j of size 1e150 beside q_j of size 1e-150 is as good as
/// 1 beside 1, and ill-conditioned P and Q do no harm. Error a small multiple of epsilon sum_j ||p_j|| ||q_j||, which
/// is what one rounding of P and Q changes. `residual_bound` includes it; a tolerance below it ends with
/// Status::rule_not_met. 4 (m + n) r² + 26 r³ flops, workspace 2 (m + n) r. Throws shape_error unless P and Q have
/// equally many columns and elements at all, argument_error on NaN or infinity, and where a singular value is larger
/// than T holds. This overload is the engine's. Example: examples/decompositions.cpp
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> product_svd(const Factored<T>& product, const ProductSvdOptions& options, Memory& memory)
{
    const auto p = product.p;
    const auto q = product.q;
    require<shape_error>(p.size() > 0 && q.size() > 0 && p.cols == q.cols, "product_svd: P ", shape_text(p.shape()),
                         " and Q ", shape_text(q.shape()), " do not fit");
    require<argument_error>(options.max_rank >= 1, "product_svd: max_rank is ", options.max_rank);
    require_finite<S, T>(p, "product_svd", "p");
    require_finite<S, T>(q, "product_svd", "q");
    detail::BalancedPair<T> pair = detail::balanced<S, T>(p, q, memory);
    const Tensor<T> left = detail::split_off_basis<S, T>(pair.p, memory);
    const Tensor<T> right = detail::split_off_basis<S, T>(pair.q, memory);
    Tensor<T> core = workspace<T>(memory, left.shape()[0], right.shape()[0]);
    S::multiply(core.matrix(), T(1), left.matrix(), right.matrix().transposed(), T(0), memory);
    const double total = S::dot(core.matrix(), core.matrix());
    const double rounding = static_cast<double>(epsilon<T>) * pair.terms;
    std::vector<double> all;
    Spectrum spectrum{{}, total, total, 0.0, p.rows, q.rows, 0.0, 4.0 * rounding};
    Index wanted = 0;
    SvdFactors<T> result = leading_svd<S, T>(
        std::as_const(core).matrix(),
        [&](std::span<const double> values) {
            all.assign(values.begin(), values.end());
            const auto found = static_cast<Index>(all.size());
            spectrum.noise = std::max(rounding, detail::rounding_floor<T>(p.cols, p.cols, values));
            if (options.rank.needs_all_values()) {  // those that are not in the core are zero
                all.resize(static_cast<std::size_t>(std::min(p.rows, q.rows)), 0.0);
            }
            spectrum.values = all;
            wanted = std::min(options.rank.choose(spectrum), found);
            return std::min(wanted, options.max_rank);
        },
        memory);
    const Index k = result.s.size();
    const double error = result.info.residual_estimate + spectrum.rounding;
    if (result.info.status == Status::ok) {
        result.info.status = k < wanted                                     ? Status::rank_limit
                             : options.rank.met(error * error, k, spectrum) ? Status::ok
                                                                            : Status::rule_not_met;
    }
    const double scale = power_of_two(pair.exponent);
    double energy = 0.0;
    for (T& value : result.s.span()) {
        energy += static_cast<double>(value) * static_cast<double>(value);
        const double size = static_cast<double>(value) * scale;
        require<argument_error>(size <= static_cast<double>(std::numeric_limits<T>::max()),
                                "product_svd: a singular value ", size, " is larger than its type holds");
        value = static_cast<T>(size);
    }
    result.info.rank = k;
    result.info.captured_energy = total > 0.0 ? std::min(1.0, energy / total) : 1.0;
    result.info.residual_estimate *= scale;
    result.info.residual_bound = error * scale;
    result.info.passes = 1;
    const auto lift = [&](Tensor<T>& small, const Tensor<T>& basis) {
        if (basis.size() > 0) {
            Tensor<T> tall = workspace<T>(memory, basis.shape()[0], k);
            S::multiply(tall.matrix(), T(1), basis.matrix(), std::as_const(small).matrix(), T(0), memory);
            small = std::move(tall);
        }
    };
    lift(result.u, pair.p);
    lift(result.v, pair.q);
    if (options.signs == Signs::largest_right_positive) {
        settle_signs<S, T>(result.u.matrix(), result.v.matrix(), memory);
    }
    return result;
}

/// The same for a user's P and Q; U, s and V are of P's kind. Example: examples/decompositions.cpp
template <MatrixLike P, MatrixLike Q>
[[nodiscard]] auto product_svd(const P& p, const Q& q, const ProductSvdOptions& options = {},
                               Memory& memory = plain_memory())
{
    using F = Family<P>;
    using Scalar = typename F::Scalar;
    static_assert(std::same_as<Scalar, typename Family<Q>::Scalar>, "product_svd: P and Q hold one type of numbers");
    return F::with_view(p, [&](auto p_view) {
        return Family<Q>::with_view(q, [&](auto q_view) {
            return as_family<P>(
                product_svd<typename F::Storage, Scalar>(Factored<Scalar>{p_view, q_view}, options, memory));
        });
    });
}

}  // namespace wasi::linalg
