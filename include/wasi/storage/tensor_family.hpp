#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "wasi/storage/tensor.hpp"
#include "wasi/storage/view_family.hpp"

namespace wasi {

/// The edge of the library for tensors of order N: how a user's tensor becomes a view, and which types results of the
/// same kind have. A specialisation provides
///
///   using Scalar, Storage;                      // Storage: the backend that computes for this family by default
///   static constexpr std::size_t order;         // N
///   static constexpr bool reversed;             // true: mode m of the user is mode N - 1 - m of the view
///   static auto with_view(const X&, f);         // f(ConstTensorView<Scalar, order>), without a copy where elements
///   are
///                                               // contiguous; the view lives only inside the call
///   using Result;                               // an owning tensor of order N
///   static Result make(const std::array<Index, order>&);       // extents as the user counts modes
///   static TensorView<Scalar, order> view(Result&);            // reversed like with_view
///   using Matrix;                               // for bases and factors; Family<Matrix> exists
///
/// A column-major tensor is the row-major tensor with its modes reversed, in the same memory: that is what `reversed`
/// is for. Whoever calls takes care of it once, with `view_mode` and `view_order` below.
template <class X>
struct TensorFamily;

/// A type that has a TensorFamily.
template <class X>
concept TensorLike = requires
{
    typename TensorFamily<std::remove_cvref_t<X>>::Scalar;
    typename TensorFamily<std::remove_cvref_t<X>>::Result;
};

/// The order of a user's tensor type.
template <TensorLike X>
inline constexpr std::size_t order_of = TensorFamily<std::remove_cvref_t<X>>::order;

/// Which mode of the view is mode `mode` of the user (and the other way round).
template <TensorLike X>
[[nodiscard]] constexpr std::size_t view_mode(std::size_t mode)
{
    using F = TensorFamily<std::remove_cvref_t<X>>;
    return F::reversed && mode < F::order ? F::order - 1 - mode : mode;
}

/// A list with one entry a mode, put into the order of the view (and the other way round).
template <TensorLike X, class Value, std::size_t N>
[[nodiscard]] std::array<Value, N> view_order(std::array<Value, N> by_mode)
{
    if constexpr (TensorFamily<std::remove_cvref_t<X>>::reversed) {
        for (std::size_t m = 0; m < N / 2; ++m) {
            std::swap(by_mode[m], by_mode[N - 1 - m]);
        }
    }
    return by_mode;
}

/// A tensor whose type does not say its order (Tensor, xt::xarray), taken as one of order N: of_order<3>(x). Refers to
/// x, so it is made in the call that uses it. Its family throws shape_error when x has another order.
template <std::size_t N, class X>
struct OfOrder {
    const X& value;
};

template <std::size_t N, class X>
[[nodiscard]] OfOrder<N, X> of_order(const X& x)
{
    return {x};
}
template <std::size_t N, class X>
OfOrder<N, X> of_order(const X&& x) = delete;

/// Views of contiguous row-major memory; results are Tensors, not booked.
template <class T, std::size_t N>
struct TensorFamily<TensorView<T, N>> {
    using Scalar = std::remove_const_t<T>;
    using Storage = EigenStorage;
    using Result = Tensor<Scalar>;
    using Matrix = Tensor<Scalar>;
    static constexpr std::size_t order = N;
    static constexpr bool reversed = false;

    template <class F>
    static decltype(auto) with_view(const TensorView<T, N>& x, F&& f)
    {
        return f(ConstTensorView<Scalar, N>(x));
    }
    [[nodiscard]] static Result make(const std::array<Index, N>& shape)
    {
        return {plain_memory(), Tag{}, Shape(std::span(shape))};
    }
    [[nodiscard]] static TensorView<Scalar, N> view(Result& result) { return result.template view<N>(); }
};

/// A Tensor, taken as one of order N.
template <std::size_t N, wasi::Scalar T>
struct TensorFamily<OfOrder<N, Tensor<T>>> : TensorFamily<ConstTensorView<T, N>> {
    template <class F>
    static decltype(auto) with_view(const OfOrder<N, Tensor<T>>& x, F&& f)
    {
        return f(x.value.template view<N>());
    }
};

}  // namespace wasi
