#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "wasi/linalg/subspace_iteration.hpp"
#include "wasi/tensor/compiled.hpp"
#include "wasi/tensor/hosvd.hpp"
#include "wasi/tensor/refusal.hpp"

namespace wasi::tensor {

namespace detail {

/// X as a matrix with one column for each index of the warm mode, which is the first or the last.
template <class T, std::size_t N>
[[nodiscard]] ConstMatrixView<T> columns_by(ConstTensorView<T, N> x, std::size_t mode)
{
    return mode == 0 ? x.rows_by(1).transposed() : x.rows_by(N - 1);
}

/// G = Aᵀ(A V), and ||A||² as the return value, in one read of A: each block of rows is used three times while it is in
/// cache. Cut like linalg::normal_product.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] double normal_product_and_energy(MatrixView<T> g, ConstMatrixView<T> a, ConstMatrixView<T> v,
                                               Memory& memory)
{
    constexpr Index pieces = 8;
    constexpr Index block_elements = Index{1} << 15;  // 128 KiB of floats: stays in a core's second cache
    const Index height = std::max<Index>(32, (a.rows + pieces - 1) / pieces);
    const Index count = (a.rows + height - 1) / height;
    const Index block_rows = std::clamp<Index>(block_elements / a.cols / 8 * 8, 16, 64);
    Tensor<T> partial = make_tensor<T, 3>(memory, {count, a.cols, v.cols});
    Tensor<T> images = make_tensor<T, 3>(memory, {count, block_rows, v.cols});
    std::vector<double> energies(static_cast<std::size_t>(count), 0.0);
    parallel_for(count, [&](Index piece) {
        const auto sum = partial.template view<3>().slice(piece);
        const Index end = std::min((piece + 1) * height, a.rows);
        for (Index first = piece * height; first < end; first += block_rows) {
            const Index rows = std::min(block_rows, end - first);
            const auto block = a.row_block(first, rows);
            const auto image = images.template view<3>().slice(piece).row_block(0, rows);
            energies[static_cast<std::size_t>(piece)] += S::dot(block, block);
            S::multiply(image, T(1), block, v, T(0), memory);
            S::multiply(sum, T(1), block.transposed(), image, first == piece * height ? T(0) : T(1), memory);
        }
    });
    double energy = 0.0;
    for (Index piece = 0; piece < count; ++piece) {
        S::add_scaled(g, piece == 0 ? T(0) : T(1), T(1), partial.template view<3>().slice(piece));
        energy += energies[static_cast<std::size_t>(piece)];
    }
    return energy;
}

/// The Tucker form with the basis of the warm mode given (moved from), the other modes exact, from next to the warm
/// mode to the far end, each in what the ones before have left. rules[warm] is not asked. X is of ordinary size.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> tucker_from_warm_basis(ConstTensorView<T, N> x, std::size_t warm, Tensor<T> basis,
                                                  const ModeRules<N>& rules, double total, Memory& memory)
{
    Tucker<T, N> result;
    result.bases[warm] = std::move(basis);
    result.core = mode_product<S, T, N>(x, std::as_const(result.bases[warm]).matrix().transposed(), warm, memory);
    for (std::size_t step = 1; step < N; ++step) {
        const std::size_t m = warm == 0 ? step : N - 1 - step;
        if (rules.is_uncompressed(m)) {
            continue;
        }
        const auto left = std::as_const(result.core).template view<N>();
        take_basis(result, m, mode_basis<S, T, N>(left, m, rules[m], total, memory));
        result.core = mode_product<S, T, N>(left, std::as_const(result.bases[m]).matrix().transposed(), m, memory);
    }
    set_energy<S, T, N>(result, total);
    return result;
}

/// warm_tucker_step for a warm mode at either end; rules[warm] is not asked. A small error is measured on request.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> warm_step(ConstTensorView<T, N> x, std::size_t warm, ConstMatrixView<T> basis,
                                     const ModeRules<N>& rules, bool measured, Memory& memory)
{
    constexpr std::string_view who = "warm_tucker_step";
    require<shape_error>(basis.rows == x.shape[warm] && basis.cols >= 1 && basis.cols <= basis.rows, who,
                         ": a feature basis ", shape_text(basis.shape()), " does not fit X ", shape_text(x.shape));
    require<shape_error>(x.size() > 0, who, ": empty tensor ", shape_text(x.shape));
    linalg::require_finite<S, T>(basis, who, "feature_basis");
    Tensor<T> next = workspace<T>(memory, basis.rows, basis.cols);
    const auto columns = columns_by<T, N>(x, warm);
    // Bases of other sizes than 1 are taken too: what is far from it is made orthonormal first.
    Tensor<T> tamed;
    if (scale_exponent<T>(S::largest(basis)) != 0) {
        tamed = workspace<T>(memory, basis.rows, basis.cols);
        S::copy(tamed.matrix(), basis);
        static_cast<void>(S::orthonormalize(tamed.matrix(), memory));
        basis = std::as_const(tamed).matrix();
    }
    const double total = normal_product_and_energy<S, T>(next.matrix(), columns, basis, memory);
    auto from = at_ordinary_size<S, T, N>(x, total, who, memory);
    if (from.exponent != 0) {
        from.total = normal_product_and_energy<S, T>(next.matrix(), columns_by<T, N>(from.view, warm), basis, memory);
    }
    static_cast<void>(S::orthonormalize(next.matrix(), memory));
    auto result = tucker_from_warm_basis<S, T, N>(from.view, warm, std::move(next), rules, from.total, memory);
    if (measured) {
        resolve_error<S, T, N>(result, from.view, from.total, memory);
    }
    back_to_size<S, T, N>(result, from.exponent, who);
    return result;
}

/// Rules for all modes from those of all but the last; what stands in the last place is not asked.
template <std::size_t N>
[[nodiscard]] ModeRules<N> with_warm_mode(const ModeRules<N - 1>& exact)
{
    return [&]<std::size_t... M>(std::index_sequence<M...>)
    {
        return ModeRules<N>(std::array<linalg::RankRule, N>{exact[M]..., linalg::RankRule(1)})
            .without(std::array<bool, N>{exact.is_uncompressed(M)..., false});
    }
    (std::make_index_sequence<N - 1>());
}

}  // namespace detail

/// Tucker factors of X (B, .., I) once the basis of the last mode, the features, is known: contract it, then take the
/// bases of the other modes exactly, from the last but one to the batch, each from the Gram matrix of what is left.
/// Samples are shuffled, so a batch basis of the last step is worth nothing now; the Grams are small, so exact costs
/// little and needs no state. `basis` moves into the result. `total` is ||X||², infinite or 0 where squares leave the
/// type. Throws argument_error where the type cannot hold the core.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> tucker_from_feature_basis(ConstTensorView<T, N> x, Tensor<T> basis,
                                                     const ModeRules<N - 1>& exact, double total, Memory& memory)
{
    constexpr std::string_view who = "tucker_from_feature_basis";
    const auto from = detail::at_ordinary_size<S, T, N>(x, total, who, memory);
    auto result = detail::tucker_from_warm_basis<S, T, N>(from.view, N - 1, std::move(basis),
                                                          detail::with_warm_mode<N>(exact), from.total, memory);
    detail::back_to_size<S, T, N>(result, from.exponent, who);
    return result;
}

/// The same for X (B,N,I).
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, 3> tucker_from_feature_basis(ConstTensorView<T, 3> x, Tensor<T> basis,
                                                     const linalg::RankRule& batch, const linalg::RankRule& token,
                                                     double total, Memory& memory)
{
    return tucker_from_feature_basis<S, T, 3>(x, std::move(basis), ModeRules<2>(batch, token), total, memory);
}

/// One warm Tucker step for X (B, .., I) of any order, (B,N,I) or (B,H,W,I): the basis of the features, the last mode,
/// moves by one subspace iteration, U <- orth(X_(N) X_(N)ᵀ U), then the other modes exactly. The squared error is the
/// sum of what each mode discards; the feature mode's is at most tail² (1 + (s_{r+1}/s_r)² tan² theta), theta the angle
/// of the old basis to the leading subspace. Cost: ||X||² and three products with X in two reads of it, 8 |X| + 6 |X| r
/// flops, and Grams of what is left, r / I of X. The error is taken from energies: below sqrt(epsilon) it is not seen.
/// Elements of any size. Throws shape_error on an empty X and unless the basis is (I, r) with 1 <= r <= I,
/// argument_error on NaN or infinity in X or the basis, and where the type cannot hold the core.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> warm_tucker_step(ConstTensorView<T, N> x, ConstMatrixView<T> feature_basis,
                                            const ModeRules<N - 1>& exact, Memory& memory)
{
    return detail::warm_step<S, T, N>(x, N - 1, feature_basis, detail::with_warm_mode<N>(exact), false, memory);
}

/// The same for X (B,N,I).
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, 3> warm_tucker_step(ConstTensorView<T, 3> x, ConstMatrixView<T> feature_basis,
                                            const linalg::RankRule& batch, const linalg::RankRule& token,
                                            Memory& memory)
{
    return warm_tucker_step<S, T, 3>(x, feature_basis, ModeRules<2>(batch, token), memory);
}

/// What `warm_tucker_step` may do.
template <std::size_t N>
struct WarmTuckerOptions {
    /// One rule for each mode but the last, or one for all of them. The last mode keeps the rank of its basis.
    ModeRules<N - 1> ranks = linalg::Energy{0.9};
};

/// What is no tensor of float or double is refused when compiling, with one sentence.
TuckerOf<TensorFamily<ConstTensorView<double, 3>>> warm_tucker_step(wasi::detail::NotATensor x,
                                                                    wasi::detail::Anything feature_basis,
                                                                    const wasi::detail::AnyTuckerOptions& options = {},
                                                                    Memory& memory = plain_memory());

/// warm_tucker_step for users' tensors: the basis, any matrix (I, r), is that of the user's last mode, whatever the
/// layout. Hand bases[N - 1] of the result back at the next step. The error is exact (one more read of X when it
/// is below 1% in float).
template <TensorLike X, MatrixLike A>
requires std::same_as < typename TensorFamily<X>::Scalar,
typename Family<A>::Scalar > [[nodiscard]] auto warm_tucker_step(const X& x, const A& feature_basis,
                                                                 const WarmTuckerOptions<order_of<X>>& options = {},
                                                                 Memory& memory = plain_memory())
{
    using F = TensorFamily<X>;
    using S = typename F::Storage;
    using T = typename F::Scalar;
    constexpr std::size_t order = F::order;
    return F::with_view(x, [&](ConstTensorView<T, order> view) {
        return Family<A>::with_view(feature_basis, [&](ConstMatrixView<T> basis) {
            const ModeRules<order> rules = view_rules<X>(detail::with_warm_mode<order>(options.ranks));
            return as_family<F>(
                detail::warm_step<S, T, order>(view, view_mode<X>(order - 1), basis, rules, true, memory));
        });
    });
}

WASI_COMPILED(WASI_TENSOR_WARM_TUCKER)

}  // namespace wasi::tensor
