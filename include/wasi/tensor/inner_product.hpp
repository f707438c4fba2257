#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "wasi/tensor/compiled.hpp"
#include "wasi/tensor/ordinary_size.hpp"
#include "wasi/tensor/residual.hpp"
#include "wasi/tensor/tucker_of.hpp"

/// Inner products, norms and distances of tensors in Tucker form, without forming the full tensor (Kolda, Bader 2009,
/// 4.1; Bader, Kolda 2007). Sums are taken in double over terms that are rounded to T. Elements may have any size: what
/// is very large or small is scaled by a power of two on the way in, and results are right where double holds them.
namespace wasi::tensor {

namespace detail {

/// The exponent that brings the larger of two tensors to ordinary size.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] int common_exponent(ConstTensorView<T, N> a, ConstTensorView<T, N> b)
{
    return scale_exponent<T>(std::max(S::largest(a.rows_by(N - 1)), S::largest(b.rows_by(N - 1))));
}

/// The tensor times 2^-exponent, where that is its own.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Ordinary<T, N> at_own_size(ConstTensorView<T, N> x, Memory& memory)
{
    return scaled_down<S, T, N>(x, scale_exponent<T>(S::largest(x.rows_by(N - 1))), memory);
}

}  // namespace detail

/// <A~, B~> = <S_A, S_B x_1 (U_1ᵀ V_1) ... x_N (U_Nᵀ V_N)>. The bases need not be orthonormal. Cost about
/// sum 2 n_m r_m s_m flops and products with a core. Throws shape_error unless both have the same shape.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double inner_product(const TuckerView<T, N>& a, const TuckerView<T, N>& b, Memory& memory)
{
    detail::require_fits(a, "inner_product");
    detail::require_fits(b, "inner_product");
    require<shape_error>(a.shape() == b.shape(), "inner_product: a tensor ", shape_text(a.shape()), " and one ",
                         shape_text(b.shape()));
    std::array<Tensor<T>, N> products;
    std::array<std::optional<ConstMatrixView<T>>, N> factors;
    for (std::size_t m = 0; m < N; ++m) {
        if (a.has_basis(m) && b.has_basis(m)) {
            products[m] = workspace<T>(memory, a.bases[m].cols, b.bases[m].cols);
            S::multiply(products[m].matrix(), T(1), a.bases[m].transposed(), b.bases[m], T(0), memory);
            factors[m] = std::as_const(products[m]).matrix();
        } else if (a.has_basis(m)) {
            factors[m] = a.bases[m].transposed();
        } else if (b.has_basis(m)) {
            factors[m] = b.bases[m];
        }
    }
    const auto left = detail::at_own_size<S, T, N>(a.core, memory);
    const auto right = detail::at_own_size<S, T, N>(b.core, memory);
    const Tensor<T> moved = detail::products_or_copy<S, T, N>(right.view, factors, memory);
    return std::ldexp(S::dot(left.view.rows_by(N - 1), moved.matrix()), left.exponent + right.exponent);
}

/// <A~, X> = <S, X x_1 U_1ᵀ ... x_N U_Nᵀ>; one read of X, 2 r |X| flops for the first contraction. Throws shape_error
/// unless both have the same shape.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double inner_product(const TuckerView<T, N>& a, ConstTensorView<T, N> x, Memory& memory)
{
    detail::require_fits(a, "inner_product");
    require<shape_error>(a.shape() == x.shape, "inner_product: a tensor ", shape_text(a.shape()), " and one ",
                         shape_text(x.shape));
    const auto left = detail::at_own_size<S, T, N>(a.core, memory);
    const auto right = detail::at_own_size<S, T, N>(x, memory);
    const Tensor<T> moved = detail::products_or_copy<S, T, N>(right.view, detail::all_bases(a, true), memory);
    return std::ldexp(S::dot(left.view.rows_by(N - 1), moved.matrix()), left.exponent + right.exponent);
}

/// ||A~||² = <A~, A~>; with orthonormal bases (every decomposition here gives such) that is ||S||².
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double squared_norm(const TuckerView<T, N>& a, Memory& memory)
{
    return inner_product<S, T, N>(a, a, memory);
}

/// ||A~ - B~||: both cores are written in a common orthonormal basis [U_m V_m] = Q_m [R_m P_m] of each mode and
/// subtracted there, so two tensors that are nearly equal are told apart to rounding, which
/// ||A||² + ||B||² - 2 <A, B> cannot (it sees nothing below sqrt(epsilon)). Throws shape_error unless both have the
/// same shape.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double distance(const TuckerView<T, N>& a, const TuckerView<T, N>& b, Memory& memory)
{
    detail::require_fits(a, "distance");
    detail::require_fits(b, "distance");
    require<shape_error>(a.shape() == b.shape(), "distance: a tensor ", shape_text(a.shape()), " and one ",
                         shape_text(b.shape()));
    std::array<Tensor<T>, N> from_a;
    std::array<Tensor<T>, N> from_b;
    auto left = detail::all_bases(a, false);
    auto right = detail::all_bases(b, false);
    for (std::size_t m = 0; m < N; ++m) {
        const Index n = a.shape()[m];
        const Index joined = a.core.shape[m] + b.core.shape[m];  // 2 n where neither is compressed
        if (joined >= n) {
            continue;  // the unit vectors are a basis too, and shorter
        }
        Tensor<T> common = workspace<T>(memory, n, joined);  // (n, r + s)
        S::copy(common.matrix().col_block(0, a.bases[m].cols), a.bases[m]);
        S::copy(common.matrix().col_block(a.bases[m].cols, b.bases[m].cols), b.bases[m]);
        static_cast<void>(S::orthonormalize(common.matrix(), memory));
        from_a[m] = workspace<T>(memory, joined, a.bases[m].cols);
        from_b[m] = workspace<T>(memory, joined, b.bases[m].cols);
        S::multiply(from_a[m].matrix(), T(1), common.matrix().transposed(), a.bases[m], T(0), memory);
        S::multiply(from_b[m].matrix(), T(1), common.matrix().transposed(), b.bases[m], T(0), memory);
        left[m] = std::as_const(from_a[m]).matrix();
        right[m] = std::as_const(from_b[m]).matrix();
    }
    const int exponent = detail::common_exponent<S, T, N>(a.core, b.core);
    const auto from = detail::scaled_down<S, T, N>(a.core, exponent, memory);
    const auto to = detail::scaled_down<S, T, N>(b.core, exponent, memory);
    Tensor<T> difference = detail::products_or_copy<S, T, N>(from.view, left, memory);
    const Tensor<T> other = detail::products_or_copy<S, T, N>(to.view, right, memory);
    S::add_scaled(difference.matrix(), T(1), T(-1), other.matrix());
    const auto rest = detail::at_own_size<S, T, N>(std::as_const(difference).template view<N>(), memory);
    return std::ldexp(std::sqrt(S::dot(rest.view.rows_by(N - 1), rest.view.rows_by(N - 1))), exponent + rest.exponent);
}

/// ||X - X~||, summed over the residual itself by blocks of rows: sees errors down to the rounding of T, about
/// epsilon ||X||. Two reads of X (the first one for its size), 2 r_N |X| flops, workspace for 64 rows. Throws
/// shape_error unless both have the same shape.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double distance(const TuckerView<T, N>& a, ConstTensorView<T, N> x, Memory& memory)
{
    detail::require_fits(a, "distance");
    require<shape_error>(a.shape() == x.shape, "distance: a tensor ", shape_text(a.shape()), " and one ",
                         shape_text(x.shape));
    const int exponent = detail::common_exponent<S, T, N>(a.core, x);
    const auto core = detail::scaled_down<S, T, N>(a.core, exponent, memory);
    const auto from = detail::scaled_down<S, T, N>(x, exponent, memory);
    const double rest = detail::squared_residual<S, T, N>({core.view, a.bases}, from.view, memory);
    return std::ldexp(std::sqrt(rest), exponent);
}

/// ||X - X~|| / ||X||, 0 when both are zero; as exact as distance. Three reads of X.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double relative_error(const TuckerView<T, N>& a, ConstTensorView<T, N> x, Memory& memory)
{
    detail::require_fits(a, "relative_error");
    require<shape_error>(a.shape() == x.shape, "relative_error: a tensor ", shape_text(a.shape()), " and one ",
                         shape_text(x.shape));
    const int exponent = detail::common_exponent<S, T, N>(a.core, x);
    const auto core = detail::scaled_down<S, T, N>(a.core, exponent, memory);
    const auto from = detail::scaled_down<S, T, N>(x, exponent, memory);
    const double rest = detail::squared_residual<S, T, N>({core.view, a.bases}, from.view, memory);
    const double whole = S::dot(from.view.rows_by(N - 1), from.view.rows_by(N - 1));
    return rest == 0.0 ? 0.0 : std::sqrt(rest / whole);
}

/// inner_product for users' types.
template <class F>
[[nodiscard]] double inner_product(const TuckerOf<F>& a, const TuckerOf<F>& b, Memory& memory = plain_memory())
{
    return inner_product<typename F::Storage, typename F::Scalar, F::order>(view_of(a), view_of(b), memory);
}

/// squared_norm for users' types.
template <class F>
[[nodiscard]] double squared_norm(const TuckerOf<F>& a, Memory& memory = plain_memory())
{
    return squared_norm<typename F::Storage, typename F::Scalar, F::order>(view_of(a), memory);
}

/// distance for users' types.
template <class F>
[[nodiscard]] double distance(const TuckerOf<F>& a, const TuckerOf<F>& b, Memory& memory = plain_memory())
{
    return distance<typename F::Storage, typename F::Scalar, F::order>(view_of(a), view_of(b), memory);
}

/// Tensors whose views count modes in the same order as those of the family F, so that both can be in one expression.
template <class X, class F>
concept TensorLikeOf = TensorLike<X> && TensorFamily<X>::order == F::order&& TensorFamily<X>::reversed ==
                       F::reversed&& std::same_as<typename TensorFamily<X>::Scalar, typename F::Scalar>;

/// inner_product with a user's tensor.
template <class F, TensorLikeOf<F> X>
[[nodiscard]] double inner_product(const TuckerOf<F>& a, const X& x, Memory& memory = plain_memory())
{
    return TensorFamily<X>::with_view(x, [&](ConstTensorView<typename F::Scalar, F::order> view) {
        return inner_product<typename F::Storage, typename F::Scalar, F::order>(view_of(a), view, memory);
    });
}

/// distance to a user's tensor.
template <class F, TensorLikeOf<F> X>
[[nodiscard]] double distance(const TuckerOf<F>& a, const X& x, Memory& memory = plain_memory())
{
    return TensorFamily<X>::with_view(x, [&](ConstTensorView<typename F::Scalar, F::order> view) {
        return distance<typename F::Storage, typename F::Scalar, F::order>(view_of(a), view, memory);
    });
}

/// relative_error against a user's tensor.
template <class F, TensorLikeOf<F> X>
[[nodiscard]] double relative_error(const TuckerOf<F>& a, const X& x, Memory& memory = plain_memory())
{
    return TensorFamily<X>::with_view(x, [&](ConstTensorView<typename F::Scalar, F::order> view) {
        return relative_error<typename F::Storage, typename F::Scalar, F::order>(view_of(a), view, memory);
    });
}

WASI_COMPILED(WASI_TENSOR_INNER_PRODUCT)

}  // namespace wasi::tensor
