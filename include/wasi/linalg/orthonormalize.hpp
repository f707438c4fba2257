#pragma once
#include <algorithm>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/eigen/family.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg {

/// Throws argument_error when a matrix holds NaN or infinity.
template <class S, Scalar T>
requires StorageFor<S, T>
void require_finite(ConstMatrixView<T> a, std::string_view who, std::string_view name)
{
    require<argument_error>(S::all_finite(a), who, ": ", name, " ", shape_text(a.shape()), " holds NaN or infinity");
}

/// An orthonormal basis and the numerical rank of what it was made from.
template <class Matrix>
struct Basis {
    Matrix q;    // (m, n), QᵀQ = 1
    Index rank;  // below n: the last directions are arbitrary ones of the complement
};

/// Q (m,n) with QᵀQ = 1 and span(Q) containing span(A), by Householder QR (Golub and Van Loan, "Matrix
/// Computations", 5.2). Dependent, duplicated and zero columns are ordinary input: Q is orthonormal all the same and
/// `rank` tells. Throws shape_error if m < n, argument_error on NaN or infinity. Cost 4 m n² flops, workspace 2 m n.
/// Example: examples/randomized_svd.cpp
template <MatrixLike A>
[[nodiscard]] auto orthonormalize(const A& a, Memory& memory = plain_memory())
{
    using F = Family<A>;
    using S = typename F::Storage;
    Basis<typename F::Matrix> result{F::make_matrix(a.rows(), a.cols()), 0};
    F::with_view(a, [&](auto view) {
        require<shape_error>(view.rows >= view.cols, "orthonormalize: a matrix ", shape_text(view.shape()),
                             " has more columns than an orthonormal basis can have");
        require_finite<S, typename F::Scalar>(view, "orthonormalize", "a");
        S::copy(F::view(result.q), view);
    });
    result.rank = S::orthonormalize(F::view(result.q), memory);
    return result;
}

}  // namespace wasi::linalg
