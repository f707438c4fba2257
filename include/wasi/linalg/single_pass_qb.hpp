#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "wasi/linalg/qb.hpp"

namespace wasi::linalg {

struct SinglePassQbOptions {
    /// Columns to keep at most.
    Index rank = 64;
    /// Sample columns beyond the rank: they can't be made up for by looking again.
    Index oversampling = 16;
    /// Fewer columns where the error bound allows it: ||A - Q B||_F is to be at most this share of ||A||_F. 0: `rank`
    /// columns. A tolerance that `rank` columns do not meet ends with Status::rank_limit.
    double tolerance = 0.0;
    /// Random vectors behind the error, which is never seen twice either.
    Index probes = 16;
    /// Rows asked for at a time.
    Index block_rows = 256;
};

/// A ~ Q B of a matrix (m,n) that can be read once, row by row, and need not fit into memory.
///
/// Method: the single-pass form of randQB (Yu, Gu, Li, Liu, Li 2017): while the rows go by, Y = A Ω and Z = AᵀY are
/// gathered; Y = Q diag(s) Wᵀ, and then B = QᵀA = diag(1/s) Wᵀ Zᵀ. We take an SVD of Y where they take a QR: directions
/// with s_j below sqrt(epsilon) s_1, where B would be mostly rounding, are left out instead of spoiling the others.
/// Error: no power iteration is possible, so Q is that of a plain sketch (Halko et al. 2011, theorem 10.5: on average
/// 1 + k / (p - 1) times the least squared error), and what B loses by the division is at most sqrt(epsilon) ||A||:
/// 1e-8 in double, 3e-4 in float. residual_estimate and residual_bound are those of the factors as they are, rounding
/// included, from vectors that took no part (see norm_bound_factor).
///
/// `next(rows)` fills the first rows of a row-major view and returns how many; fewer than it has room for, also none,
/// means that there are no more. Throws shape_error unless m rows came, argument_error on NaN or infinity, on numbers
/// so large or small that their squares leave T, and on options out of range. Cost 4 mn (k+p) flops in one pass,
/// workspace (m + n) (k + p). Same bits for any number of threads and the same block_rows.
template <class S, Scalar T, class Next>
requires StorageFor<S, T> && std::is_invocable_r_v<Index, Next&, MatrixView<T>>
[[nodiscard]] QbFactors<T> single_pass_qb(Index rows, Index cols, Next&& next, const SinglePassQbOptions& options,
                                          RandomKey key, Memory& memory)
{
    require<shape_error>(rows > 0 && cols > 0, "single_pass_qb: empty matrix (", rows, ", ", cols, ")");
    require<argument_error>(options.rank >= 1, "single_pass_qb: rank is ", options.rank);
    require<argument_error>(options.oversampling >= 0, "single_pass_qb: oversampling is ", options.oversampling);
    require<argument_error>(options.tolerance >= 0.0 && options.tolerance < 1.0,
                            "single_pass_qb: tolerance must be in [0, 1), got ", options.tolerance);
    require<argument_error>(options.probes >= 1, "single_pass_qb: probes is ", options.probes);
    require<argument_error>(options.block_rows >= 1, "single_pass_qb: block_rows is ", options.block_rows);
    const Index width = std::min({options.rank + options.oversampling, rows, cols});
    const Index probes = options.probes;
    Tensor<T> random = workspace<T>(memory, cols, width + probes);  // Ω, then the probes
    Tensor<T> images = workspace<T>(memory, rows, width + probes);  // A of both
    Tensor<T> z = workspace<T>(memory, cols, width);                // AᵀAΩ
    S::fill_normal(random.matrix().col_block(0, width), key.derive(0));
    S::fill_normal(random.matrix().col_block(width, probes), key.derive(1));
    S::fill(z.matrix(), T(0));
    double total = 0.0;
    Index done = 0;
    {
        Tensor<T> block = workspace<T>(memory, std::min(options.block_rows, rows), cols);
        for (;;) {
            const Index room = std::min(options.block_rows, rows - done);
            const Index came = room > 0 ? next(block.matrix().row_block(0, room)) : 0;
            require<shape_error>(came >= 0 && came <= room, "single_pass_qb: ", came,
                                 " rows came where there was room for ", room);
            if (came > 0) {
                const auto part = std::as_const(block).matrix().row_block(0, came);
                const auto image = images.matrix().row_block(done, came);
                require_finite<S, T>(part, "single_pass_qb", "a block of rows");
                S::multiply(image, T(1), part, std::as_const(random).matrix(), T(0), memory);
                S::multiply(z.matrix(), T(1), part.transposed(), ConstMatrixView<T>(image).col_block(0, width), T(1),
                            memory);
                total += S::dot(part, part);
                done += came;
            }
            if (came < room || room == 0) {
                break;
            }
        }
    }
    require<shape_error>(done == rows, "single_pass_qb: ", done, " rows came, ", rows, " were announced");
    const double size = std::sqrt(total);
    require<argument_error>(total == 0.0 || (std::isfinite(size) && scale_exponent<T>(size) == 0),
                            "single_pass_qb: ||A||_F is ", size, "; scale the rows, so that its square is a number");
    SvdFactors<T> sketch = thin_svd<S, T>(std::as_const(images).matrix().col_block(0, width), memory);
    const double least = std::sqrt(static_cast<double>(epsilon<T>)) * static_cast<double>(sketch.s.data()[0]);
    Index k = 0;
    while (k < std::min(width, options.rank + options.oversampling) &&
           static_cast<double>(sketch.s.data()[k]) > least) {
        ++k;
    }
    k = std::max<Index>(k, 1);
    for (Index j = 0; j < k; ++j) {
        const T value = sketch.s.data()[j];
        const auto column = sketch.v.matrix().col_block(j, 1);
        S::add_scaled(column, T(0), value > T(0) ? T(1) / value : T(0), ConstMatrixView<T>(column));
    }
    Tensor<T> projected = workspace<T>(memory, cols, k);  // Bᵀ = Z W diag(1/s)
    S::multiply(projected.matrix(), T(1), std::as_const(z).matrix(), std::as_const(sketch.v).matrix().col_block(0, k),
                T(0), memory);
    // The leading directions of Q B, not those of the sketch: an SVD of B puts the energy first.
    SvdFactors<T> inner = thin_svd<S, T>(std::as_const(projected).matrix(), memory);
    Tensor<T> basis = workspace<T>(memory, rows, k);
    S::multiply(basis.matrix(), T(1), std::as_const(sketch.u).matrix().col_block(0, k), std::as_const(inner.v).matrix(),
                T(0), memory);
    for (Index j = 0; j < k; ++j) {
        const auto column = inner.u.matrix().col_block(j, 1);
        S::add_scaled(column, T(0), inner.s.data()[j], ConstMatrixView<T>(column));
    }
    // What the whole sketch misses, from vectors that took no part: ||A ω - Q (B ω)||².
    Tensor<T> inside = workspace<T>(memory, k, probes);
    const auto rest = images.matrix().col_block(width, probes);
    S::multiply(inside.matrix(), T(1), std::as_const(inner.u).matrix().transposed(),
                std::as_const(random).matrix().col_block(width, probes), T(0), memory);
    S::multiply(rest, T(-1), std::as_const(basis).matrix(), std::as_const(inside).matrix(), T(1), memory);
    const double estimate = S::dot(ConstMatrixView<T>(rest), rest) / static_cast<double>(probes);
    const double beyond = norm_bound_factor(probes, detail::bound_failure) * estimate;
    const std::vector<double> tails = detail::tail_energies<S, T>(std::as_const(inner.u).matrix());
    const double slack = detail::factor_rounding<T> * size;
    const auto error = [&](Index columns) {
        return std::sqrt(beyond + tails[static_cast<std::size_t>(columns)]) + slack;
    };
    Index keep = std::min(k, options.rank);
    const bool met = options.tolerance > 0.0 && error(keep) <= options.tolerance * size;
    while (met && keep > 1 && error(keep - 1) <= options.tolerance * size) {
        --keep;
    }
    QbFactors<T> result =
        detail::cut_qb<S, T>(std::as_const(basis).matrix(), std::as_const(inner.u).matrix(), keep, 0, memory);
    result.info.status = options.tolerance > 0.0 && !met ? Status::rank_limit : Status::ok;
    result.info.residual_estimate = std::sqrt(estimate + tails[static_cast<std::size_t>(keep)]);
    result.info.residual_bound = error(keep);
    result.info.bound_failure = detail::bound_failure;
    result.info.passes = 1;
    return result;
}

/// The same with results of the kind of `Matrix`: single_pass_qb<Eigen::MatrixXf>(m, n, next, {.rank = 64}, key), where
/// `next` takes a MatrixView<float>.
template <MatrixLike Matrix, class Next>
[[nodiscard]] auto single_pass_qb(Index rows, Index cols, Next&& next, const SinglePassQbOptions& options,
                                  RandomKey key, Memory& memory = plain_memory())
{
    using F = Family<Matrix>;
    return as_family<Matrix>(
        single_pass_qb<typename F::Storage, typename F::Scalar>(rows, cols, next, options, key, memory));
}

}  // namespace wasi::linalg
