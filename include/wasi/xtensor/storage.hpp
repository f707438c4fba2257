#pragma once
#include <cstdint>
#include <span>
#include <type_traits>

#include "wasi/storage/eigen.hpp"
#include "wasi/xtensor/kernels.hpp"

// The bodies are read unless somebody else compiles them: see core/compiled.hpp.
#if !defined(WASI_EXTERN_XTENSOR) || !defined(WASI_EXTERN_FLOAT) || !defined(WASI_EXTERN_DOUBLE)
#include "wasi/xtensor/elementwise.hpp"
#include "wasi/xtensor/row_kernels.hpp"
#endif

namespace wasi {

/// The storage backend whose elementwise and reducing kernels are xtensor expressions on adaptors of the views.
/// Products, factorizations and random numbers are EigenStorage's, and so is every primitive that is not listed here.
/// It needs no xtensor containers: everything that runs on EigenStorage runs on it. Results agree with EigenStorage's
/// to rounding, and are the same bits for any number of threads. Thread safety: stateless. Example:
/// examples/xtensor.cpp
struct XtensorStorage : EigenStorage {
    template <Scalar T>
    static void copy(MatrixView<T> to, In<T> from)
    {
        xtensor::copy<T>(to, from);
    }
    template <Scalar T>
    static void add_scaled(MatrixView<T> y, Value<T> beta, Value<T> alpha, In<T> x)
    {
        xtensor::add_scaled<T>(y, beta, alpha, x);
    }
    template <class T>
    [[nodiscard]] static double dot(MatrixView<T> a, In<std::remove_const_t<T>> b)
    {
        return xtensor::dot<std::remove_const_t<T>>(a, b);
    }
    template <class T>
    [[nodiscard]] static bool all_finite(MatrixView<T> a)
    {
        return xtensor::all_finite<std::remove_const_t<T>>(a);
    }
    template <class T>
    [[nodiscard]] static double largest(MatrixView<T> a)
    {
        return xtensor::largest<std::remove_const_t<T>>(a);
    }

    template <Scalar T>
    static void add_to_rows(MatrixView<T> y, InRow<T> v)
    {
        xtensor::add_to_rows<T>(y, v);
    }
    template <Scalar T>
    static void column_sums(std::span<T> sums, In<T> y, Memory& memory)
    {
        xtensor::column_sums<T>(sums, y, memory);
    }
    template <Scalar T>
    static void multiply_elements(MatrixView<T> y, In<T> x)
    {
        xtensor::multiply_elements<T>(y, x);
    }
    template <Scalar T>
    static void scale_columns(MatrixView<T> y, InRow<T> v)
    {
        xtensor::scale_columns<T>(y, v);
    }
    template <Scalar T>
    static void divide_by_root(MatrixView<T> y, In<T> x)
    {
        xtensor::divide_by_root<T>(y, x);
    }
    template <Scalar T>
    static void gelu(MatrixView<T> y, In<T> x)
    {
        xtensor::gelu<T>(y, x);
    }
    template <Scalar T>
    static void gelu_backward(MatrixView<T> dx, In<T> dy, In<T> x)
    {
        xtensor::gelu_backward<T>(dx, dy, x);
    }
    template <Scalar T>
    static void quick_gelu_backward(MatrixView<T> dx, In<T> dy, In<T> x)
    {
        xtensor::quick_gelu_backward<T>(dx, dy, x);
    }
    template <Scalar T>
    static void quick_gelu(MatrixView<T> y, In<T> x)
    {
        xtensor::quick_gelu<T>(y, x);
    }
    template <Scalar T>
    static void relu(MatrixView<T> y, In<T> x)
    {
        xtensor::relu<T>(y, x);
    }
    template <Scalar T>
    static void relu_backward(MatrixView<T> dx, In<T> dy, In<T> x)
    {
        xtensor::relu_backward<T>(dx, dy, x);
    }
    template <Scalar T>
    static void softmax(MatrixView<T> y, Value<T> scale)
    {
        xtensor::softmax<T>(y, scale);
    }
    template <Scalar T>
    static void softmax_backward(MatrixView<T> dy, In<T> p, Value<T> scale)
    {
        xtensor::softmax_backward<T>(dy, p, scale);
    }
    template <Scalar T>
    static void layer_norm(MatrixView<T> y, OutRow<T> mean, OutRow<T> inverse_deviation, In<T> x, InRow<T> gain,
                           InRow<T> bias, Value<T> small)
    {
        xtensor::layer_norm<T>(y, mean, inverse_deviation, x, gain, bias, small);
    }
    template <Scalar T>
    static void layer_norm_backward(MatrixView<T> dx, OutRow<T> dgain, OutRow<T> dbias, In<T> dy, In<T> x,
                                    InRow<T> mean, InRow<T> inverse_deviation, InRow<T> gain, Memory& memory)
    {
        xtensor::layer_norm_backward<T>(dx, dgain, dbias, dy, x, mean, inverse_deviation, gain, memory);
    }
    template <Scalar T>
    [[nodiscard]] static double cross_entropy(MatrixView<T> dx, In<T> x, std::span<const std::int64_t> labels)
    {
        return xtensor::cross_entropy<T>(dx, x, labels);
    }
    template <Scalar T>
    static void adamw_step(MatrixView<T> w, Out<T> m, Out<T> v, In<T> g, const AdamWStep<T>& step)
    {
        xtensor::adamw_step<T>(w, m, v, g, step);
    }
};

static_assert(OptimizerStorageFor<XtensorStorage, float> && OptimizerStorageFor<XtensorStorage, double>);

}  // namespace wasi
