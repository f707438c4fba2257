#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "wasi/tensor/compiled.hpp"
#include "wasi/tensor/hosvd.hpp"
#include "wasi/tensor/refusal.hpp"

namespace wasi::tensor {

/// When `hooi` stops.
struct HooiSweeps {
    /// Stop when a sweep lowers the relative error ||X - X~|| / ||X|| by no more than this.
    double tolerance = 1e-5;
    Index max_sweeps = 50;
};

/// Higher-order orthogonal iteration (De Lathauwer, De Moor, Vandewalle 2000b; Kolda, Bader 2009, figure 4.4): from a
/// Tucker form, each basis in turn becomes the best one for the other bases, U_m <- leading r_m left singular vectors
/// of (X x_k U_kᵀ, k != m)_(m). Ranks stay (one above the product of the others becomes that product); ||S|| grows in
/// every step, up to rounding, and a sweep that does not grow it is thrown away: the result is never worse than the
/// start. A local optimum, not always the best of all. Modes of the start without a basis stay uncompressed. Status
/// sweep_limit when `max_sweeps` ended it. Cost a sweep: N
/// reads of X and about 2 N |X| r flops, r the rank of the mode that shrinks X most. Throws shape_error unless start
/// and X have the same shape, argument_error on a negative tolerance, on max_sweeps below 0, on NaN or infinity.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> hooi(ConstTensorView<T, N> x, Tucker<T, N> start, const HooiSweeps& sweeps, Memory& memory)
{
    require<argument_error>(sweeps.tolerance >= 0.0, "hooi: tolerance is ", sweeps.tolerance);
    require<argument_error>(sweeps.max_sweeps >= 0, "hooi: max_sweeps is ", sweeps.max_sweeps);
    detail::require_fits(start.view(), "hooi");
    require<shape_error>(start.shape() == x.shape, "hooi: a start ", shape_text(start.shape()), " does not fit X ",
                         shape_text(x.shape));
    const auto from = detail::at_ordinary_size<S, T, N>(x, "hooi", memory);
    const double total = from.total;
    Tucker<T, N> best = std::move(start);
    best.core = detail::products_or_copy<S, T, N>(from.view, detail::projections(best), memory);
    best.sweeps = 0;
    detail::set_energy<S, T, N>(best, total);
    best.status = total > 0.0 ? Status::sweep_limit : Status::ok;
    std::size_t last = 0;  // of the compressed modes
    for (std::size_t m = 0; m < N; ++m) {
        last = best.bases[m].empty() ? last : m;
    }
    while (best.status == Status::sweep_limit && best.sweeps < sweeps.max_sweeps) {
        Tucker<T, N> next;
        auto projections = detail::projections(best);
        for (std::size_t m = 0; m < N; ++m) {
            if (best.bases[m].empty()) {
                continue;  // not compressed
            }
            auto others = projections;
            others[m].reset();
            const Tensor<T> image = detail::products_or_copy<S, T, N>(from.view, others, memory);
            const auto view = image.template view<N>();
            detail::take_basis(
                next, m,
                detail::mode_basis<S, T, N>(view, m, linalg::FixedRank{best.bases[m].shape()[1]}, total, memory));
            projections[m] = std::as_const(next.bases[m]).matrix().transposed();
            if (m == last) {
                next.core = mode_product<S, T, N>(view, *projections[m], m, memory);
            }
        }
        if (next.core.empty() || next.status == Status::not_converged) {
            best.status = next.status;  // nothing to improve, or no way to
            break;
        }
        detail::set_energy<S, T, N>(next, total);
        next.sweeps = best.sweeps + 1;
        next.status = best.error - next.error <= sweeps.tolerance ? Status::ok : Status::sweep_limit;
        if (next.captured_energy < best.captured_energy) {  // rounding: nothing left to gain
            best.sweeps = next.sweeps;
            best.status = Status::ok;
        } else {
            best = std::move(next);
        }
    }
    detail::resolve_error<S, T, N>(best, from.view, total, memory);
    detail::back_to_size<S, T, N>(best, from.exponent, "hooi");
    return best;
}

/// What `hooi` may do.
template <std::size_t N>
struct HooiOptions {
    /// One rule a mode, or one for all, asked once, by the sequential truncation that the sweeps start from.
    ModeRules<N> ranks = linalg::Energy{1.0};
    /// The order of that truncation.
    ModeOrder<N> order = {};
    /// Stop when a sweep lowers the relative error by no more than this.
    double tolerance = HooiSweeps{}.tolerance;
    Index max_sweeps = HooiSweeps{}.max_sweeps;
};

/// hooi from a sequentially truncated HOSVD. Status rule_not_met like there.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> hooi(ConstTensorView<T, N> x, const HooiOptions<N>& options, Memory& memory)
{
    Tucker<T, N> start = sequentially_truncated_hosvd<S, T, N>(x, options.ranks, options.order, memory);
    const Status before = start.status;
    Tucker<T, N> result = hooi<S, T, N>(x, std::move(start), HooiSweeps{options.tolerance, options.max_sweeps}, memory);
    if (before == Status::not_converged) {
        result.status = before;
    } else {
        detail::judge_error<T, N>(result, x.shape, options.ranks);
    }
    return result;
}

/// What is no tensor of float or double is refused when compiling, with one sentence.
TuckerOf<TensorFamily<ConstTensorView<double, 3>>> hooi(wasi::detail::NotATensor x,
                                                        const wasi::detail::AnyTuckerOptions& options = {},
                                                        Memory& memory = plain_memory());

/// hooi for users' tensors: hooi(x, {.ranks = {8, 4, 8}}). Core and bases are of the same kind as X.
template <TensorLike X>
[[nodiscard]] auto hooi(const X& x, const HooiOptions<order_of<X>>& options = {}, Memory& memory = plain_memory())
{
    using F = TensorFamily<X>;
    using T = typename F::Scalar;
    return F::with_view(x, [&](ConstTensorView<T, F::order> view) {
        const HooiOptions<F::order> inside{view_rules<X>(options.ranks),
                                           view_modes<X>(options.order, view.shape, options.ranks), options.tolerance,
                                           options.max_sweeps};
        return as_family<F>(hooi<typename F::Storage, T, F::order>(view, inside, memory));
    });
}

WASI_COMPILED(WASI_TENSOR_HOOI)

}  // namespace wasi::tensor
