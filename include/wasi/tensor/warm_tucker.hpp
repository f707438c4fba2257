#pragma once
#include <array>
#include <utility>

#include "wasi/linalg/subspace_iteration.hpp"
#include "wasi/tensor/hosvd.hpp"

namespace wasi::tensor {

/// Tucker factors of X (B,N,I) once the feature basis U_3 is known: contract the feature mode, then take the token and
/// batch bases exactly, from the Gram matrices (N,N) and (B,B) of what is left. Samples are shuffled, so a batch basis
/// of the last step is worth nothing now; the Grams are small, so exact costs little and needs no state. `basis` moves
/// into the result. `total` is ||X||².
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, 3> tucker_from_feature_basis(ConstTensorView<T, 3> x, Tensor<T> basis,
                                                     const linalg::RankRule& batch, const linalg::RankRule& token,
                                                     double total, Memory& memory)
{
    Tucker<T, 3> result;
    result.bases[2] = std::move(basis);
    result.core = mode_product<S, T, 3>(x, std::as_const(result.bases[2]).matrix().transposed(), 2, memory);
    for (const std::size_t m : {std::size_t{1}, std::size_t{0}}) {
        const auto left = std::as_const(result.core).template view<3>();
        result.bases[m] = detail::leading_basis<S, T, 3>(left, m, m == 1 ? token : batch, total, memory);
        result.core = mode_product<S, T, 3>(left, std::as_const(result.bases[m]).matrix().transposed(), m, memory);
    }
    result.captured_energy =
        total > 0.0 ? S::dot(result.core.matrix(), std::as_const(result.core).matrix()) / total : 1.0;
    return result;
}

/// One warm Tucker step for X (B,N,I): the feature basis of the last step moves by one subspace iteration,
/// U_3 <- orth(X_(3) X_(3)ᵀ U_3), then token and batch modes exactly. The squared error is the sum of what each mode
/// discards; the feature mode's is at most tail² (1 + (s_{r+1}/s_r)² tan² theta), theta the angle of the old basis to
/// the leading subspace. Cost: three products with X in two reads, 6 BNI r_3 flops, and Grams of (B,N,r_3). Throws
/// shape_error on an empty X and unless the basis is (I, r_3) with 1 <= r_3 <= I, argument_error on NaN or infinity in
/// X or the basis.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, 3> warm_tucker_step(ConstTensorView<T, 3> x, ConstMatrixView<T> feature_basis,
                                            const linalg::RankRule& batch, const linalg::RankRule& token,
                                            Memory& memory)
{
    require<shape_error>(
        feature_basis.rows == x.shape[2] && feature_basis.cols >= 1 && feature_basis.cols <= feature_basis.rows,
        "warm_tucker_step: a feature basis ", shape_text(feature_basis.shape()), " does not fit X ",
        shape_text(x.shape));
    const double total = detail::checked_energy<S, T, 3>(x, "warm_tucker_step");
    linalg::require_finite<S, T>(feature_basis, "warm_tucker_step", "feature_basis");
    Tensor<T> basis = workspace<T>(memory, feature_basis.rows, feature_basis.cols);
    S::copy(basis.matrix(), feature_basis);
    linalg::subspace_step<S, T>(x.rows_by(2), basis.matrix(), memory);
    return tucker_from_feature_basis<S, T>(x, std::move(basis), batch, token, total, memory);
}

}  // namespace wasi::tensor
