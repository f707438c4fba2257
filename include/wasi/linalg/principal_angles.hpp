#pragma once
#include <algorithm>
#include <cmath>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/orthonormalize.hpp"

namespace wasi::linalg {

namespace detail {

/// (1 - U Uᵀ) V for orthonormal U (n,p) and V (n,q).
template <class S, Scalar T>
[[nodiscard]] Tensor<T> outside_of(ConstMatrixView<T> u, ConstMatrixView<T> v, Memory& memory)
{
    Tensor<T> rest = workspace<T>(memory, v.rows, v.cols);
    Tensor<T> along = workspace<T>(memory, u.cols, v.cols);
    S::copy(rest.matrix(), v);
    S::multiply(along.matrix(), T(1), u.transposed(), v, T(0), memory);
    S::multiply(rest.matrix(), T(-1), u, std::as_const(along).matrix(), T(1), memory);
    return rest;
}

}  // namespace detail

/// The sine of the largest principal angle between span(U) and span(V), U (n,p) and V (n,q) with orthonormal columns:
/// ||(1 - U Uᵀ) V||_2 for q <= p, else with U and V exchanged. For subspaces of one dimension it is ||U Uᵀ - V Vᵀ||_2.
/// From the part outside, not as sqrt(1 - cos²), which sees no angle below 1e-8 (3e-4 in float). 4 n p q flops and a
/// Gram of (n, min(p,q)). Shapes are the caller's business. Source: Björck and Golub 1973.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] double sine_of_largest_angle(ConstMatrixView<T> u, ConstMatrixView<T> v, Memory& memory)
{
    if (u.cols < v.cols) {
        std::swap(u, v);
    }
    if (v.cols == 0) {
        return 0.0;
    }
    const Tensor<T> rest = detail::outside_of<S, T>(u, v, memory);
    Tensor<double> gram = workspace<double>(memory, v.cols, v.cols);
    Tensor<double> values = host_row<double>(memory, v.cols);
    S::gram(gram.matrix(), 0.0, rest.matrix(), memory);
    if (!S::eigh(gram.matrix(), values.span(), memory)) {
        return std::min(1.0, std::sqrt(S::dot(rest.matrix(), rest.matrix())));  // the Frobenius norm, an upper bound
    }
    return std::min(1.0, std::sqrt(std::max(0.0, values.data()[0])));
}

/// The principal angles between span(U) and span(V), ascending, in radians: U (n,p) and V (n,q) have orthonormal
/// columns, and there are min(p,q) angles. Cosines are the singular values of UᵀV, sines those of (1 - U Uᵀ) V; an
/// angle is taken from its sine below 45 degrees and from its cosine above, so that small and large ones are accurate
/// to a few epsilon alike. Source: Björck and Golub 1973, Knyazev and Argentati 2002 (algorithm 3.1). About 4 n p q + 6
/// n q² flops for q <= p. Shapes are the caller's business.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] std::vector<double> principal_angles(ConstMatrixView<T> u, ConstMatrixView<T> v, Memory& memory)
{
    if (u.cols < v.cols) {
        std::swap(u, v);
    }
    const Index count = v.cols;
    const auto values_of = [&](ConstMatrixView<T> a) {
        const Index k = std::min(a.rows, a.cols);
        Tensor<T> left = workspace<T>(memory, a.rows, k);
        Tensor<T> right = workspace<T>(memory, a.cols, k);
        Tensor<T> s = host_row<T>(memory, k);
        std::vector<double> values(static_cast<std::size_t>(count), 0.0);
        if (!S::svd(a, left.matrix(), s.span(), right.matrix(), memory)) {
            values.assign(values.size(), std::nan(""));
        } else {
            std::copy_n(s.data(), k, values.begin());
        }
        return values;
    };
    Tensor<T> overlap = workspace<T>(memory, u.cols, v.cols);
    S::multiply(overlap.matrix(), T(1), u.transposed(), v, T(0), memory);
    const std::vector<double> cosines = values_of(std::as_const(overlap).matrix());
    const Tensor<T> rest = detail::outside_of<S, T>(u, v, memory);
    std::vector<double> angles = values_of(rest.matrix());  // sines, from the largest angle down
    std::reverse(angles.begin(), angles.end());
    for (std::size_t j = 0; j < angles.size(); ++j) {
        const double cosine = std::min(1.0, cosines[j]);
        angles[j] = 2.0 * cosine * cosine < 1.0 ? std::acos(cosine) : std::asin(std::min(1.0, angles[j]));
    }
    // Where the two branches meet, rounding may exchange neighbours.
    std::sort(angles.begin(), angles.end());
    return angles;
}

/// What is no matrix of float or double is refused when compiling, with one sentence.
template <class U, class V>
requires(!MatrixLike<U> || !MatrixLike<V>) std::vector<double> principal_angles(const U&, const V&,
                                                                                Memory& = plain_memory())
{
    using Refused = std::conditional_t<MatrixLike<U>, V, U>;
    static_assert(wasi::detail::refuse_as_matrix<Refused>());
    return {};
}

/// The principal angles between the spans of the columns of two matrices (n,p) and (n,q) of independent columns, which
/// need not be orthonormal: ascending, in radians, min(p,q) of them. Throws shape_error unless both have as many rows
/// and no more columns than rows, argument_error on NaN or infinity, and on dependent columns, which span less than
/// they are. Example: examples/warm_subspace.cpp
template <MatrixLike U, MatrixLike V>
[[nodiscard]] auto principal_angles(const U& u, const V& v, Memory& memory = plain_memory())
{
    using F = Family<U>;
    using S = typename F::Storage;
    using T = typename F::Scalar;
    static_assert(std::same_as<T, typename Family<V>::Scalar>, "principal_angles: two matrices of one scalar type");
    const auto basis_of = [&](ConstMatrixView<T> a, const char* name) {
        require<shape_error>(a.cols <= a.rows, "principal_angles: ", name, " ", shape_text(a.shape()),
                             " has more columns than rows");
        require_finite<S, T>(a, "principal_angles", name);
        Tensor<T> basis = workspace<T>(memory, a.rows, a.cols);
        S::copy(basis.matrix(), a);
        const Index rank = a.cols == 0 ? 0 : S::orthonormalize(basis.matrix(), memory);
        require<argument_error>(rank == a.cols, "principal_angles: the ", a.cols, " columns of ", name, " have rank ",
                                rank);
        return basis;
    };
    return F::with_view(u, [&](auto u_view) {
        return Family<V>::with_view(v, [&](auto v_view) {
            require<shape_error>(u_view.rows == v_view.rows, "principal_angles: u ", shape_text(u_view.shape()),
                                 " and v ", shape_text(v_view.shape()), " differ in rows");
            const Tensor<T> u_basis = basis_of(u_view, "u");
            const Tensor<T> v_basis = basis_of(v_view, "v");
            const std::vector<double> angles = principal_angles<S, T>(u_basis.matrix(), v_basis.matrix(), memory);
            auto result = F::make_vector(static_cast<Index>(angles.size()));
            std::transform(angles.begin(), angles.end(), F::span(result).begin(),
                           [](double angle) { return static_cast<T>(angle); });
            return result;
        });
    });
}

WASI_COMPILED(WASI_LINALG_PRINCIPAL_ANGLES)

}  // namespace wasi::linalg
