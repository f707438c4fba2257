#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/tensor/mode_product.hpp"

/// The range of an unfolding from random samples, without the unfolding and without its Gram matrix: everything goes
/// over panels of a few hundred columns.
namespace wasi::tensor::detail {

/// Calls f(first column, panel (n, count)) for all of X_(m), the columns in the order of `unfold`.
template <class S, Scalar T, std::size_t N, class F>
requires StorageFor<S, T>
void for_panels(ConstTensorView<T, N> x, std::size_t mode, Memory& memory, F&& f)
{
    constexpr Index width = 256;
    const auto parts = x.around(mode);
    const Index left = parts.shape[0];
    const Index right = parts.shape[2];
    if (right == 1) {
        for (Index first = 0; first < left; first += width) {
            f(first, parts.rows_by(1).row_block(first, std::min(width, left - first)).transposed());
        }
        return;
    }
    if (left == 1 || 2 * right >= width) {
        for (Index i = 0; i < left; ++i) {
            for (Index first = 0; first < right; first += width) {
                f(i * right + first, parts.slice(i).col_block(first, std::min(width, right - first)));
            }
        }
        return;
    }
    const Index together = std::min(left, width / right);  // thin slices side by side
    Tensor<T> panel = workspace<T>(memory, parts.shape[1], together * right);
    for (Index i = 0; i < left; i += together) {
        const Index count = std::min(together, left - i);
        for (Index k = 0; k < count; ++k) {
            S::copy(panel.matrix().col_block(k * right, right), parts.slice(i + k));
        }
        f(i * right, std::as_const(panel).matrix().col_block(0, count * right));
    }
}

/// Q (n,w), orthonormal, for the range of X_(m); grows on demand. New columns are samples of what Q misses,
/// (1 - Q Qᵀ) X_(m) Ω, improved by power iterations (Halko, Martinsson, Tropp 2011, algorithm 4.3, with columns made
/// orthonormal in between), so that each block starts at the size of what is left and sees as far down again.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
class UnfoldingSketch {
public:
    UnfoldingSketch(ConstTensorView<T, N> x, std::size_t mode, RandomKey key, Memory& memory)
        : x_(x), mode_(mode), key_(key), memory_(&memory)
    {
    }

    [[nodiscard]] ConstMatrixView<T> basis() const { return q_.matrix(); }

    /// Columns [width before, width) are new; 2 |X| (width - before) (1 + 2 power_iterations) flops.
    void grow(Index width, Index power_iterations)
    {
        const Index n = x_.shape[mode_];
        const Index old = q_.empty() ? 0 : q_.shape()[1];
        const Index added = width - old;
        Tensor<T> wider = workspace<T>(*memory_, n, width);
        if (old > 0) {
            S::copy(wider.matrix().col_block(0, old), basis());
        }
        q_ = std::move(wider);
        const auto fresh = q_.matrix().col_block(old, added);
        sample(fresh);
        bool complete = append(old, added);
        Tensor<T> image = workspace<T>(*memory_, n, added);
        for (Index iteration = 0; iteration < power_iterations; ++iteration) {
            normal_product(image.matrix(), fresh);
            S::copy(fresh, std::as_const(image).matrix());
            complete = append(old, added);
        }
        if (!complete && old > 0) {
            static_cast<void>(S::orthonormalize(q_.matrix(), *memory_));  // made-up columns may repeat old ones
        }
    }

    /// ||X_(m) - Q Qᵀ X_(m)||², summed over the residual itself. One read of X, 4 |X| w flops.
    [[nodiscard]] double squared_residual() const
    {
        double sum = 0.0;
        for_panels<S, T, N>(x_, mode_, *memory_, [&](Index, ConstMatrixView<T> panel) {
            Tensor<T> coefficients = workspace<T>(*memory_, basis().cols, panel.cols);
            Tensor<T> rest = workspace<T>(*memory_, panel.rows, panel.cols);
            S::copy(rest.matrix(), panel);
            S::multiply(coefficients.matrix(), T(1), basis().transposed(), panel, T(0), *memory_);
            S::multiply(rest.matrix(), T(-1), basis(), std::as_const(coefficients).matrix(), T(1), *memory_);
            sum += S::dot(rest.matrix(), std::as_const(rest).matrix());
        });
        return sum;
    }

private:
    /// Y = X_(m) Ω.
    void sample(MatrixView<T> y)
    {
        const RandomKey key = key_.derive(block_++);
        for_panels<S, T, N>(x_, mode_, *memory_, [&](Index first, ConstMatrixView<T> panel) {
            Tensor<T> random = workspace<T>(*memory_, panel.cols, y.cols);
            S::fill_normal(random.matrix(), key.derive(first));
            S::multiply(y, T(1), panel, std::as_const(random).matrix(), first == 0 ? T(0) : T(1), *memory_);
        });
    }

    /// Y = X_(m) X_(m)ᵀ V.
    void normal_product(MatrixView<T> y, ConstMatrixView<T> v)
    {
        for_panels<S, T, N>(x_, mode_, *memory_, [&](Index first, ConstMatrixView<T> panel) {
            Tensor<T> image = workspace<T>(*memory_, panel.cols, v.cols);
            S::multiply(image.matrix(), T(1), panel.transposed(), v, T(0), *memory_);
            S::multiply(y, T(1), panel, std::as_const(image).matrix(), first == 0 ? T(0) : T(1), *memory_);
        });
    }

    /// Makes the new columns orthonormal and orthogonal to the old ones; projecting twice is enough for that to
    /// rounding (Giraud, Langou, Rozložník 2005). False when some had to be made up.
    bool append(Index old, Index added)
    {
        const auto fresh = q_.matrix().col_block(old, added);
        bool complete = true;
        for (int sweep = 0; sweep < (old > 0 ? 2 : 1); ++sweep) {
            if (old > 0) {
                const auto head = basis().col_block(0, old);
                Tensor<T> coefficients = workspace<T>(*memory_, old, added);
                S::multiply(coefficients.matrix(), T(1), head.transposed(), fresh, T(0), *memory_);
                S::multiply(fresh, T(-1), head, std::as_const(coefficients).matrix(), T(1), *memory_);
            }
            complete = linalg::orthonormalize_columns<S, T>(fresh, *memory_).status == linalg::Status::ok && complete;
        }
        return complete;
    }

    ConstTensorView<T, N> x_;
    std::size_t mode_;
    RandomKey key_;
    Memory* memory_;
    Tensor<T> q_;  // (n, w)
    Index block_ = 0;
};

}  // namespace wasi::tensor::detail
