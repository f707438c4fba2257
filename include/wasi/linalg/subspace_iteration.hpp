#pragma once
#include <algorithm>
#include <type_traits>
#include <utility>

#include "wasi/core/parallel.hpp"
#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/linalg/orthonormalize.hpp"

namespace wasi::linalg {

namespace detail {

/// G = (2^k A)ᵀ (2^k A) V: see normal_product. Blocks of A are scaled where k is not 0.
template <class S, Scalar T>
requires StorageFor<S, T>
void normal_product(MatrixView<T> g, ConstMatrixView<T> a, ConstMatrixView<T> v, int k, Memory& memory)
{
    constexpr Index pieces = 8;
    const Index height = std::max<Index>(32, (a.rows + pieces - 1) / pieces);
    const Index count = (a.rows + height - 1) / height;
    constexpr Index block_rows = 64;
    Tensor<T> partial(memory, Tag{Use::workspace, 0}, Shape{count, a.cols, v.cols});
    Tensor<T> images(memory, Tag{Use::workspace, 0}, Shape{count, block_rows, v.cols});
    Tensor<T> scaled_blocks;
    if (k != 0) {
        scaled_blocks = Tensor<T>(memory, Tag{Use::workspace, 0}, Shape{count, block_rows * a.cols});
    }
    parallel_for(count, [&](Index piece) {
        const auto sum = partial.template view<3>().slice(piece);
        const Index end = std::min((piece + 1) * height, a.rows);
        for (Index first = piece * height; first < end; first += block_rows) {
            const Index rows = std::min(block_rows, end - first);
            auto block = a.row_block(first, rows);
            if (k != 0) {
                T* data = scaled_blocks.data() + piece * block_rows * a.cols;
                const auto copy = a.is_row_major() ? MatrixView<T>::row_major(data, rows, a.cols)
                                                   : MatrixView<T>::col_major(data, rows, a.cols);
                scale_to<S, T>(copy, block, k);
                block = copy;
            }
            const auto image = images.template view<3>().slice(piece).row_block(0, rows);
            S::multiply(image, T(1), block, v, T(0), memory);
            S::multiply(sum, T(1), block.transposed(), image, first == piece * height ? T(0) : T(1), memory);
        }
    });
    for (Index piece = 0; piece < count; ++piece) {
        S::add_scaled(g, piece == 0 ? T(0) : T(1), T(1), partial.template view<3>().slice(piece));
    }
}

}  // namespace detail

/// G = Aᵀ (A V) for A (m,n) and a thin V (n,r): one step of the power method on AᵀA, in one read of A. The product is
/// cut into blocks of rows; A V of a block is used while the block is still in cache. 4 mnr flops, workspace 8 n r +
/// blocks. G is of the size of A squared: it overflows or vanishes where that does (subspace_step, which wants no more
/// than its directions, does not). Throws shape_error when the shapes do not fit or A has no rows.
template <class S, Scalar T>
requires StorageFor<S, T>
void normal_product(MatrixView<T> g, ConstMatrixView<T> a, ConstMatrixView<T> v, Memory& memory)
{
    require<shape_error>(a.cols == v.rows && g.rows == a.cols && g.cols == v.cols, "normal_product: A ",
                         shape_text(a.shape()), ", V ", shape_text(v.shape()), " and G ", shape_text(g.shape()),
                         " do not fit");
    require<shape_error>(a.rows > 0, "normal_product: empty matrix ", shape_text(a.shape()));
    detail::normal_product<S, T>(g, a, v, 0, memory);
}

/// One warm step of subspace iteration towards the leading right singular vectors: V <- orth(Aᵀ A V), A (m,n), V (n,r).
/// The angle to the leading subspace shrinks by (sigma_{r+1} / sigma_r)² (Golub and Van Loan 8.2.4). V keeps
/// orthonormal columns whatever A is. Coefficients of the old basis do not belong to the new one: columns may flip and
/// mix. The size of A does not matter: where AᵀA V leaves what T holds, it is computed anew of 2^k A, at twice the cost
/// (4 mnr flops and a read of A more) and with blocks of rows as workspace; 2^k A gives the bits of A, unless AᵀA V
/// happens to have orthonormal columns already. What lies below the smallest normal number has lost digits before it
/// comes here. 4 mnr + 4 n r² flops, one read of A.
template <class S, Scalar T>
requires StorageFor<S, T>
void subspace_step(ConstMatrixView<T> a, MatrixView<T> v, Memory& memory)
{
    Tensor<T> image = workspace<T>(memory, v.rows, v.cols);
    normal_product<S, T>(image.matrix(), a, v, memory);
    if (!detail::is_ordinary<T>(S::dot(std::as_const(image).matrix(), image.matrix()))) {
        const int k = detail::ordinary_shift<T>(S::largest(a));
        const int k_of_basis = detail::ordinary_shift<T>(S::largest(ConstMatrixView<T>(v)));
        if (k != 0 || k_of_basis != 0) {
            detail::scale_to<S, T>(v, v, k_of_basis);
            detail::normal_product<S, T>(image.matrix(), a, v, k, memory);
        }
    }
    S::copy(v, image.matrix());
    (void)orthonormalize_columns<S, T>(v, memory);
}

/// What is no matrix of float or double is refused when compiling, with one sentence.
template <class V>
void subspace_step(wasi::detail::NotAMatrix a, V& v, Memory& memory = plain_memory());

/// subspace_step for Eigen types and their like: V, a matrix of the caller's (any owning type with a Family, or a
/// MatrixView), follows the leading right singular vectors of A. Throws shape_error on an empty A and unless V is (n,r)
/// with r <= n, argument_error on NaN or infinity. Example: examples/warm_subspace.cpp
template <MatrixLike A, WritableMatrix<typename Family<A>::Scalar> V>
void subspace_step(const A& a, V& v, Memory& memory = plain_memory())
{
    using F = Family<A>;
    using S = typename F::Storage;
    F::with_view(a, [&](auto view) {
        const auto basis = Family<std::remove_const_t<V>>::view(v);
        require<shape_error>(basis.rows == view.cols && basis.cols <= basis.rows, "subspace_step: a basis ",
                             shape_text(basis.shape()), " does not fit a matrix ", shape_text(view.shape()));
        require_finite<S, typename F::Scalar>(view, "subspace_step", "a");
        require_finite<S, typename F::Scalar>(basis, "subspace_step", "v");
        subspace_step<S, typename F::Scalar>(view, basis, memory);
    });
}

WASI_COMPILED(WASI_LINALG_SUBSPACE_ITERATION)

}  // namespace wasi::linalg
