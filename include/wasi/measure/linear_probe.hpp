#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::measure {

/// How well a linear classifier does on frozen features: what a representation is worth before anything is trained.
struct LinearProbe {
    Index correct = 0;     ///< of the test examples
    Index count = 0;       ///< of them
    double penalty = 0.0;  ///< chosen; in units of the mean eigenvalue of the features' Gram matrix
    double error = 0.0;    ///< leave-one-out, mean square, of that choice on the training examples
};

namespace detail {

/// Mean and deviation of each column.
struct ColumnScale {
    std::vector<double> mean;
    std::vector<double> deviation;

    template <Scalar T>
    [[nodiscard]] static ColumnScale of(ConstMatrixView<T> a)
    {
        ColumnScale result{std::vector<double>(static_cast<std::size_t>(a.cols), 0.0),
                           std::vector<double>(static_cast<std::size_t>(a.cols), 0.0)};
        const auto count = static_cast<double>(a.rows);
        for (Index i = 0; i < a.rows; ++i) {
            for (std::size_t j = 0; j < result.mean.size(); ++j) {
                result.mean[j] += static_cast<double>(a(i, static_cast<Index>(j))) / count;
            }
        }
        for (Index i = 0; i < a.rows; ++i) {
            for (std::size_t j = 0; j < result.mean.size(); ++j) {
                const double apart = static_cast<double>(a(i, static_cast<Index>(j))) - result.mean[j];
                result.deviation[j] += apart * apart / count;
            }
        }
        for (double& value : result.deviation) {
            value = std::sqrt(value);
        }
        return result;
    }

    /// (a - mean) / deviation in double; a column without spread becomes zero.
    template <Scalar T>
    [[nodiscard]] Tensor<double> applied(ConstMatrixView<T> a, Memory& memory) const
    {
        Tensor<double> result = workspace<double>(memory.host(), a.rows, a.cols);
        const auto out = result.matrix();
        for (Index i = 0; i < a.rows; ++i) {
            for (std::size_t j = 0; j < mean.size(); ++j) {
                const auto column = static_cast<Index>(j);
                out(i, column) =
                    deviation[j] > 0.0 ? (static_cast<double>(a(i, column)) - mean[j]) / deviation[j] : 0.0;
            }
        }
        return result;
    }
};

/// Ridge regression of Y (n,c) on X (n,f) for any penalty, by XᵀX = Q diag(w) Qᵀ and Z = X Q.
template <class S>
class RidgePath {
public:
    RidgePath(ConstMatrixView<double> x, ConstMatrixView<double> y, Memory& memory)
        : memory_(&memory.host()),
          y_(y),
          q_(made(x.cols, x.cols)),
          w_(host_row<double>(memory, x.cols)),
          z_(made(x.rows, x.cols)),
          zy_(made(x.cols, y.cols)),
          scaled_(made(x.cols, y.cols))
    {
        S::gram(q_.matrix(), 0.0, x, *memory_);
        require<argument_error>(S::eigh(q_.matrix(), w_.span(), *memory_),
                                "linear_probe: an eigenvalue problem does not converge");
        for (double& value : w_.span()) {
            value = std::max(value, 0.0);
            unit_ += value / static_cast<double>(x.cols);
        }
        S::multiply(z_.matrix(), 1.0, x, std::as_const(q_).matrix(), 0.0, *memory_);
        S::multiply(zy_.matrix(), 1.0, std::as_const(z_).matrix().transposed(), y, 0.0, *memory_);
    }

    /// Whether X is more than zeros.
    [[nodiscard]] bool says_anything() const { return unit_ > 0.0; }

    /// Mean square of what each example's own fit without it misses, over examples: e_i / (1 - h_ii).
    [[nodiscard]] double leave_one_out(double penalty)
    {
        set(penalty);
        const Index n = y_.rows;
        Tensor<double> fitted = made(n, y_.cols);
        S::multiply(fitted.matrix(), 1.0, std::as_const(z_).matrix(), std::as_const(scaled_).matrix(), 0.0, *memory_);
        double sum = 0.0;
        for (Index i = 0; i < n; ++i) {
            double leverage = 1.0 / static_cast<double>(n);  // of the mean
            for (Index j = 0; j < w_.size(); ++j) {
                leverage += z_.matrix()(i, j) * z_.matrix()(i, j) / (w_.data()[j] + penalty * unit_);
            }
            for (Index c = 0; c < y_.cols; ++c) {
                const double rest = (y_(i, c) - fitted.matrix()(i, c)) / std::max(1.0 - leverage, 1e-12);
                sum += rest * rest;
            }
        }
        return sum / static_cast<double>(n);
    }

    /// X' B (m,c) of other rows X'.
    [[nodiscard]] Tensor<double> predict(ConstMatrixView<double> x, double penalty)
    {
        set(penalty);
        Tensor<double> b = made(x.cols, y_.cols);
        Tensor<double> result = made(x.rows, y_.cols);
        S::multiply(b.matrix(), 1.0, std::as_const(q_).matrix(), std::as_const(scaled_).matrix(), 0.0, *memory_);
        S::multiply(result.matrix(), 1.0, x, std::as_const(b).matrix(), 0.0, *memory_);
        return result;
    }

private:
    [[nodiscard]] Tensor<double> made(Index rows, Index cols) const { return workspace<double>(*memory_, rows, cols); }
    void set(double penalty)
    {
        for (Index j = 0; j < w_.size(); ++j) {
            const double divisor = w_.data()[j] + penalty * unit_;
            for (Index c = 0; c < y_.cols; ++c) {
                scaled_.matrix()(j, c) = divisor > 0.0 ? zy_.matrix()(j, c) / divisor : 0.0;
            }
        }
    }

    Memory* memory_;
    ConstMatrixView<double> y_;
    Tensor<double> q_;
    Tensor<double> w_;
    Tensor<double> z_;
    Tensor<double> zy_;
    Tensor<double> scaled_;
    double unit_ = 0.0;
};

}  // namespace detail

/// Ridge regression of classes, as indicators, on standardised features; the largest output is the class. The penalty
/// is the one of 1e-4 .. 1e4, three a decade, with the least leave-one-out error on the training examples (PRESS, Allen
/// 1974): the test examples decide nothing. Features (n,f) are read by the host. n f² and 9 f³ flops in double. Throws
/// shape_error for matrices and labels that do not fit, argument_error for fewer than two training examples, labels
/// that are no class and features that are not finite.
template <class S, Scalar T>
requires StorageFor<S, double>
[[nodiscard]] LinearProbe linear_probe(ConstMatrixView<T> features, std::span<const std::int64_t> labels,
                                       ConstMatrixView<T> test, std::span<const std::int64_t> test_labels,
                                       Index classes, Memory& memory)
{
    const Index n = features.rows;
    require<shape_error>(features.cols >= 1 && test.cols == features.cols && std::ssize(labels) == n &&
                             std::ssize(test_labels) == test.rows,
                         "linear_probe: features (", n, ", ", features.cols, ") and ", labels.size(), " labels, test (",
                         test.rows, ", ", test.cols, ") and ", test_labels.size());
    require<argument_error>(n >= 2, "linear_probe: ", n, " training examples");
    for (const auto& some : {labels, test_labels}) {
        for (const std::int64_t label : some) {
            require<argument_error>(label >= 0 && label < classes, "linear_probe: label ", label, " of ", classes,
                                    " classes");
        }
    }
    const auto scale = detail::ColumnScale::of(features);
    const bool finite =
        std::all_of(scale.deviation.begin(), scale.deviation.end(), [](double value) { return std::isfinite(value); });
    require<argument_error>(finite, "linear_probe: features hold NaN or infinity");
    std::vector<double> share(static_cast<std::size_t>(classes), 0.0);
    for (const std::int64_t label : labels) {
        share[static_cast<std::size_t>(label)] += 1.0 / static_cast<double>(n);
    }
    Tensor<double> y = workspace<double>(memory.host(), n, classes);
    for (Index i = 0; i < n; ++i) {
        for (Index c = 0; c < classes; ++c) {
            y.matrix()(i, c) =
                (labels[static_cast<std::size_t>(i)] == c ? 1.0 : 0.0) - share[static_cast<std::size_t>(c)];
        }
    }
    const Tensor<double> x = scale.applied(features, memory);
    detail::RidgePath<S> ridge(x.matrix(), std::as_const(y).matrix(), memory);
    LinearProbe result{0, test.rows, 0.0, std::numeric_limits<double>::infinity()};
    for (int third = -12; third <= 12 && ridge.says_anything(); ++third) {
        const double penalty = std::pow(10.0, third / 3.0);
        if (const double error = ridge.leave_one_out(penalty); error < result.error) {
            result.error = error;
            result.penalty = penalty;
        }
    }
    const Tensor<double> guesses = ridge.predict(std::as_const(scale).applied(test, memory).matrix(), result.penalty);
    for (Index i = 0; i < test.rows; ++i) {
        Index best = 0;
        double most = -std::numeric_limits<double>::infinity();
        for (Index c = 0; c < classes; ++c) {
            const double value = guesses.matrix()(i, c) + share[static_cast<std::size_t>(c)];
            if (value > most) {
                most = value;
                best = c;
            }
        }
        result.correct += best == test_labels[static_cast<std::size_t>(i)] ? 1 : 0;
    }
    return result;
}

}  // namespace wasi::measure
