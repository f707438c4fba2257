#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "wasi/storage/tensor_family.hpp"
#include "wasi/xtensor/family.hpp"

namespace wasi {

namespace xtensor {

/// What TensorFamily has for an expression X of order N.
template <class X, std::size_t N>
struct TensorFamilyOf {
    using Scalar = std::remove_cv_t<typename X::value_type>;
    using Storage = XtensorStorage;
    static constexpr std::size_t order = N;
    static constexpr xt::layout_type layout = result_layout<X>;
    static constexpr bool reversed = layout == xt::layout_type::column_major;
    using Result = xt::xtensor<Scalar, N, layout>;
    using Matrix = xt::xtensor<Scalar, 2, layout>;

    /// A view of an expression's elements where they lie in one piece in the order of `layout`, else of a copy. Throws
    /// shape_error when it has another order.
    template <class F>
    static decltype(auto) view_of(const X& x, F&& f)
    {
        require<shape_error>(x.dimension() == N, "a tensor of order ", N, " is wanted, not an array of shape ",
                             shape_text(x.shape()));
        if constexpr (Stored<X>) {
            if (is_contiguous(x)) {
                return f(ConstTensorView<Scalar, N>{x.data() + x.data_offset(), extents(x.shape())});
            }
        }
        const Result evaluated = x;
        return f(ConstTensorView<Scalar, N>{evaluated.data(), extents(evaluated.shape())});
    }
    [[nodiscard]] static Result make(const std::array<Index, N>& shape)
    {
        std::array<std::size_t, N> unsigned_shape{};
        for (std::size_t m = 0; m < N; ++m) {
            unsigned_shape[m] = static_cast<std::size_t>(shape[m]);
        }
        return Result(unsigned_shape);
    }
    [[nodiscard]] static TensorView<Scalar, N> view(Result& result) { return {result.data(), extents(result.shape())}; }

private:
    template <class Extents>
    [[nodiscard]] static std::array<Index, N> extents(const Extents& shape)
    {
        std::array<Index, N> result{};
        for (std::size_t m = 0; m < N; ++m) {
            result[reversed ? N - 1 - m : m] = static_cast<Index>(shape[m]);
        }
        return result;
    }
    [[nodiscard]] static bool is_contiguous(const X& x)
    {
        Index expected = 1;
        for (std::size_t step = 0; step < N; ++step) {
            const std::size_t mode = reversed ? step : N - 1 - step;
            const auto extent = static_cast<Index>(x.shape()[mode]);
            if (extent > 1 && stride_of(x, mode) != expected) {
                return false;
            }
            expected *= extent;
        }
        return true;
    }
};

}  // namespace xtensor

/// xt::xtensor, adaptors, views and expressions whose type says their order. Row-major and column-major containers are
/// viewed in place, a column-major one with its modes reversed; what is not in one piece is evaluated first. Results
/// are xt::xtensor of the same layout. Example: examples/xtensor.cpp
template <class X>
requires xtensor::Expression<X> &&
    (xtensor::static_order<X> >= 1 && xtensor::static_order<X> != SIZE_MAX) struct TensorFamily<X>
    : xtensor::TensorFamilyOf<X, xtensor::static_order<X>> {
    template <class F>
    static decltype(auto) with_view(const X& x, F&& f)
    {
        return TensorFamily::view_of(x, std::forward<F>(f));
    }
};

/// An xt::xarray, or an expression of one, taken as a tensor of order N: of_order<3>(x). Throws shape_error when it has
/// another order.
template <std::size_t N, class X>
requires xtensor::Expression<X> &&
    (xtensor::static_order<X> == SIZE_MAX || xtensor::static_order<X> == N) struct TensorFamily<OfOrder<N, X>>
    : xtensor::TensorFamilyOf<X, N> {
    template <class F>
    static decltype(auto) with_view(const OfOrder<N, X>& x, F&& f)
    {
        return TensorFamily::view_of(x.value, std::forward<F>(f));
    }
};

}  // namespace wasi
