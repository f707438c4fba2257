#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "wasi/tensor/tucker.hpp"

/// Tucker forms in users' types.
namespace wasi::tensor {

/// What a decomposition says about itself.
template <std::size_t N>
struct TuckerInfo {
    Status status = Status::ok;
    std::array<Index, N> ranks{};
    double captured_energy = 0.0;  ///< ||S||² / ||X||²; 1 for a zero tensor
    double error = 0.0;            ///< ||X - X~|| / ||X||
    Index sweeps = 0;              ///< of hooi; 0 without
};

/// X ~ S x_1 U_1 ... x_N U_N in the types of the tensor it came from, F its TensorFamily. The basis of a mode that is
/// not compressed is an empty matrix.
template <class F>
struct TuckerOf {
    static constexpr std::size_t order = F::order;

    typename F::Result core;
    std::array<typename F::Matrix, F::order> bases;
    TuckerInfo<F::order> info;
};

namespace detail {

/// F::view of what will not be written to: a family need only view results that may be.
template <class F, class Result>
[[nodiscard]] auto const_view(const Result& result)
{
    return F::view(const_cast<Result&>(result));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

}  // namespace detail

/// The form as the engine sees it, in the order of the views: reversed for column-major tensors.
template <class F>
[[nodiscard]] TuckerView<typename F::Scalar, F::order> view_of(const TuckerOf<F>& x)
{
    TuckerView<typename F::Scalar, F::order> result{detail::const_view<F>(x.core), {}};
    for (std::size_t m = 0; m < F::order; ++m) {
        result.bases[F::reversed ? F::order - 1 - m : m] = detail::const_view<Family<typename F::Matrix>>(x.bases[m]);
    }
    return result;
}

/// A tensor of the engine in the types of the family; one copy.
template <class F>
[[nodiscard]] typename F::Result as_result(const Tensor<typename F::Scalar>& x)
{
    auto shape = x.template view<F::order>().shape;
    if constexpr (F::reversed) {
        std::reverse(shape.begin(), shape.end());
    }
    auto result = F::make(shape);
    F::Storage::copy(F::view(result).rows_by(F::order - 1), x.matrix());
    return result;
}

/// A form of the engine in the types of the family; one copy of what is small.
template <class F>
[[nodiscard]] TuckerOf<F> as_family(const Tucker<typename F::Scalar, F::order>& x)
{
    using M = Family<typename F::Matrix>;
    TuckerOf<F> result{as_result<F>(x.core), {}, {x.status, {}, x.captured_energy, x.error, x.sweeps}};
    for (std::size_t m = 0; m < F::order; ++m) {
        const std::size_t at = F::reversed ? F::order - 1 - m : m;
        const auto& basis = x.bases[at];
        result.info.ranks[m] = x.core.shape()[at];
        if (basis.empty()) {
            result.bases[m] = M::make_matrix(0, 0);  // not compressed
            continue;
        }
        result.bases[m] = M::make_matrix(basis.shape()[0], basis.shape()[1]);
        F::Storage::copy(M::view(result.bases[m]), basis.matrix());
    }
    return result;
}

/// reconstruct for users' types: the full tensor, of the kind that was decomposed.
template <class F>
[[nodiscard]] typename F::Result reconstruct(const TuckerOf<F>& x, Memory& memory = plain_memory())
{
    return as_result<F>(reconstruct<typename F::Storage, typename F::Scalar, F::order>(view_of(x), memory));
}

/// reconstruct_block for users' types.
template <class F>
[[nodiscard]] typename F::Result reconstruct_block(const TuckerOf<F>& x, std::array<Index, F::order> first,
                                                   std::array<Index, F::order> count, Memory& memory = plain_memory())
{
    if constexpr (F::reversed) {
        std::reverse(first.begin(), first.end());
        std::reverse(count.begin(), count.end());
    }
    return as_result<F>(
        reconstruct_block<typename F::Storage, typename F::Scalar, F::order>(view_of(x), first, count, memory));
}

/// reconstruct_slice for users' types; extent 1 in mode `mode`.
template <class F>
[[nodiscard]] typename F::Result reconstruct_slice(const TuckerOf<F>& x, std::size_t mode, Index index,
                                                   Memory& memory = plain_memory())
{
    const std::size_t at = F::reversed && mode < F::order ? F::order - 1 - mode : mode;
    return as_result<F>(
        reconstruct_slice<typename F::Storage, typename F::Scalar, F::order>(view_of(x), at, index, memory));
}

}  // namespace wasi::tensor
