#pragma once
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "wasi/core/random.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/dry/run.hpp"
#include "wasi/storage/eigen/pieces.hpp"

namespace wasi::dry {

/// What goes over elements and rows: nothing is done, and the little workspace taken that EigenStorage takes.
template <DryAnswers answers>
struct Elementwise {
    template <Scalar T>
    static void copy(MatrixView<T>, In<T>)
    {
    }
    template <Scalar To, class From>
    static void convert(MatrixView<To>, MatrixView<From>)
    {
    }
    template <Scalar T>
    static void add_scaled(MatrixView<T>, Value<T>, Value<T>, In<T>)
    {
    }

    /// `usual`: 9 epsilon² sqrt(size). For G - 1 of order n that makes a defect of 3 sqrt(n) epsilon, which is
    /// rounding: not worth a repair, but corrected where U of an SVD is asked to be exact. `worst`: the size, as if
    /// every element were 1, and so a defect of n.
    template <class T>
    [[nodiscard]] static double dot(MatrixView<T> a, In<std::remove_const_t<T>>)
    {
        if constexpr (answers == DryAnswers::worst) {
            return number(a.size());
        } else {
            constexpr auto rounding = static_cast<double>(epsilon<std::remove_const_t<T>>);
            return 9.0 * rounding * rounding * std::sqrt(number(a.size()));
        }
    }
    template <class T>
    [[nodiscard]] static bool all_finite(MatrixView<T>)
    {
        return true;
    }
    template <class T>
    [[nodiscard]] static double largest(MatrixView<T>)
    {
        return 1.0;
    }
    template <Scalar T>
    static void fill(MatrixView<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void add_constant(MatrixView<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void fill_normal(MatrixView<T>, RandomKey)
    {
    }

    template <Scalar T>
    static void add_to_rows(MatrixView<T>, InRow<T>)
    {
    }
    template <Scalar T>
    static void column_sums(std::span<T>, In<T> y, Memory& memory)
    {
        detail::pass_through<T>(memory, pieces_of(y.rows, y.cols) * y.cols);
    }
    template <Scalar T>
    static void multiply_elements(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void scale_columns(MatrixView<T>, InRow<T>)
    {
    }
    template <Scalar T>
    static void divide_by_root(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void gelu(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void gelu_backward(MatrixView<T>, In<T>, In<T>)
    {
    }
    template <Scalar T>
    static void quick_gelu(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void quick_gelu_backward(MatrixView<T>, In<T>, In<T>)
    {
    }
    template <Scalar T>
    static void relu(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void relu_backward(MatrixView<T>, In<T>, In<T>)
    {
    }
    template <Scalar T>
    static void softmax(MatrixView<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void softmax_backward(MatrixView<T>, In<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void layer_norm(MatrixView<T>, OutRow<T>, OutRow<T>, In<T>, InRow<T>, InRow<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void layer_norm_backward(MatrixView<T>, OutRow<T>, OutRow<T>, In<T>, In<T> x, InRow<T>, InRow<T>, InRow<T>,
                                    Memory& memory)
    {
        const Index pieces = pieces_of(x.rows, x.cols);
        const Tensor<T> gain_sums = workspace<T>(memory, pieces, x.cols);
        const Tensor<T> bias_sums = workspace<T>(memory, pieces, x.cols);
        const Tensor<T> normalised_rows = workspace<T>(memory, pieces, x.cols);
    }
    template <Scalar T>
    [[nodiscard]] static double cross_entropy(MatrixView<T>, In<T>, std::span<const std::int64_t>)
    {
        return 0.0;
    }
    template <class T>
    static void pack(PackedView, MatrixView<T>, const std::optional<RandomKey>& = std::nullopt)
    {
    }
    template <Scalar T>
    static void unpack(MatrixView<T>, ConstPackedView)
    {
    }
    template <Scalar T>
    static void adamw_step(MatrixView<T>, Out<T>, Out<T>, In<T>, const AdamWStep<T>&)
    {
    }

private:
    [[nodiscard]] static Index pieces_of(Index rows, Index cols)
    {
        const Index height = eigen::rows_per_piece(cols);
        return (rows + height - 1) / height;
    }
};

}  // namespace wasi::dry
