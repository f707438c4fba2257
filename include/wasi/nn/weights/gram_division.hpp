#pragma once
#include <algorithm>
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::nn {

namespace detail {

/// G (r,r), symmetric and at least positive semidefinite, becomes its pseudo-inverse, by eigenvectors: values below
/// r epsilon of the largest count as zero. About 11 r³ flops.
template <class S>
void pseudo_invert(MatrixView<double> g, Memory& memory)
{
    const Index r = g.rows;
    Tensor<double> vectors = workspace<double>(memory, r, r);
    S::copy(vectors.matrix(), ConstMatrixView<double>(g));
    Tensor<double> values = host_row<double>(memory, r);
    static_cast<void>(S::eigh(vectors.matrix(), values.span(), memory));
    Tensor<double> scaled = workspace<double>(memory, r, r);
    const double least = static_cast<double>(r) * epsilon<double> * values.span()[0];
    for (Index j = 0; j < r; ++j) {
        const double value = values.span()[static_cast<std::size_t>(j)];
        const double inverse = value > least ? 1.0 / value : 0.0;
        S::add_scaled(scaled.matrix().col_block(j, 1), 0.0, inverse, std::as_const(vectors).matrix().col_block(j, 1));
    }
    S::multiply(g, 1.0, std::as_const(scaled).matrix(), std::as_const(vectors).matrix().transposed(), 0.0, memory);
}

}  // namespace detail

/// D <- scale D (F Fᵀ + delta 1)⁻¹ for D (m,r), F (r,k): what a preconditioned step and LoRA-FA's correction divide a
/// factor's gradient by. The Gram matrix, its Cholesky factorisation and its inverse are in double; where it is
/// singular to rounding the pseudo-inverse stands in. m r numbers and 3 r² doubles of workspace; r² (k + r) flops in
/// double and 2 m r². Not cached for an F that stands still: next to the products of a step it is nothing.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
void divide_by_gram(MatrixView<T> d, ConstMatrixView<T> f, double delta, double scale, Memory& memory)
{
    const Index r = f.rows;
    require<shape_error>(d.cols == r && r >= 1, "divide_by_gram: ", shape_text(d.shape()), " by the Gram matrix of ",
                         shape_text(f.shape()));
    Tensor<double> inverse = workspace<double>(memory, r, r);
    {
        Tensor<double> gram = workspace<double>(memory, r, r);
        Tensor<double> factorised = workspace<double>(memory, r, r);
        S::gram(gram.matrix(), 0.0, f.transposed(), memory);
        S::add_constant(gram.matrix().diagonal(), delta);
        S::copy(factorised.matrix(), std::as_const(gram).matrix());
        S::fill(inverse.matrix(), 0.0);
        S::fill(inverse.matrix().diagonal(), 1.0);
        if (!S::solve_spd(factorised.matrix(), inverse.matrix(), memory)) {
            S::copy(inverse.matrix(), std::as_const(gram).matrix());
            detail::pseudo_invert<S>(inverse.matrix(), memory);
        }
    }
    Tensor<T> narrow = workspace<T>(memory, r, r);
    S::convert(narrow.matrix(), std::as_const(inverse).matrix());
    Tensor<T> before = workspace<T>(memory, d.rows, r);
    S::copy(before.matrix(), ConstMatrixView<T>(d));
    S::multiply(d, static_cast<T>(scale), std::as_const(before).matrix(), std::as_const(narrow).matrix(), T(0), memory);
}

}  // namespace wasi::nn
