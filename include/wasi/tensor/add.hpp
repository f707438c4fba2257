#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/tensor/tucker_of.hpp"

namespace wasi::tensor {

/// The factors of `add`: alpha A~ + beta B~. {.beta = -1.0} is a difference.
struct AddOptions {
    double alpha = 1.0;
    double beta = 1.0;
};

namespace detail {

/// The block of `whole` that starts at `first` += factor times `block`.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void add_to_block(TensorView<T, N> whole, ConstTensorView<T, N> block, const std::array<Index, N>& first, T factor)
{
    if (block.size() == 0) {
        return;
    }
    // The last two modes are a matrix; the others are counted.
    constexpr std::size_t counted = N < 2 ? 0 : N - 2;
    const Index rows = N < 2 ? 1 : block.shape[counted];
    const Index cols = block.shape[N - 1];
    std::array<Index, N> at{};
    for (Index matrix = 0; matrix < block.size() / (rows * cols); ++matrix) {
        Index rest = matrix;
        for (std::size_t m = counted; m-- > 0;) {
            at[m] = rest % block.shape[m];
            rest /= block.shape[m];
        }
        Index position = 0;
        for (std::size_t m = 0; m < N; ++m) {
            position = position * whole.shape[m] + first[m] + (m < counted ? at[m] : 0);
        }
        const MatrixView<T> to{whole.data + position, rows, cols, whole.shape[N - 1], 1};
        S::add_scaled(to, T(1), factor, ConstMatrixView<T>::row_major(block.data + matrix * rows * cols, rows, cols));
    }
}

template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void require_finite_form(const TuckerView<T, N>& x, std::string_view who, std::string_view name)
{
    linalg::require_finite<S, T>(x.core.rows_by(N - 1), who, name);
    for (const auto& basis : x.bases) {
        linalg::require_finite<S, T>(basis, who, name);
    }
}

}  // namespace detail

/// alpha A~ + beta B~ in Tucker form, without the full tensor: bases side by side, [U_m V_m] (n_m, r_m + s_m), and a
/// core with alpha S_A and beta S_B as its two diagonal blocks, so ranks add (Bader, Kolda 2007, 4.3). Exact but for
/// the rounding of the two factors. The bases are not orthonormal: `round` makes them so and takes ranks back,
/// everything else here takes the form as it is. A mode that is not compressed in one of the two is not in the sum.
/// Cost: a copy; the core has prod(r_m + s_m) elements. Throws shape_error unless both have the same shape,
/// argument_error on NaN or infinity, also where alpha S_A leaves the type. Example: examples/tucker.cpp
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> add(const TuckerView<T, N>& a, const TuckerView<T, N>& b, const AddOptions& options,
                               Memory& memory)
{
    detail::require_fits(a, "add");
    detail::require_fits(b, "add");
    require<shape_error>(a.shape() == b.shape(), "add: a tensor ", shape_text(a.shape()), " and one ",
                         shape_text(b.shape()));
    detail::require_finite_form<S, T, N>(a, "add", "a");
    detail::require_finite_form<S, T, N>(b, "add", "b");
    Tucker<T, N> result;
    result.captured_energy = 1.0;
    std::array<std::optional<ConstMatrixView<T>>, N> expand_a;
    std::array<std::optional<ConstMatrixView<T>>, N> expand_b;
    std::array<bool, N> joined{};
    for (std::size_t m = 0; m < N; ++m) {
        joined[m] = a.has_basis(m) && b.has_basis(m);
        if (joined[m]) {
            result.bases[m] = workspace<T>(memory, a.bases[m].rows, a.bases[m].cols + b.bases[m].cols);
            S::copy(result.bases[m].matrix().col_block(0, a.bases[m].cols), a.bases[m]);
            S::copy(result.bases[m].matrix().col_block(a.bases[m].cols, b.bases[m].cols), b.bases[m]);
        } else if (a.has_basis(m)) {
            expand_a[m] = a.bases[m];
        } else if (b.has_basis(m)) {
            expand_b[m] = b.bases[m];
        }
    }
    const Tensor<T> core_a = detail::products_or_copy<S, T, N>(a.core, expand_a, memory);
    const Tensor<T> core_b = detail::products_or_copy<S, T, N>(b.core, expand_b, memory);
    const auto block_a = core_a.template view<N>();
    const auto block_b = core_b.template view<N>();
    auto shape = block_a.shape;
    std::array<Index, N> behind{};
    for (std::size_t m = 0; m < N; ++m) {
        behind[m] = joined[m] ? block_a.shape[m] : 0;
        shape[m] += joined[m] ? block_b.shape[m] : 0;
    }
    result.core = make_tensor<T>(memory, shape);
    S::fill(result.core.matrix(), T(0));
    detail::add_to_block<S, T, N>(result.core.template view<N>(), block_a, {}, static_cast<T>(options.alpha));
    detail::add_to_block<S, T, N>(result.core.template view<N>(), block_b, behind, static_cast<T>(options.beta));
    linalg::require_finite<S, T>(std::as_const(result.core).matrix(), "add", "the core of the sum");
    return result;
}

/// add for users' types: add(a, b), add(a, b, {.beta = -1.0}).
template <class F>
[[nodiscard]] TuckerOf<F> add(const TuckerOf<F>& a, const TuckerOf<F>& b, const AddOptions& options = {},
                              Memory& memory = plain_memory())
{
    return as_family<F>(
        add<typename F::Storage, typename F::Scalar, F::order>(view_of(a), view_of(b), options, memory));
}

}  // namespace wasi::tensor
