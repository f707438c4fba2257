#pragma once
#include <cmath>
#include <utility>

#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"
#include "wasi/subspace/compiled.hpp"

namespace wasi::subspace {

/// A (m,n), m >= n, of full column rank becomes its orthogonal polar factor A (AᵀA)^-1/2: the nearest matrix with
/// orthonormal columns, which unlike a QR neither flips nor mixes columns. Newton-Schulz steps A <- A (3 - AᵀA) / 2
/// when A is already close (they converge quadratically for ||AᵀA - 1|| < 1; Higham, "Functions of Matrices", 8.3),
/// else by eigenvectors of AᵀA, of A scaled by a power of two where AᵀA would leave T. The size of A does not matter.
/// About 4 m n² flops a step, two or three steps for the small moves of training.
template <class S, Scalar T>
requires StorageFor<S, T>
void polar_factor(MatrixView<T> a, Memory& memory)
{
    const Index n = a.cols;
    Tensor<T> gram = workspace<T>(memory, n, n);
    Tensor<T> moved = workspace<T>(memory, a.rows, n);
    const double enough = 4.0 * std::sqrt(static_cast<double>(n)) * static_cast<double>(epsilon<T>);
    for (int iteration = 0; iteration < 12; ++iteration) {
        S::multiply(gram.matrix(), T(1), a.transposed(), a, T(0), memory);
        S::add_constant(gram.matrix().diagonal(), T(-1));
        const double defect = std::sqrt(S::dot(std::as_const(gram).matrix(), gram.matrix()));
        if (defect <= enough) {
            return;
        }
        if (!(defect < 0.5)) {
            break;
        }
        S::copy(moved.matrix(), a);
        S::multiply(a, T(-0.5), moved.matrix(), gram.matrix(), T(1), memory);
    }
    // Far away: A (AᵀA)^-1/2 = A V diag(1/sqrt(w)) Vᵀ. 2^k A has the same factor.
    if (const int k = linalg::detail::ordinary_shift<T>(S::largest(ConstMatrixView<T>(a))); k != 0) {
        linalg::detail::scale_to<S, T>(a, a, k);
    }
    S::multiply(gram.matrix(), T(1), a.transposed(), a, T(0), memory);
    Tensor<T> w = host_row<T>(memory, n);
    (void)S::eigh(gram.matrix(), w.span(), memory);
    Tensor<T> scaled = workspace<T>(memory, n, n);
    S::copy(scaled.matrix(), gram.matrix());
    const T floor = w.span()[0] * epsilon<T>;
    for (Index j = 0; j < n; ++j) {
        const T inverse = T(1) / std::sqrt(std::max(w.span()[static_cast<std::size_t>(j)], floor));
        const auto column = scaled.matrix().col_block(j, 1);
        S::add_scaled(column, inverse, T(0), std::as_const(gram).matrix().col_block(j, 1));
    }
    Tensor<T> root = workspace<T>(memory, n, n);
    S::multiply(root.matrix(), T(1), scaled.matrix(), std::as_const(gram).matrix().transposed(), T(0), memory);
    S::copy(moved.matrix(), a);
    S::multiply(a, T(1), moved.matrix(), root.matrix(), T(0), memory);
}

WASI_COMPILED(WASI_SUBSPACE_POLAR)

}  // namespace wasi::subspace
