#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/residual.hpp"
#include "wasi/linalg/status.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/family.hpp"
#include "wasi/storage/scale.hpp"
#include "wasi/storage/tensor.hpp"

/// What the decompositions by columns and rows share: rules that are asked about a measured error, the true error of a
/// product, and a copy whose squares neither vanish nor overflow.
namespace wasi::linalg::detail {

/// A rank rule for algorithms that have no singular values but know what each direction took of ||A||_F and how large
/// the error is that it leaves. To the rule that error is one more value, after which nothing comes.
class ErrorRule {
public:
    ErrorRule(const RankRule& rule, double squared_norm) : rule_(rule), reference_(squared_norm) {}

    /// Whether the directions taken so far are enough with this error, ||A - approximation||_F.
    [[nodiscard]] bool met(std::span<const double> taken, double error) const
    {
        const auto k = static_cast<Index>(taken.size());
        if (const auto fixed = rule_.fixed()) {
            return k >= *fixed;
        }
        std::vector<double> values(taken.begin(), taken.end());
        values.push_back(error);
        double total = 0.0;
        for (const double value : values) {
            total += value * value;
        }
        Spectrum spectrum{values, total, reference_};
        spectrum.beyond = 0.0;
        return rule_.choose(spectrum) <= k;
    }

    /// The same for an error that was measured in double, whose own rounding is counted in: an error of 0 is not shown.
    [[nodiscard]] bool shown(std::span<const double> taken, double error) const
    {
        return met(taken, error + 0.25 * epsilon<double> * norm());
    }

    /// Whether the rule wants all but rounding: no error above zero is small enough for it.
    [[nodiscard]] bool exact() const
    {
        constexpr double nothing = 1e-100;
        return !rule_.fixed() && !met(std::vector<double>{std::sqrt(reference_)}, nothing * std::sqrt(reference_));
    }

    [[nodiscard]] std::optional<Index> fixed() const { return rule_.fixed(); }
    [[nodiscard]] double norm() const { return std::sqrt(reference_); }

private:
    RankRule rule_;
    double reference_;
};

/// ||A - L R||_F, A (m,n), L (m,k), R (k,n), formed in double: right down to the rounding of double, whatever T is.
/// 2 m n k flops.
template <class S, Scalar T>
[[nodiscard]] double product_error(ConstMatrixView<T> a, ConstMatrixView<T> left, ConstMatrixView<T> right,
                                   Memory& memory)
{
    if (a.rows < a.cols) {  // the copy in double is of the shorter factor
        return residual_of_rows<S, T>(a.transposed(), right.transposed(), {}, left, memory);
    }
    return residual_of_rows<S, T>(a, left, {}, right.transposed(), memory);
}

/// A at a size that can be squared and summed: itself where it is of ordinary size, else a copy times a power of two.
/// Throws argument_error on NaN or infinity.
template <class S, Scalar T>
[[nodiscard]] MatrixAtScale<S, T> at_ordinary_scale(ConstMatrixView<T> a, std::string_view who, std::string_view name,
                                                    Memory& memory)
{
    const double largest = S::largest(a);
    require<argument_error>(std::isfinite(largest), who, ": ", name, " ", shape_text(a.shape()),
                            " holds NaN or infinity");
    return MatrixAtScale<S, T>(a, scale_exponent<T>(largest), memory);
}

/// X becomes 2^exponent X: a result of a matrix at another scale at that of the matrix. Throws argument_error where it
/// leaves the type.
template <class S, Scalar T>
void restore_scale(MatrixView<T> x, int exponent, std::string_view who, std::string_view name)
{
    if (exponent != 0) {
        scale_to<S, T>(x, x, exponent);
        require<argument_error>(S::all_finite(ConstMatrixView<T>(x)), who, ": ", name,
                                " is larger than its type holds");
    }
}

/// to(:, order[j]) = from(:, j) for the leading columns of `order`.
template <class S, Scalar T>
void scatter_columns(MatrixView<T> to, ConstMatrixView<T> from, std::span<const Index> order)
{
    const Index height = std::max<Index>(1, (Index{1} << 15) / std::max<Index>(from.cols, 1));
    parallel_for((to.rows + height - 1) / height, [&](Index piece) {
        for (Index i = piece * height; i < std::min((piece + 1) * height, to.rows); ++i) {
            for (Index j = 0; j < from.cols; ++j) {
                to(i, order[static_cast<std::size_t>(j)]) = from(i, j);
            }
        }
    });
}

/// to(:, j) = from(:, order[j]) for all columns of `to`.
template <class S, Scalar T>
void gather_columns(MatrixView<T> to, ConstMatrixView<T> from, std::span<const Index> order)
{
    for (Index j = 0; j < to.cols; ++j) {
        S::copy(to.col_block(j, 1), from.col_block(order[static_cast<std::size_t>(j)], 1));
    }
}

/// A tensor of the engine as a matrix of A's kind.
template <MatrixLike A, Scalar T>
[[nodiscard]] auto to_family(const Tensor<T>& x)
{
    using F = Family<A>;
    auto result = F::make_matrix(x.matrix().rows, x.matrix().cols);
    F::Storage::copy(F::view(result), x.matrix());
    return result;
}

/// How a decomposition by a measured error ended: `taken` directions of at most `limit`, of which there are `all`.
[[nodiscard]] inline Status status_of(const ErrorRule& rule, bool met, bool down_to_rounding, Index taken, Index limit,
                                      Index all)
{
    if (met || (taken >= all && rule.fixed()) || (down_to_rounding && rule.exact())) {
        return Status::ok;
    }
    return taken >= limit && limit < all ? Status::rank_limit : Status::rule_not_met;
}

}  // namespace wasi::linalg::detail
