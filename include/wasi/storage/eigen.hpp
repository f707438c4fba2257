#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/eigen/declarations.hpp"
#include "wasi/storage/tensor.hpp"

// The bodies are read unless somebody else compiles them: see core/compiled.hpp.
#if !defined(WASI_EXTERN_FLOAT) || !defined(WASI_EXTERN_DOUBLE)
#include "wasi/storage/eigen/bodies.hpp"
#endif

namespace wasi {

/// The storage backend that computes with Eigen; the reference for speed on a CPU. See StorageFor and NeuralStorageFor
/// for what each primitive does. Thread safety: stateless.
struct EigenStorage {
    // The scalar type follows from the result; the other arguments convert (a view of T to a view of const T).
    template <class T>
    using In = std::type_identity_t<ConstMatrixView<T>>;
    template <class T>
    using InRow = std::type_identity_t<std::span<const T>>;
    template <class T>
    using Out = std::type_identity_t<MatrixView<T>>;
    template <class T>
    using OutRow = std::type_identity_t<std::span<T>>;
    template <class T>
    using Value = std::type_identity_t<T>;

    template <Scalar T>
    static void multiply(MatrixView<T> c, Value<T> alpha, In<T> a, In<T> b, Value<T> beta, Memory& memory)
    {
        eigen::multiply<T>(c, alpha, a, b, beta, memory);
    }
    template <Scalar T>
    [[nodiscard]] static Index orthonormalize(MatrixView<T> a, Memory& memory)
    {
        return eigen::orthonormalize<T>(a, memory);
    }
    template <Scalar T>
    [[nodiscard]] static Index cholesky_orthonormalize(MatrixView<T> a, Memory& memory)
    {
        return eigen::cholesky_orthonormalize<T>(a, memory);
    }
    template <class T>
    static void gram(MatrixView<double> g, double beta, MatrixView<T> a, Memory& memory)
    {
        eigen::gram<std::remove_const_t<T>>(g, beta, a, memory);
    }
    template <class T>
    [[nodiscard]] static bool svd(MatrixView<T> a, Out<std::remove_const_t<T>> u, OutRow<std::remove_const_t<T>> s,
                                  Out<std::remove_const_t<T>> v, Memory& memory)
    {
        return eigen::svd<std::remove_const_t<T>>(a, u, s, v, memory);
    }
    template <Scalar T>
    [[nodiscard]] static bool eigh(MatrixView<T> a, OutRow<T> w, Memory& memory)
    {
        return eigen::eigh<T>(a, w, memory);
    }
    // A template only so that nobody compiles the solver who does not call it.
    template <class Real = double>
    [[nodiscard]] static Index eigh_leading(MatrixView<Real> a, OutRow<Real> w, const ChooseCount& choose,
                                            Memory& memory)
    {
        return eigen::eigh_leading<Real>(a, w, choose, memory);
    }
    template <Scalar T>
    [[nodiscard]] static bool solve_spd(MatrixView<T> a, Out<T> b, Memory& memory)
    {
        return eigen::solve_spd<T>(a, b, memory);
    }
    template <Scalar T>
    [[nodiscard]] static bool cholesky(MatrixView<T> a, Memory& memory)
    {
        return eigen::cholesky<T>(a, memory);
    }
    template <Scalar T>
    static void copy(MatrixView<T> to, In<T> from)
    {
        eigen::copy<T>(to, from);
    }
    template <Scalar To, class From>
    static void convert(MatrixView<To> to, MatrixView<From> from)
    {
        eigen::convert<To, std::remove_const_t<From>>(to, from);
    }
    template <Scalar T>
    static void add_scaled(MatrixView<T> y, Value<T> beta, Value<T> alpha, In<T> x)
    {
        eigen::add_scaled<T>(y, beta, alpha, x);
    }
    template <class T>
    [[nodiscard]] static double dot(MatrixView<T> a, In<std::remove_const_t<T>> b)
    {
        return eigen::dot<std::remove_const_t<T>>(a, b);
    }
    template <class T>
    [[nodiscard]] static bool all_finite(MatrixView<T> a)
    {
        return eigen::all_finite<std::remove_const_t<T>>(a);
    }
    template <class T>
    [[nodiscard]] static double largest(MatrixView<T> a)
    {
        return eigen::largest<std::remove_const_t<T>>(a);
    }
    template <Scalar T>
    static void fill(MatrixView<T> y, Value<T> value)
    {
        eigen::fill<T>(y, value);
    }
    template <Scalar T>
    static void add_constant(MatrixView<T> y, Value<T> value)
    {
        eigen::add_constant<T>(y, value);
    }
    template <Scalar T>
    static void fill_normal(MatrixView<T> a, RandomKey key)
    {
        eigen::fill_normal<T>(a, key);
    }

    template <Scalar T>
    static void add_to_rows(MatrixView<T> y, InRow<T> v)
    {
        eigen::add_to_rows<T>(y, v);
    }
    template <Scalar T>
    static void column_sums(std::span<T> sum, In<T> y, Memory& memory)
    {
        eigen::column_sums<T>(sum, y, memory);
    }
    template <Scalar T>
    static void multiply_elements(MatrixView<T> y, In<T> x)
    {
        eigen::multiply_elements<T>(y, x);
    }
    template <Scalar T>
    static void scale_columns(MatrixView<T> y, InRow<T> v)
    {
        eigen::scale_columns<T>(y, v);
    }
    template <Scalar T>
    static void divide_by_root(MatrixView<T> y, In<T> x)
    {
        eigen::divide_by_root<T>(y, x);
    }
    template <Scalar T>
    static void gelu(MatrixView<T> y, In<T> x)
    {
        eigen::gelu<T>(y, x);
    }
    template <Scalar T>
    static void gelu_backward(MatrixView<T> dx, In<T> dy, In<T> x)
    {
        eigen::gelu_backward<T>(dx, dy, x);
    }
    template <Scalar T>
    static void quick_gelu_backward(MatrixView<T> dx, In<T> dy, In<T> x)
    {
        eigen::quick_gelu_backward<T>(dx, dy, x);
    }
    template <Scalar T>
    static void quick_gelu(MatrixView<T> y, In<T> x)
    {
        eigen::quick_gelu<T>(y, x);
    }
    template <Scalar T>
    static void relu(MatrixView<T> y, In<T> x)
    {
        eigen::relu<T>(y, x);
    }
    template <Scalar T>
    static void relu_backward(MatrixView<T> dx, In<T> dy, In<T> x)
    {
        eigen::relu_backward<T>(dx, dy, x);
    }
    template <Scalar T>
    static void softmax(MatrixView<T> y, Value<T> scale)
    {
        eigen::softmax<T>(y, scale);
    }
    template <Scalar T>
    static void softmax_backward(MatrixView<T> dy, In<T> p, Value<T> scale)
    {
        eigen::softmax_backward<T>(dy, p, scale);
    }
    template <Scalar T>
    static void layer_norm(MatrixView<T> y, OutRow<T> mean, OutRow<T> inverse_deviation, In<T> x, InRow<T> gain,
                           InRow<T> bias, Value<T> small)
    {
        eigen::layer_norm<T>(y, mean, inverse_deviation, x, gain, bias, small);
    }
    template <Scalar T>
    static void layer_norm_backward(MatrixView<T> dx, OutRow<T> dgain, OutRow<T> dbias, In<T> dy, In<T> x,
                                    InRow<T> mean, InRow<T> inverse_deviation, InRow<T> gain, Memory& memory)
    {
        eigen::layer_norm_backward<T>(dx, dgain, dbias, dy, x, mean, inverse_deviation, gain, memory);
    }
    template <Scalar T>
    [[nodiscard]] static double cross_entropy(MatrixView<T> dx, In<T> x, std::span<const std::int64_t> labels)
    {
        return eigen::cross_entropy<T>(dx, x, labels);
    }
    template <class T>
    static void pack(PackedView to, MatrixView<T> from, std::optional<RandomKey> key = std::nullopt)
    {
        eigen::pack<std::remove_const_t<T>>(to, from, key);
    }
    template <Scalar T>
    static void unpack(MatrixView<T> to, ConstPackedView from)
    {
        eigen::unpack<T>(to, from);
    }
    template <Scalar T>
    static void adamw_step(MatrixView<T> w, Out<T> m, Out<T> v, In<T> g, const AdamWStep<T>& step)
    {
        eigen::adamw_step<T>(w, m, v, g, step);
    }
};

static_assert(OptimizerStorageFor<EigenStorage, float> && OptimizerStorageFor<EigenStorage, double>);

}  // namespace wasi
