#pragma once
#include <algorithm>

#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/status.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/eigen/family.hpp"
#include "wasi/storage/refusal.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg {

/// Throws argument_error when a matrix holds NaN or infinity.
template <class S, Scalar T>
requires StorageFor<S, T>
void require_finite(ConstMatrixView<T> a, std::string_view who, std::string_view name)
{
    require<argument_error>(S::all_finite(a), who, ": ", name, " ", shape_text(a.shape()), " holds NaN or infinity");
}

/// How a basis is made orthonormal.
enum class OrthonormalizeMethod {
    automatic,    ///< CholeskyQR2 for matrices at least twice as tall as wide, and Householder where it gives up
    cholesky_qr,  ///< CholeskyQR2 with a shifted third pass; Householder only where columns are dependent
    householder,  ///< always: slower, serial, never gives up
};

struct OrthonormalizeOptions {
    OrthonormalizeMethod method = OrthonormalizeMethod::automatic;
};

struct OrthonormalizeInfo {
    Status status = Status::ok;  ///< rank_deficient when rank < n
    /// R_jj above max(m,n) epsilon max R_jj (in float less for tall matrices: 8 sqrt(m) epsilon, CholeskyQR2 8 sqrt(n)
    /// epsilon); below n, the last directions are arbitrary.
    Index rank = 0;
    OrthonormalizeMethod method = OrthonormalizeMethod::householder;  ///< the one that made the basis
};

/// An orthonormal basis of what it was made from.
template <class Matrix>
struct Basis {
    Matrix q;  // (m, n), QᵀQ = 1
    OrthonormalizeInfo info;
};

/// Q (m,n), m >= n, in place: QᵀQ = 1 and span(Q) contains span(A). The engine's; it checks nothing.
template <class S, Scalar T>
requires StorageFor<S, T> OrthonormalizeInfo orthonormalize_columns(MatrixView<T> a, Memory& memory,
                                                                    OrthonormalizeOptions options = {})
{
    using enum OrthonormalizeMethod;
    OrthonormalizeInfo info;
    const bool tall = a.rows >= 2 * a.cols;
    if (options.method == cholesky_qr || (options.method == automatic && tall)) {
        info.rank = S::cholesky_orthonormalize(a, memory);
        if (info.rank >= 0) {
            info.method = cholesky_qr;
            info.status = info.rank < a.cols ? Status::rank_deficient : Status::ok;
            return info;
        }
    }
    info.rank = S::orthonormalize(a, memory);
    info.status = info.rank < a.cols ? Status::rank_deficient : Status::ok;
    return info;
}

/// What is no matrix of float or double is refused when compiling, with one sentence.
Basis<Eigen::MatrixXd> orthonormalize(wasi::detail::NotAMatrix a, const OrthonormalizeOptions& options = {},
                                      Memory& memory = plain_memory());

/// Q (m,n) with QᵀQ = 1 and span(Q) containing span(A). Dependent, duplicated and zero columns are ordinary input: Q is
/// orthonormal all the same and info tells. Methods: CholeskyQR2 with a shifted fallback (Yamamoto et al. 2015; Fukaya
/// et al. 2020; here with scaled columns and Grams in double), 4 m n² flops, threaded, columns keep their sign;
/// Householder QR (Golub and Van Loan, "Matrix Computations", 5.2), 4 m n² flops, serial. ||QᵀQ - 1|| is a small
/// multiple of sqrt(n) epsilon either way. Workspace 2 m n. Throws shape_error if m < n, argument_error on NaN or
/// infinity. Example: examples/randomized_svd.cpp
template <MatrixLike A>
[[nodiscard]] auto orthonormalize(const A& a, const OrthonormalizeOptions& options = {},
                                  Memory& memory = plain_memory())
{
    using F = Family<A>;
    using S = typename F::Storage;
    return F::with_view(a, [&](auto view) {
        require<shape_error>(view.rows >= view.cols, "orthonormalize: a matrix ", shape_text(view.shape()),
                             " has more columns than an orthonormal basis can have");
        require_finite<S, typename F::Scalar>(view, "orthonormalize", "a");
        Basis<typename F::Matrix> result{F::make_matrix(view.rows, view.cols), {}};
        S::copy(F::view(result.q), view);
        result.info = orthonormalize_columns<S, typename F::Scalar>(F::view(result.q), memory, options);
        return result;
    });
}

WASI_COMPILED(WASI_LINALG_ORTHONORMALIZE)

}  // namespace wasi::linalg
