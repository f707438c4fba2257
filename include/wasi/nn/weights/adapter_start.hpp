#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/randomized_svd.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/nn/initialize.hpp"
#include "wasi/nn/weights/adapter_options.hpp"
#include "wasi/nn/weights/form.hpp"

namespace wasi::nn {

namespace detail {

/// A = sqrt(sigma / s) Vᵀ and B = U sqrt(sigma / s).
template <Scalar T, class S>
void split_factors(MatrixView<T> a, MatrixView<T> b, const linalg::SvdFactors<T>& svd, double scale)
{
    for (Index k = 0; k < a.rows; ++k) {
        const T root = static_cast<T>(std::sqrt(static_cast<double>(svd.s.data()[k]) / scale));
        S::add_scaled(b.col_block(k, 1), T(0), root, svd.u.matrix().col_block(k, 1));
        S::add_scaled(a.row_block(k, 1), T(0), root, svd.v.matrix().col_block(k, 1).transposed());
    }
}

}  // namespace detail

/// Fills A (r,I) and B (O,r) as `options.start` says, from W (O,I), which gives up s B A where the start moves it: then
/// W + s B A is what W was, to one rounding of each element. Signs of singular vectors and of rows of R are not those
/// of other programs, which changes no step: a sign goes along with both factors. Throws argument_error for NaN or
/// infinity in W; for a rank above min(O,I) where the factors come from W; for eva without statistics of the layer.
/// Cost: that of a dense or randomized SVD, of a QR of r columns and 4 O I r flops, or none.
template <Scalar T, class S>
requires StorageFor<S, T> && StorageFor<S, double>
void start_adapter(Tensor<T>& a, Tensor<T>& b, MatrixView<T> w, const AdapterOptions& options,
                   const LayerStatistics* statistics, RandomKey key, Memory& memory)
{
    const Index r = options.rank;
    const Index smaller = std::min(w.rows, w.cols);
    const bool of_weight = options.start != AdapterStart::kaiming && options.start != AdapterStart::eva;
    require<argument_error>(!of_weight || r <= smaller, "start_adapter: rank ", r, " of a weight ",
                            shape_text(w.shape()), " that the factors come from");
    const double s = options.scale();
    switch (options.start) {
        case AdapterStart::kaiming:
            fill_uniform(a, 1.0 / std::sqrt(static_cast<double>(w.cols)), key);
            S::fill(b.matrix(), T(0));
            break;
        case AdapterStart::pissa:
            detail::split_factors<T, S>(
                a.matrix(), b.matrix(),
                linalg::truncated_svd<S, T>(ConstMatrixView<T>(w), {.rank = linalg::FixedRank{r}}, memory), s);
            break;
        case AdapterStart::pissa_fast:
            detail::split_factors<T, S>(
                a.matrix(), b.matrix(),
                linalg::randomized_svd<S, T>(
                    ConstMatrixView<T>(w),
                    {.rank = linalg::FixedRank{r}, .power_iterations = options.power_iterations, .probes = 0}, key,
                    memory),
                s);
            break;
        case AdapterStart::olora:
            // The first r columns of Q and rows of R need the first r columns of W alone.
            S::copy(b.matrix(), ConstMatrixView<T>(w).col_block(0, r));
            static_cast<void>(S::orthonormalize(b.matrix(), memory));
            S::multiply(a.matrix(), T(1), std::as_const(b).matrix().transposed(), ConstMatrixView<T>(w), T(0), memory);
            break;
        case AdapterStart::mica: {
            const auto svd =
                linalg::truncated_svd<S, T>(ConstMatrixView<T>(w), {.rank = linalg::FixedRank{smaller}}, memory);
            S::copy(b.matrix(), svd.u.matrix().col_block(svd.s.size() - r, r));
            S::fill(a.matrix(), T(0));
            break;
        }
        case AdapterStart::eva: {
            const auto directions = statistics != nullptr ? statistics->input_directions : ConstMatrixView<double>{};
            require<argument_error>(directions.rows >= r && directions.cols == w.cols,
                                    "start_adapter: ", directions.rows, " directions of the inputs of a weight ",
                                    shape_text(w.shape()), " for rank ", r);
            S::convert(a.matrix(), directions.row_block(0, r));
            S::fill(b.matrix(), T(0));
            break;
        }
    }
    if (moves_weight(options.start)) {
        S::multiply(w, static_cast<T>(-s), std::as_const(b).matrix(), std::as_const(a).matrix(), T(1), memory);
    }
}

}  // namespace wasi::nn
