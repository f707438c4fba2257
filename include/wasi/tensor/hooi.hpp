#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

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
/// start. A local optimum, not always the best of all. Status sweep_limit when `max_sweeps` ended it. Cost a sweep: N
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
    const double total = detail::checked_energy<S, T, N>(x, "hooi");
    Tucker<T, N> best = std::move(start);
    best.core = mode_products<S, T, N>(x, detail::all_bases(best.view(), true), memory);
    best.sweeps = 0;
    detail::set_energy<S, T, N>(best, total);
    best.status = total > 0.0 ? Status::sweep_limit : Status::ok;
    while (best.status == Status::sweep_limit && best.sweeps < sweeps.max_sweeps) {
        Tucker<T, N> next;
        auto projections = detail::all_bases(best.view(), true);
        for (std::size_t m = 0; m < N; ++m) {
            auto others = projections;
            others[m].reset();
            const Tensor<T> image = mode_products<S, T, N>(x, others, memory);
            const auto view = image.template view<N>();
            next.bases[m] =
                detail::leading_basis<S, T, N>(view, m, linalg::FixedRank{best.bases[m].shape()[1]}, total, memory);
            projections[m] = std::as_const(next.bases[m]).matrix().transposed();
            if (m + 1 == N) {
                next.core = mode_product<S, T, N>(view, *projections[m], m, memory);
            }
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
    detail::resolve_error<S, T, N>(best, x, total, memory);
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

/// hooi from a sequentially truncated HOSVD.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> hooi(ConstTensorView<T, N> x, const HooiOptions<N>& options, Memory& memory)
{
    return hooi<S, T, N>(x, sequentially_truncated_hosvd<S, T, N>(x, options.ranks, options.order, memory),
                         HooiSweeps{options.tolerance, options.max_sweeps}, memory);
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
        const HooiOptions<F::order> inside{ModeRules<F::order>(view_order<X>(options.ranks.by_mode())),
                                           view_modes<X>(options.order, view.shape, options.ranks), options.tolerance,
                                           options.max_sweeps};
        return as_family<F>(hooi<typename F::Storage, T, F::order>(view, inside, memory));
    });
}

}  // namespace wasi::tensor
