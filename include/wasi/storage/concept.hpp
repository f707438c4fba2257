#pragma once
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "wasi/core/memory.hpp"
#include "wasi/core/random.hpp"
#include "wasi/storage/packing.hpp"
#include "wasi/storage/view.hpp"

namespace wasi {

/// How many leading eigenvectors to compute, asked once all eigenvalues (descending) are known.
using ChooseCount = std::function<Index(std::span<const double>)>;

// Version 14 of the formatter breaks concepts and tables in comments.
// clang-format off

/// Who computes: a stateless list of coarse primitives on views. Algorithms are written once on this list and never
/// index elements. Every primitive overwrites its result whole (a result with beta = 0 may hold NaN before the call),
/// gives the same bits for any number of threads, and takes views whose shapes the caller has already checked.
/// Elementwise primitives may be called in place, with an input that is exactly the output.
///
///   multiply(c, alpha, a, b, beta, memory)   C = alpha A B + beta C;  A (m,k), B (k,n), C (m,n); C overlaps neither
///   orthonormalize(a, memory)                A (m,n), m >= n, becomes Q with QᵀQ = 1 and span(Q) containing span(A),
///                                            also when columns are dependent or zero; returns the numerical rank of A
///   cholesky_orthonormalize(a, memory)       the same, several times faster, for columns that are independent; returns
///                                            the numerical rank, or -1 and A as it was when they are not
///   gram(g, beta, a, memory)                 G = beta G + AᵀA, G (n,n) in double: products and sums in double
///   svd(a, u, s, v, memory)                  A = U diag(s) Vᵀ thin, s descending; false when it does not converge
///   eigh(a, w, memory)                       symmetric A (n,n) becomes its eigenvectors, w descending; false likewise
///   eigh_leading(a, w, choose, memory)       in double: all eigenvalues, descending, into w; the first k = choose(w)
///                                            columns of A become their eigenvectors; returns k, -1 when not converged
///   solve_spd(a, b, memory)                  B becomes A⁻¹ B, A symmetric positive definite (destroyed); false when
///                                            A is not
///   cholesky(a, memory)                      symmetric positive definite A (n,n) becomes F, lower triangular with zeros
///                                            above, A = F Fᵀ; false, and A destroyed, when it is not
///   copy(to, from)                           any mix of layouts, so also a transpose
///   convert(to, from)                        copy between float and double
///   add_scaled(y, beta, alpha, x)            Y = beta Y + alpha X (beta = 0: Y may hold NaN before)
///   dot(a, b) -> double                      sum of a_ij b_ij, products and sum in double
///   all_finite(a) -> bool
///   largest(a) -> double                     largest |a_ij|; infinity where an element is NaN or infinite, 0 for no elements
///   fill(y, value)                           y_ij = value
///   add_constant(y, value)                   y_ij += value
///   fill_normal(a, key)                      element (i,j) = key.normal(i cols + j)
template <class S, class T>
concept StorageFor =
    Scalar<T> && requires(MatrixView<T> c, ConstMatrixView<T> a, std::span<T> s, T x, Memory& memory, RandomKey key,
                          MatrixView<double> g, std::span<double> w, const ChooseCount& choose) {
    { S::multiply(c, x, a, a, x, memory) };
    { S::orthonormalize(c, memory) } -> std::same_as<Index>;
    { S::cholesky_orthonormalize(c, memory) } -> std::same_as<Index>;
    { S::gram(g, 1.0, a, memory) };
    { S::svd(a, c, s, c, memory) } -> std::same_as<bool>;
    { S::eigh(c, s, memory) } -> std::same_as<bool>;
    { S::eigh_leading(g, w, choose, memory) } -> std::same_as<Index>;
    { S::solve_spd(c, c, memory) } -> std::same_as<bool>;
    { S::cholesky(c, memory) } -> std::same_as<bool>;
    { S::copy(c, a) };
    { S::convert(g, a) };
    { S::convert(c, ConstMatrixView<double>(g)) };
    { S::add_scaled(c, x, x, a) };
    { S::dot(a, a) } -> std::same_as<double>;
    { S::all_finite(a) } -> std::same_as<bool>;
    { S::largest(a) } -> std::same_as<double>;
    { S::fill(c, x) };
    { S::add_constant(c, x) };
    { S::fill_normal(c, key) };
};

/// The row kernels that a neural network needs on top. Shapes: x, y, dx, dy (rows, cols) row-major and contiguous.
///
///   add_to_rows(y, v)                                       y_ij += v_j
///   column_sums(s, y, memory)                               s_j = sum_i y_ij
///   multiply_elements(y, x)                                 y_ij *= x_ij
///   scale_columns(y, v)                                     y_ij *= v_j
///   divide_by_root(y, x)                                    y_ij /= sqrt(x_ij)
///   gelu(y, x) / gelu_backward(dx, dy, x)                   y = x Phi(x);  dx = dy (Phi(x) + x phi(x))
///   quick_gelu(y, x) / quick_gelu_backward(dx, dy, x)       y = x s, s = 1 / (1 + exp(-1.702 x));
///                                                           dx = dy s (1 + 1.702 x (1 - s))
///   relu(y, x) / relu_backward(dx, dy, x)
///   softmax(y, scale)                                       rows of y become softmax(scale y)
///   softmax_backward(dy, p, scale)                          dy becomes scale p (dy - sum_j p_j dy_j)
///   layer_norm(y, mean, inverse_deviation, x, gain, bias, epsilon)
///   layer_norm_backward(dx, dgain, dbias, dy, x, mean, inverse_deviation, gain, memory)
///   cross_entropy(dx, x, labels) -> double                  mean of -log softmax(x)[label]; dx its gradient
///   pack(packed, x, key) / unpack(y, packed)                x in fewer bits, row by row (storage/packing.hpp), rounded
///                                                           to nearest, or at random by the key; y = what it stands for
template <class S, class T>
concept NeuralStorageFor =
    StorageFor<S, T> && requires(MatrixView<T> y, ConstMatrixView<T> x, std::span<T> v, std::span<const T> cv, T scale,
                                 Memory& memory, std::span<const std::int64_t> labels, PackedView packed,
                                 ConstPackedView const_packed, std::optional<RandomKey> key) {
        { S::add_to_rows(y, cv) };
        { S::column_sums(v, x, memory) };
        { S::multiply_elements(y, x) };
        { S::scale_columns(y, cv) };
        { S::divide_by_root(y, x) };
        { S::gelu(y, x) };
        { S::gelu_backward(y, x, x) };
        { S::quick_gelu(y, x) };
        { S::quick_gelu_backward(y, x, x) };
        { S::relu(y, x) };
        { S::relu_backward(y, x, x) };
        { S::softmax(y, scale) };
        { S::softmax_backward(y, x, scale) };
        { S::layer_norm(y, v, v, x, cv, cv, scale) };
        { S::layer_norm_backward(y, v, v, x, x, cv, cv, cv, memory) };
        { S::cross_entropy(y, x, labels) } -> std::same_as<double>;
        { S::pack(packed, x, key) };
        { S::unpack(y, const_packed) };
    };

/// The numbers of one AdamW step on one parameter (see optim::AdamW).
template <Scalar T>
struct AdamWStep {
    double beta1;  ///< doubles, since 1 - 0.999 of floats is off by 1e-5
    double beta2;
    T epsilon;
    T shrink;               ///< rate lambda
    T corrected_rate;       ///< rate / (1 - beta1^t)
    T second_correction;    ///< 1 / sqrt(1 - beta2^t)
    T scale;                ///< of the gradient
};

/// What optimisers with elementwise state need on top; all views row-major and contiguous:
///
///   adamw_step(w, m, v, g, step)    m = b1 m + (1 - b1) s g;  v = b2 v + (1 - b2) (s g)²;
///                                   w = (1 - shrink) w - corrected_rate m / (sqrt(v) second_correction + epsilon)
template <class S, class T>
concept OptimizerStorageFor =
    NeuralStorageFor<S, T> && requires(MatrixView<T> w, ConstMatrixView<T> g, AdamWStep<T> step) {
    { S::adamw_step(w, w, w, g, step) };
};

// clang-format on

}  // namespace wasi
