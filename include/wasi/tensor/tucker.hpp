#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "wasi/linalg/status.hpp"
#include "wasi/tensor/mode_product.hpp"

namespace wasi::tensor {

/// How a decomposition ended: ok, rule_not_met (what the rules let go was exceeded by the true error, as it is for
/// tolerances below rounding), sweep_limit (of hooi) or not_converged.
using linalg::Status;

/// A tensor in Tucker form that somebody else owns: X~ = S x_1 U_1 ... x_N U_N. A basis (0,0) stands for the identity:
/// that mode is not compressed, and the core has its full extent there.
template <class T, std::size_t N>
struct TuckerView {
    ConstTensorView<T, N> core;
    std::array<ConstMatrixView<T>, N> bases;

    /// False where the mode is not compressed.
    [[nodiscard]] bool has_basis(std::size_t mode) const { return bases[mode].rows != 0 || bases[mode].cols != 0; }
    [[nodiscard]] std::array<Index, N> ranks() const { return core.shape; }
    [[nodiscard]] std::array<Index, N> shape() const
    {
        std::array<Index, N> result{};
        for (std::size_t m = 0; m < N; ++m) {
            result[m] = has_basis(m) ? bases[m].rows : core.shape[m];
        }
        return result;
    }
};

/// A tensor in Tucker form, X ~ S x_1 U_1 ... x_N U_N: a core (r_1, .., r_N) and one basis (n_m, r_m) with orthonormal
/// columns for each mode, but for those modes that are not compressed: they have no basis. Owning and move-only, like
/// Tensor.
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
            if (!bases[m].empty()) {
                result.bases[m] = bases[m].matrix();
            }
        }
        return result;
    }
    operator TuckerView<T, N>() const { return view(); }  // NOLINT(google-explicit-constructor): like adding const
    [[nodiscard]] std::size_t bytes() const
    {
        std::size_t sum = core.bytes();
        for (const auto& basis : bases) {
            sum += basis.empty() ? 0 : basis.bytes();
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
        require<shape_error>(!x.has_basis(m) || x.bases[m].cols == x.core.shape[m], who, ": a core ",
                             shape_text(x.core.shape), " and a basis ", shape_text(x.bases[m].shape()),
                             " do not fit in mode ", m);
    }
}

/// All bases, or all of them transposed, for mode_products; nothing where there is none.
template <class T, std::size_t N>
[[nodiscard]] std::array<std::optional<ConstMatrixView<T>>, N> all_bases(const TuckerView<T, N>& x, bool transposed)
{
    std::array<std::optional<ConstMatrixView<T>>, N> result;
    for (std::size_t m = 0; m < N; ++m) {
        if (x.has_basis(m)) {
            result[m] = transposed ? x.bases[m].transposed() : x.bases[m];
        }
    }
    return result;
}

/// mode_products, or a copy of X where there is no matrix.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> products_or_copy(ConstTensorView<T, N> x,
                                         const std::array<std::optional<ConstMatrixView<T>>, N>& matrices,
                                         Memory& memory)
{
    for (const auto& matrix : matrices) {
        if (matrix.has_value()) {
            return mode_products<S, T, N>(x, matrices, memory);
        }
    }
    Tensor<T> copy = make_tensor<T>(memory, x.shape);
    S::copy(copy.matrix(), x.rows_by(N - 1));
    return copy;
}

/// Indices first .. first + count - 1 of one mode; one copy.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> part_of_mode(ConstTensorView<T, N> x, std::size_t mode, Index first, Index count,
                                     Memory& memory)
{
    Tensor<T> part = make_tensor<T>(memory, with_extent(x, mode, count));
    const auto from = x.around(mode);
    const auto to = part.template view<N>().around(mode);
    for (Index i = 0; i < from.shape[0]; ++i) {
        S::copy(to.slice(i), from.slice(i).row_block(first, count));
    }
    return part;
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
    const auto shape = x.shape();
    auto core = x.core;
    Tensor<T> cut;  // the core, cut down in modes that are not compressed
    for (std::size_t m = 0; m < N; ++m) {
        require<shape_error>(first[m] >= 0 && count[m] >= 0 && first[m] <= shape[m] - count[m],
                             "reconstruct_block: a block ", shape_text(count), " at ", shape_text(first),
                             " is not inside a tensor ", shape_text(shape));
        if (x.has_basis(m)) {
            rows[m] = x.bases[m].row_block(first[m], count[m]);
        } else if (count[m] < shape[m]) {
            cut = detail::part_of_mode<S, T, N>(core, m, first[m], count[m], memory);
            core = std::as_const(cut).template view<N>();
        }
    }
    return detail::products_or_copy<S, T, N>(core, rows, memory);
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
    require<shape_error>(mode < N && index >= 0 && index < x.shape()[mode], "reconstruct_slice: no slice ", index,
                         " in mode ", mode, " of a tensor ", shape_text(x.shape()));
    std::array<Index, N> first{};
    std::array<Index, N> count = x.shape();
    first[mode] = index;
    count[mode] = 1;
    return reconstruct_block<S, T, N>(x, first, count, memory);
}

}  // namespace wasi::tensor
