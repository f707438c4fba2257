#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/eigen/compiled.hpp"

/// The kernels of EigenStorage, declared. StorageFor, NeuralStorageFor and OptimizerStorageFor say what each does; the
/// bodies are in the other files of this folder. Apart from them so that files which see `extern template` need not
/// read Eigen's decompositions at all.
namespace wasi::eigen {

template <Scalar T>
void multiply(MatrixView<T> c, T alpha, ConstMatrixView<T> a, ConstMatrixView<T> b, T beta, Memory& memory);
template <Scalar T>
Index orthonormalize(MatrixView<T> a, Memory& memory);
template <Scalar T>
[[nodiscard]] Index cholesky_orthonormalize(MatrixView<T> a, Memory& memory);
template <Scalar T>
void gram(MatrixView<double> g, double beta, ConstMatrixView<T> a, Memory& memory);
template <Scalar T>
bool svd(ConstMatrixView<T> a, MatrixView<T> u, std::span<T> s, MatrixView<T> v, Memory& memory);
template <Scalar T>
bool eigh(MatrixView<T> a, std::span<T> w, Memory& memory);
template <class Real>
Index eigh_leading(MatrixView<Real> a, std::span<Real> w, const ChooseCount& choose, Memory& memory);
template <Scalar T>
bool solve_spd(MatrixView<T> a, MatrixView<T> b, Memory& memory);
template <Scalar T>
bool cholesky(MatrixView<T> a, Memory& memory);

template <Scalar T>
void copy(MatrixView<T> to, ConstMatrixView<T> from);
template <Scalar To, Scalar From>
void convert(MatrixView<To> to, ConstMatrixView<From> from);
template <Scalar T>
void add_scaled(MatrixView<T> y, T beta, T alpha, ConstMatrixView<T> x);
template <Scalar T>
[[nodiscard]] double dot(ConstMatrixView<T> a, ConstMatrixView<T> b);
template <Scalar T>
[[nodiscard]] bool all_finite(ConstMatrixView<T> a);
template <Scalar T>
[[nodiscard]] double largest(ConstMatrixView<T> a);
template <Scalar T>
void fill(MatrixView<T> y, T value);
template <Scalar T>
void add_constant(MatrixView<T> y, T value);
template <Scalar T>
void fill_normal(MatrixView<T> a, RandomKey key);
template <Scalar T>
void adamw_step(MatrixView<T> w, MatrixView<T> m, MatrixView<T> v, ConstMatrixView<T> g, const AdamWStep<T>& step);

template <Scalar T>
void add_to_rows(MatrixView<T> y, std::span<const T> v);
template <Scalar T>
void column_sums(std::span<T> sum, ConstMatrixView<T> y, Memory& memory);
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
template <Scalar T>
void pack(PackedView to, ConstMatrixView<T> from, std::optional<RandomKey> key);
template <Scalar T>
void unpack(MatrixView<T> to, ConstPackedView from);

WASI_COMPILED(WASI_EIGEN_FACTORIZATIONS)
WASI_COMPILED(WASI_EIGEN_KERNELS)
#ifdef WASI_EXTERN_DOUBLE
WASI_EIGEN_DOUBLE_FACTORIZATIONS(extern template)
#endif

}  // namespace wasi::eigen
