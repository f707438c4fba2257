#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "wasi/tensor/mode_product.hpp"

namespace wasi::tensor {

/// How a decomposition ended.
enum class Status {
    ok,
    sweep_limit,  ///< still improving by more than the tolerance after the last sweep; the factors are good all the
                  ///< same
};

/// A tensor in Tucker form that somebody else owns: X~ = S x_1 U_1 ... x_N U_N.
template <class T, std::size_t N>
struct TuckerView {
    ConstTensorView<T, N> core;
    std::array<ConstMatrixView<T>, N> bases;

    [[nodiscard]] std::array<Index, N> ranks() const { return core.shape; }
    [[nodiscard]] std::array<Index, N> shape() const
    {
        std::array<Index, N> result{};
        for (std::size_t m = 0; m < N; ++m) {
            result[m] = bases[m].rows;
        }
        return result;
    }
};

/// A tensor in Tucker form, X ~ S x_1 U_1 ... x_N U_N: a core (r_1, .., r_N) and one basis (n_m, r_m) with orthonormal
/// columns for each mode. Owning and move-only, like Tensor.
template <Scalar T, std::size_t N>
struct Tucker {
    Tensor<T> core;
    std::array<Tensor<T>, N> bases;
    double captured_energy = 0.0;  ///< ||S||² / ||X||², which is 1 - ||X - X~||² / ||X||²; 1 for a zero tensor
    double error = 0.0;            ///< ||X - X~|| / ||X||; who made the form says how small an error it can see
    Status status = Status::ok;
    Index sweeps = 0;  ///< of hooi; 0 without

    [[nodiscard]] std::array<Index, N> ranks() const { return core.template view<N>().shape; }
    [[nodiscard]] std::array<Index, N> shape() const { return view().shape(); }
    [[nodiscard]] TuckerView<T, N> view() const
    {
        TuckerView<T, N> result{core.template view<N>(), {}};
        for (std::size_t m = 0; m < N; ++m) {
            result.bases[m] = bases[m].matrix();
        }
        return result;
    }
    operator TuckerView<T, N>() const { return view(); }  // NOLINT(google-explicit-constructor): like adding const
    [[nodiscard]] std::size_t bytes() const
    {
        std::size_t sum = core.bytes();
        for (const auto& basis : bases) {
            sum += basis.bytes();
        }
        return sum;
    }
    void rebook(Tag tag) noexcept
    {
        core.rebook(tag);
        for (auto& basis : bases) {
            basis.rebook(tag);
        }
    }
};

namespace detail {

template <class T, std::size_t N>
void require_fits(const TuckerView<T, N>& x, std::string_view who)
{
    for (std::size_t m = 0; m < N; ++m) {
        require<shape_error>(x.bases[m].cols == x.core.shape[m], who, ": a core ", shape_text(x.core.shape),
                             " and a basis ", shape_text(x.bases[m].shape()), " do not fit in mode ", m);
    }
}

/// All bases, or all of them transposed, for mode_products.
template <class T, std::size_t N>
[[nodiscard]] std::array<std::optional<ConstMatrixView<T>>, N> all_bases(const TuckerView<T, N>& x, bool transposed)
{
    std::array<std::optional<ConstMatrixView<T>>, N> result;
    for (std::size_t m = 0; m < N; ++m) {
        result[m] = transposed ? x.bases[m].transposed() : x.bases[m];
    }
    return result;
}

}  // namespace detail

/// The block of X~ with indices first[m] .. first[m] + count[m] - 1 in each mode, from these rows of the bases alone:
/// the rest of X~ is never formed. Throws shape_error when the block is not inside.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> reconstruct_block(const TuckerView<T, N>& x, const std::array<Index, N>& first,
                                          const std::array<Index, N>& count, Memory& memory)
{
    detail::require_fits(x, "reconstruct");
    std::array<std::optional<ConstMatrixView<T>>, N> rows;
    for (std::size_t m = 0; m < N; ++m) {
        require<shape_error>(first[m] >= 0 && count[m] >= 0 && first[m] <= x.bases[m].rows - count[m],
                             "reconstruct_block: a block ", shape_text(count), " at ", shape_text(first),
                             " is not inside a tensor ", shape_text(x.shape()));
        rows[m] = x.bases[m].row_block(first[m], count[m]);
    }
    return mode_products<S, T, N>(x.core, rows, memory);
}

/// The full tensor S x_1 U_1 ... x_N U_N, for checks and for users who need it back; training never calls it.
/// Expands the modes in the order that costs least.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> reconstruct(const TuckerView<T, N>& x, Memory& memory)
{
    return reconstruct_block<S, T, N>(x, {}, x.shape(), memory);
}

/// Slice `index` of mode `mode` of X~, a tensor of order N with extent 1 in that mode. Throws shape_error when there is
/// no such slice.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> reconstruct_slice(const TuckerView<T, N>& x, std::size_t mode, Index index, Memory& memory)
{
    require<shape_error>(mode < N && index >= 0 && index < x.bases[mode].rows, "reconstruct_slice: no slice ", index,
                         " in mode ", mode, " of a tensor ", shape_text(x.shape()));
    std::array<Index, N> first{};
    std::array<Index, N> count = x.shape();
    first[mode] = index;
    count[mode] = 1;
    return reconstruct_block<S, T, N>(x, first, count, memory);
}

}  // namespace wasi::tensor
