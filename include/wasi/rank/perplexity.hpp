#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/rank/option.hpp"
#include "wasi/rank/tucker_budget.hpp"
#include "wasi/subspace/low_rank_gradient.hpp"

namespace wasi::rank {

/// How an input is saved.
enum class SavedForm {
    tucker,              ///< S x_1 U_1 x_2 U_2 x_3 U_3
    batch_uncompressed,  ///< S x_2 U_2 x_3 U_3: no basis over the batch, the core is (B, r2, r3)
    exact,               ///< X itself
};

[[nodiscard]] constexpr std::string_view to_string(SavedForm form) noexcept
{
    switch (form) {
        case SavedForm::tucker:
            return "tucker";
        case SavedForm::batch_uncompressed:
            return "batch uncompressed";
        case SavedForm::exact:
            return "exact";
    }
    return "unknown";
}

/// One way to save a layer's input, what it takes and what it does to the weight gradient.
struct PerplexityEntry {
    SavedForm form = SavedForm::exact;
    double energy = 1.0;           ///< the threshold; of the whole tensor's energy, in each mode
    std::array<Index, 3> ranks{};  ///< over batch, token, feature; the extents where a mode is not compressed
    std::int64_t bytes = 0;
    double perplexity = 0.0;  ///< ||dW~ - dW||_F
};

struct PerplexityOptions {
    /// Thresholds: HOSVD ranks are chosen for each.
    std::vector<double> energies{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999};
    bool exact = true;
    bool batch_uncompressed = true;
};

namespace detail {

template <class S, Scalar T>
[[nodiscard]] Tensor<double> as_double(ConstMatrixView<T> from, Memory& memory)
{
    Tensor<double> result = workspace<double>(memory, from.rows, from.cols);
    S::convert(result.matrix(), from);
    return result;
}

/// dW seen from the feature basis: G = dW U_3, and how much of dW lies outside it.
struct ExactGradient {
    Tensor<double> inside;  // (O, columns of U_3)
    double outside = 0.0;   // ||dW - G U_3ᵀ||²
};

/// A few rows of dW at a time, each summed over pieces of the batch: (O,I) in double, or all of X, never exists.
template <class S, Scalar T>
[[nodiscard]] ExactGradient exact_gradient(ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy, const Tensor<T>& u3,
                                           Memory& memory)
{
    constexpr Index height = 128;  // rows of dW
    constexpr Index depth = 256;   // rows of X
    const Tensor<double> basis = as_double<S, T>(u3.matrix(), memory);
    ExactGradient result{workspace<double>(memory, dy.shape[2], u3.shape()[1]), 0.0};
    for (Index top = 0; top < dy.shape[2]; top += height) {
        const Index outputs = std::min(height, dy.shape[2] - top);
        Tensor<double> dw = workspace<double>(memory, outputs, x.shape[2]);
        const Index rows = x.shape[0] * x.shape[1];
        for (Index first = 0; first < rows; first += depth) {
            const Index count = std::min(depth, rows - first);
            const auto left = as_double<S, T>(dy.rows_by(2).block(first, top, count, outputs), memory);
            const auto right = as_double<S, T>(x.rows_by(2).block(first, 0, count, x.shape[2]), memory);
            S::multiply(dw.matrix(), 1.0, left.matrix().transposed(), right.matrix(), first == 0 ? 0.0 : 1.0, memory);
        }
        const auto inside = result.inside.matrix().block(top, 0, outputs, u3.shape()[1]);
        S::multiply(inside, 1.0, std::as_const(dw).matrix(), basis.matrix(), 0.0, memory);
        S::multiply(dw.matrix(), -1.0, ConstMatrixView<double>(inside), basis.matrix().transposed(), 1.0, memory);
        result.outside += S::dot(std::as_const(dw).matrix(), std::as_const(dw).matrix());
    }
    return result;
}

/// ||dW~ - dW||² for dW~ = P U_3(:, 0:r)ᵀ: three orthogonal parts, so nothing cancels.
template <class S, Scalar T>
[[nodiscard]] double squared_perplexity(const ExactGradient& exact, const Tensor<T>& p, Memory& memory)
{
    const Index rank = p.shape()[1];
    const auto inside = exact.inside.matrix();
    const auto kept = inside.col_block(0, rank);
    const auto cut = inside.col_block(rank, inside.cols - rank);
    Tensor<double> difference = as_double<S, T>(p.matrix(), memory);
    S::add_scaled(difference.matrix(), 1.0, -1.0, kept);
    return exact.outside + (cut.cols > 0 ? S::dot(cut, cut) : 0.0) +
           S::dot(std::as_const(difference).matrix(), std::as_const(difference).matrix());
}

/// The leading (r1, r2, r3) block.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> leading_block(ConstTensorView<T, 3> from, const std::array<Index, 3>& ranks, Memory& memory)
{
    Tensor<T> result = tensor::make_tensor<T, 3>(memory, ranks);
    for (Index i = 0; i < ranks[0]; ++i) {
        S::copy(result.template view<3>().slice(i), from.slice(i).block(0, 0, ranks[1], ranks[2]));
    }
    return result;
}

/// P of dW~ = P U_3ᵀ from the leading block of the core and the leading columns of the bases.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> gradient_from_leading_part(ConstTensorView<T, 3> dy, ConstTensorView<T, 3> core,
                                                   const std::array<Tensor<T>, 3>& bases,
                                                   const std::array<Index, 3>& ranks, Memory& memory)
{
    tensor::Tucker<T, 3> part;
    part.core = leading_block<S, T>(core, ranks, memory);
    for (std::size_t m = 0; m < 3; ++m) {
        const auto basis = bases[m].matrix();
        part.bases[m] = workspace<T>(memory, basis.rows, ranks[m]);
        S::copy(part.bases[m].matrix(), basis.col_block(0, ranks[m]));
    }
    return subspace::low_rank_gradient<S, T>(dy, part, memory);
}

/// The same without a basis over the batch: `half` is X x_2 U_2ᵀ x_3 U_3ᵀ.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> gradient_with_whole_batch(ConstTensorView<T, 3> dy, ConstTensorView<T, 3> half,
                                                  ConstMatrixView<T> token_basis, const std::array<Index, 3>& ranks,
                                                  Memory& memory)
{
    const Tensor<T> part = leading_block<S, T>(half, ranks, memory);
    const Tensor<T> expanded =
        tensor::mode_product<S, T, 3>(part.template view<3>(), token_basis.col_block(0, ranks[1]), 1, memory);
    Tensor<T> p = workspace<T>(memory, dy.shape[2], ranks[2]);
    S::multiply(p.matrix(), T(1), dy.rows_by(2).transposed(), expanded.template view<3>().rows_by(2), T(0), memory);
    return p;
}

}  // namespace detail

/// What each way to save the input X (B,N,I) of a linear layer takes, and what it does to the weight gradient
/// dW = sum dY Xᵀ, with dY (B,N,O) the gradient of the output: the "perplexity" ||dW~ - dW||_F of ASI (arXiv
/// 2505.05086) for HOSVD ranks by each threshold. Layers that share an input (queries, keys and values) are one layer
/// here, with their outputs side by side.
///
/// One HOSVD at the largest threshold; smaller ranks are its leading parts. Bytes: sizeof(T) (r1 r2 r3 + B r1 + N r2 +
/// I r3); without U_1: (B r2 r3 + N r2 + I r3); exact: B N I. dW is formed once, in double, a few rows at a time: this
/// is for a calibration batch, not for training steps. Cost: 2 BNIO flops in double and the HOSVD; then each threshold
/// costs a low_rank_gradient. Peak: what an HOSVD takes, bases in T and one in double, and 8 O R_3 bytes. Accuracy:
/// epsilon<T> ||dW||. Throws shape_error when X and dY differ in batch or tokens, argument_error for an energy outside
/// (0, 1], NaN or infinity.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] std::vector<PerplexityEntry> perplexity_table(ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy,
                                                            const PerplexityOptions& options, Memory& memory)
{
    require<shape_error>(x.shape[0] == dy.shape[0] && x.shape[1] == dy.shape[1] && dy.shape[2] >= 1,
                         "perplexity_table: X ", shape_text(x.shape), " and dY ", shape_text(dy.shape),
                         " differ in batch or tokens");
    const double total = tensor::detail::checked_energy<S, T, 3>(x, "perplexity_table");
    linalg::require_finite<S, T>(dy.rows_by(2), "perplexity_table", "dY");
    double largest = 0.0;
    for (const double energy : options.energies) {
        static_cast<void>(linalg::RankRule(linalg::Energy{energy}));  // throws outside (0, 1]
        largest = std::max(largest, energy);
    }
    std::vector<PerplexityEntry> table;
    const auto size = static_cast<std::int64_t>(sizeof(T));
    if (largest > 0.0) {
        const auto full = detail::full_bases<S, T, 3>(x, linalg::Energy{largest}, total, memory);
        const auto u = [&](std::size_t m) { return full.bases[m].matrix(); };
        const Tensor<T> features = tensor::mode_product<S, T, 3>(x, u(2).transposed(), 2, memory);
        // X x_2 U_2ᵀ x_3 U_3ᵀ, (B, R2, R3), and the core
        const Tensor<T> half = tensor::mode_product<S, T, 3>(features.template view<3>(), u(1).transposed(), 1, memory);
        const Tensor<T> core = tensor::mode_product<S, T, 3>(half.template view<3>(), u(0).transposed(), 0, memory);
        const detail::ExactGradient exact = detail::exact_gradient<S, T>(x, dy, full.bases[2], memory);
        for (const double energy : options.energies) {
            std::array<Index, 3> ranks{};
            for (std::size_t m = 0; m < 3; ++m) {
                double listed = 0.0;
                for (const double value : full.spectra[m]) {
                    listed += value * value;
                }
                const auto wanted =
                    linalg::RankRule(linalg::Energy{energy}).choose({full.spectra[m], listed, total, full.noise[m]});
                ranks[m] = std::min(wanted, full.bases[m].shape()[1]);
            }
            const auto add = [&](SavedForm form, std::int64_t elements, const Tensor<T>& p) {
                table.push_back({form, energy, ranks, size * elements,
                                 std::sqrt(detail::squared_perplexity<S, T>(exact, p, memory))});
            };
            add(SavedForm::tucker, tucker_elements<3>(x.shape, ranks),
                detail::gradient_from_leading_part<S, T>(dy, core.template view<3>(), full.bases, ranks, memory));
            if (options.batch_uncompressed) {
                ranks[0] = x.shape[0];
                add(SavedForm::batch_uncompressed, tucker_elements<3>(x.shape, ranks) - x.shape[0] * x.shape[0],
                    detail::gradient_with_whole_batch<S, T>(dy, half.template view<3>(), u(1), ranks, memory));
            }
        }
    }
    if (options.exact) {
        table.push_back({SavedForm::exact, 1.0, x.shape, size * x.size(), 0.0});
    }
    return table;
}

/// A table as the solver wants it, in the same order.
[[nodiscard]] inline LayerOptions as_options(const std::vector<PerplexityEntry>& table)
{
    LayerOptions result;
    for (const PerplexityEntry& entry : table) {
        result.push_back({entry.bytes, entry.perplexity});
    }
    return result;
}

}  // namespace wasi::rank
