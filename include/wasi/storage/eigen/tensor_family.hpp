#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#if !__has_include(<unsupported/Eigen/CXX11/Tensor>)
#error "wasi/storage/eigen/tensor_family.hpp needs Eigen::Tensor, and this Eigen comes without its folder unsupported/."
#endif
#include <unsupported/Eigen/CXX11/Tensor>

#include "wasi/storage/eigen/family.hpp"
#include "wasi/storage/tensor_family.hpp"

namespace wasi {

namespace eigen {

/// Tensors of Eigen that have their elements in memory, all of them and in order.
template <class X>
inline constexpr bool is_stored_tensor = false;
template <class T, int N, int Options, class I>
inline constexpr bool is_stored_tensor<Eigen::Tensor<T, N, Options, I>> = true;
template <class T, class Sizes, int Options, class I>
inline constexpr bool is_stored_tensor<Eigen::TensorFixedSize<T, Sizes, Options, I>> = true;
template <class X, int Options, template <class> class Pointer>
inline constexpr bool is_stored_tensor<Eigen::TensorMap<X, Options, Pointer>> = true;

template <class X>
concept TensorExpression = std::derived_from<X, Eigen::TensorBase<X, Eigen::ReadOnlyAccessors>>;

}  // namespace eigen

/// Eigen's tensors (unsupported/Eigen/CXX11/Tensor), maps of them and expressions, row-major or column-major; results
/// are Eigen::Tensor of the same layout. Tensors and maps are viewed in place: a column-major one with its modes
/// reversed. Everything else (a sum, a slice) is evaluated first.
template <eigen::TensorExpression X>
requires wasi::Scalar<std::remove_const_t<typename Eigen::internal::traits<X>::Scalar>>
struct TensorFamily<X> {
    using Scalar = std::remove_const_t<typename Eigen::internal::traits<X>::Scalar>;
    using Storage = EigenStorage;
    static constexpr std::size_t order = static_cast<std::size_t>(Eigen::internal::traits<X>::NumDimensions);
    static constexpr int layout = Eigen::internal::traits<X>::Layout;
    static constexpr bool reversed = layout == static_cast<int>(Eigen::ColMajor);
    using Result = Eigen::Tensor<Scalar, static_cast<int>(order), layout>;
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, reversed ? Eigen::ColMajor : Eigen::RowMajor>;

    template <class F>
    static decltype(auto) with_view(const X& x, F&& f)
    {
        if constexpr (eigen::is_stored_tensor<X>) {
            return f(ConstTensorView<Scalar, order>{x.data(), extents(x.dimensions())});
        } else {
            const Result evaluated = x;
            return f(ConstTensorView<Scalar, order>{evaluated.data(), extents(evaluated.dimensions())});
        }
    }
    [[nodiscard]] static Result make(const std::array<Index, order>& shape)
    {
        typename Result::Dimensions dimensions;
        for (std::size_t m = 0; m < order; ++m) {
            dimensions[m] = shape[m];
        }
        return Result(dimensions);
    }
    [[nodiscard]] static TensorView<Scalar, order> view(Result& result)
    {
        return {result.data(), extents(result.dimensions())};
    }

private:
    template <class Dimensions>
    [[nodiscard]] static std::array<Index, order> extents(const Dimensions& dimensions)
    {
        // Indices that are constants: Eigen's lists of dimensions disagree about the sign of an index.
        return [&]<std::size_t... M>(std::index_sequence<M...>)
        {
            return std::array<Index, order>{static_cast<Index>(dimensions[reversed ? order - 1 - M : M])...};
        }
        (std::make_index_sequence<order>());
    }
};

}  // namespace wasi
