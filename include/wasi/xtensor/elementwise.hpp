#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "wasi/xtensor/adapt.hpp"
#include "wasi/xtensor/kernels.hpp"

/// Copies, sums and reductions over whole matrices as xtensor expressions, cut into the same pieces as Eigen's: by the
/// shape alone.
namespace wasi::xtensor {

template <Scalar T>
void copy(MatrixView<T> to, ConstMatrixView<T> from)
{
    if (!to.is_row_major()) {
        copy<T>(to.transposed(), from.transposed());
        return;
    }
    if (from.is_row_major()) {
        for_lines([](auto target, const auto& source) { xt::noalias(target) = source; }, to, from);
        return;
    }
    eigen::for_row_pieces(to.rows, to.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            auto target = row(to, i);
            xt::noalias(target) = strided_row(from, i);
        }
    });
}

/// y = beta y + alpha x for lines.
template <Scalar T, class Target, class Source>
void add_scaled_line(Target& y, T beta, T alpha, const Source& x)
{
    if (beta == T(0)) {
        xt::noalias(y) = alpha * x;
    } else if (beta == T(1)) {
        xt::noalias(y) += alpha * x;
    } else {
        xt::noalias(y) = beta * y + alpha * x;
    }
}

template <Scalar T>
void add_scaled(MatrixView<T> y, T beta, T alpha, ConstMatrixView<T> x)
{
    if (!y.is_row_major()) {
        add_scaled<T>(y.transposed(), beta, alpha, x.transposed());
        return;
    }
    if (x.is_row_major()) {
        for_lines([&](auto target, const auto& source) { add_scaled_line<T>(target, beta, alpha, source); }, y, x);
        return;
    }
    eigen::for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            auto target = row(y, i);
            add_scaled_line<T>(target, beta, alpha, strided_row(x, i));
        }
    });
}

template <Scalar T>
double dot(ConstMatrixView<T> a, ConstMatrixView<T> b)
{
    if (!a.is_row_major()) {
        return dot<T>(a.transposed(), b.transposed());
    }
    const auto products = [](const auto& left, const auto& right) {
        return xt::cast<double>(left) * xt::cast<double>(right);
    };
    if (b.is_row_major()) {
        return total_over_lines(products, a, b);
    }
    return eigen::sum_over_pieces(a.rows, a.cols, [&](Index first, Index count) {
        double total = 0.0;
        for (Index i = first; i < first + count; ++i) {
            const auto left = row(a, i);
            const auto right = strided_row(b, i);
            total += xt::sum<double>(products(left, right), xt::evaluation_strategy::immediate)();
        }
        return total;
    });
}

template <Scalar T>
bool all_finite(ConstMatrixView<T> a)
{
    if (!a.is_row_major()) {
        return all_finite<T>(a.transposed());
    }
    // x - x is zero for every finite number and NaN for the others.
    return total_over_lines([](const auto& values) { return values - values; }, a) == 0.0;
}

template <Scalar T>
double largest(ConstMatrixView<T> a)
{
    if (!a.is_row_major()) {
        return largest<T>(a.transposed());
    }
    if (a.size() == 0) {
        return 0.0;
    }
    if (!all_finite<T>(a)) {
        return std::numeric_limits<double>::infinity();
    }
    std::vector<double> of_row(static_cast<std::size_t>(a.rows));
    eigen::for_row_pieces(a.rows, a.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            const auto values = row(a, i);
            of_row[static_cast<std::size_t>(i)] =
                static_cast<double>(xt::amax(xt::abs(values), xt::evaluation_strategy::immediate)());
        }
    });
    return *std::max_element(of_row.begin(), of_row.end());
}

template <Scalar T>
void adamw_step(MatrixView<T> w, MatrixView<T> m, MatrixView<T> v, ConstMatrixView<T> g, const AdamWStep<T>& step)
{
    const auto keep1 = static_cast<T>(step.beta1);
    const auto take1 = static_cast<T>(1.0 - step.beta1);
    const auto keep2 = static_cast<T>(step.beta2);
    const auto take2 = static_cast<T>(1.0 - step.beta2);
    const auto update = [&](auto values, auto mean, auto square, const auto& gradient) {
        xt::noalias(mean) = keep1 * mean + (take1 * step.scale) * gradient;
        xt::noalias(square) = keep2 * square + take2 * xt::square(step.scale * gradient);
        // 1 - shrink would round a small shrink away.
        xt::noalias(values) =
            values - (step.shrink * values +
                      step.corrected_rate * mean / (xt::sqrt(square) * step.second_correction + step.epsilon));
    };
    for_lines(update, w, m, v, g);
}

}  // namespace wasi::xtensor
