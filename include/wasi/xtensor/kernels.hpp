#pragma once
#include <cstdint>
#include <span>

#include "wasi/core/memory.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/xtensor/compiled.hpp"

/// The kernels of XtensorStorage, declared. StorageFor, NeuralStorageFor and OptimizerStorageFor say what each does;
/// the bodies are in elementwise.hpp and row_kernels.hpp. Apart from them so that files which see `extern template`
/// need not read xtensor at all.
namespace wasi::xtensor {

template <Scalar T>
void copy(MatrixView<T> to, ConstMatrixView<T> from);
template <Scalar T>
void add_scaled(MatrixView<T> y, T beta, T alpha, ConstMatrixView<T> x);
template <Scalar T>
[[nodiscard]] double dot(ConstMatrixView<T> a, ConstMatrixView<T> b);
template <Scalar T>
[[nodiscard]] bool all_finite(ConstMatrixView<T> a);
template <Scalar T>
[[nodiscard]] double largest(ConstMatrixView<T> a);
template <Scalar T>
void adamw_step(MatrixView<T> w, MatrixView<T> m, MatrixView<T> v, ConstMatrixView<T> g, const AdamWStep<T>& step);

template <Scalar T>
void add_to_rows(MatrixView<T> y, std::span<const T> v);
template <Scalar T>
void column_sums(std::span<T> sums, ConstMatrixView<T> y, Memory& memory);
template <Scalar T>
void multiply_elements(MatrixView<T> y, ConstMatrixView<T> x);
template <Scalar T>
void scale_columns(MatrixView<T> y, std::span<const T> v);
template <Scalar T>
void divide_by_root(MatrixView<T> y, ConstMatrixView<T> x);
template <Scalar T>
void gelu(MatrixView<T> y, ConstMatrixView<T> x);
template <Scalar T>
void gelu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x);
template <Scalar T>
void quick_gelu(MatrixView<T> y, ConstMatrixView<T> x);
template <Scalar T>
void quick_gelu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x);
template <Scalar T>
void relu(MatrixView<T> y, ConstMatrixView<T> x);
template <Scalar T>
void relu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x);
template <Scalar T>
void softmax(MatrixView<T> y, T scale);
template <Scalar T>
void softmax_backward(MatrixView<T> dy, ConstMatrixView<T> p, T scale);
template <Scalar T>
void layer_norm(MatrixView<T> y, std::span<T> mean, std::span<T> inverse_deviation, ConstMatrixView<T> x,
                std::span<const T> gain, std::span<const T> bias, T small);
template <Scalar T>
void layer_norm_backward(MatrixView<T> dx, std::span<T> dgain, std::span<T> dbias, ConstMatrixView<T> dy,
                         ConstMatrixView<T> x, std::span<const T> mean, std::span<const T> inverse_deviation,
                         std::span<const T> gain, Memory& memory);
template <Scalar T>
[[nodiscard]] double cross_entropy(MatrixView<T> dx, ConstMatrixView<T> x, std::span<const std::int64_t> labels);

#ifdef WASI_EXTERN_XTENSOR
WASI_COMPILED(WASI_XTENSOR_KERNELS)
#endif

}  // namespace wasi::xtensor
