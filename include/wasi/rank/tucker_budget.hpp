#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/tensor/hosvd.hpp"

namespace wasi::rank {

/// The singular values of every unfolding X_(m) of a tensor, descending.
template <std::size_t N>
using ModeSpectra = std::array<std::vector<double>, N>;

/// Ranks of a Tucker form, what it takes, and what truncation discards at most.
template <std::size_t N>
struct TuckerRanks {
    std::array<Index, N> ranks{};
    std::int64_t bytes = 0;
    double discarded = 0.0;  ///< sum of the modes' discarded squares >= ||X - X~||²
};

/// Numbers that a Tucker form holds: prod r_m + sum n_m r_m. Saturates at the largest 64-bit number.
template <std::size_t N>
[[nodiscard]] std::int64_t tucker_elements(const std::array<Index, N>& shape, const std::array<Index, N>& ranks)
{
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    const auto times = [](std::int64_t a, std::int64_t b) { return b != 0 && a > most / b ? most : a * b; };
    std::int64_t core = 1;
    std::int64_t sum = 0;
    for (std::size_t m = 0; m < N; ++m) {
        core = times(core, ranks[m]);
        const std::int64_t basis = times(shape[m], ranks[m]);
        sum = basis > most - sum ? most : sum + basis;
    }
    return core > most - sum ? most : core + sum;
}

/// The largest rank K whose factors of an (m,n) matrix, K (m + n) numbers, fit into `budget` bytes; at most min(m,n).
/// A rank rule: randomized_svd(a, {.rank = largest_rank(a.rows(), a.cols(), budget, sizeof(float))}, key). Throws
/// budget_error, naming the least that would do, when rank 1 does not fit, and argument_error for extents below 1.
[[nodiscard]] inline Index largest_rank(Index rows, Index cols, std::int64_t budget, std::int64_t element_bytes)
{
    require<argument_error>(rows >= 1 && cols >= 1 && element_bytes >= 1 &&
                                rows <= std::numeric_limits<std::int64_t>::max() / element_bytes - cols,
                            "largest_rank: a matrix (", rows, ", ", cols, ") with elements of ", element_bytes,
                            " bytes");
    const std::int64_t one = (rows + cols) * element_bytes;
    require<budget_error>(one <= budget, "largest_rank: rank 1 of a (", rows, ", ", cols, ") matrix takes ", one,
                          " bytes, the budget is ", budget);
    return std::min({static_cast<Index>(budget / one), rows, cols});
}

namespace detail {

/// Exhaustive search over the ranks of all modes but one, cut where no rank fits or none can be better.
template <std::size_t N>
class TuckerRankSearch {
public:
    /// tails[m][r]: what mode m discards at rank r; the last entry is the largest rank of use.
    TuckerRankSearch(const std::array<Index, N>& shape, const std::array<std::vector<double>, N>& tails,
                     std::int64_t elements)
        : shape_(shape), tails_(tails), elements_(elements)
    {
        for (std::size_t m = 0; m < N; ++m) {
            order_[m] = m;
        }
        // The mode with the most ranks comes last: there the best rank is a division.
        std::stable_sort(order_.begin(), order_.end(),
                         [&](std::size_t a, std::size_t b) { return tails_[a].size() < tails_[b].size(); });
        for (std::size_t level = N; level-- > 0;) {
            least_tail_[level] = tails_[order_[level]].back() + (level + 1 < N ? least_tail_[level + 1] : 0.0);
            least_sum_[level] = shape_[order_[level]] + (level + 1 < N ? least_sum_[level + 1] : 0);
        }
        ranks_.fill(1);
        enter(0, 1, 0, 0.0);
    }

    [[nodiscard]] const TuckerRanks<N>& best() const { return best_; }

private:
    /// `core` = product and `sum` = sum of n_m r_m over the modes before `level`.
    void enter(std::size_t level, std::int64_t core, std::int64_t sum, double discarded)
    {
        const std::size_t m = order_[level];
        const auto& tails = tails_[m];
        const auto largest = static_cast<std::int64_t>(tails.size()) - 1;
        if (level + 1 == N) {
            const std::int64_t rank = std::min(largest, (elements_ - sum) / (core + shape_[m]));
            if (rank >= 1) {
                ranks_[m] = static_cast<Index>(rank);
                offer(core * rank + sum + shape_[m] * rank, discarded + tails[static_cast<std::size_t>(rank)]);
            }
            return;
        }
        for (std::int64_t rank = 1; rank <= largest; ++rank) {
            const std::int64_t next_sum = sum + shape_[m] * rank;
            if (core * rank + next_sum + least_sum_[level + 1] > elements_) {
                break;  // not even rank 1 in the modes to come
            }
            const double next = discarded + tails[static_cast<std::size_t>(rank)];
            if (next + least_tail_[level + 1] > best_.discarded) {
                continue;
            }
            ranks_[m] = static_cast<Index>(rank);
            enter(level + 1, core * rank, next_sum, next);
        }
    }

    /// Less discarded, then less taken, then smaller ranks.
    void offer(std::int64_t elements, double discarded)
    {
        if (discarded < best_.discarded ||
            (discarded == best_.discarded &&
             (elements < best_.bytes || (elements == best_.bytes && ranks_ < best_.ranks)))) {
            best_ = {ranks_, elements, discarded};
        }
    }

    std::array<Index, N> shape_;
    const std::array<std::vector<double>, N>& tails_;
    std::int64_t elements_;
    std::array<std::size_t, N> order_{};
    std::array<double, N> least_tail_{};
    std::array<std::int64_t, N> least_sum_{};
    std::array<Index, N> ranks_{};
    TuckerRanks<N> best_{{}, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<double>::infinity()};
};

}  // namespace detail

/// The ranks that minimise sum_m tail_m(r_m), tail_m(r) = sum_{j>r} s_j² of X_(m), subject to
/// element_bytes (prod r_m + sum n_m r_m) <= budget and r_m <= maximum_m (0: no maximum). The minimised sum bounds
/// ||X - X~||² of HOSVD (De Lathauwer, De Moor, Vandewalle 2000, property 10), and of sequential truncation. Exact:
/// all ranks of all modes but the longest are tried, with pruning; the last is a division. O(product of the other
/// modes' ranks): microseconds to milliseconds for activations. Throws budget_error naming the least bytes that would
/// do, argument_error for spectra that are empty, not finite, negative, not descending or longer than their mode.
/// Example: examples/tucker_budget.cpp
template <std::size_t N>
[[nodiscard]] TuckerRanks<N> tucker_ranks(const std::array<Index, N>& shape, const ModeSpectra<N>& spectra,
                                          std::int64_t budget, std::int64_t element_bytes,
                                          const std::array<Index, N>& maximum = {})
{
    require<argument_error>(element_bytes >= 1, "tucker_ranks: elements of ", element_bytes, " bytes");
    std::array<std::vector<double>, N> tails;
    std::array<Index, N> ones{};
    for (std::size_t m = 0; m < N; ++m) {
        const auto& values = spectra[m];
        require<argument_error>(!values.empty() && static_cast<Index>(values.size()) <= shape[m], "tucker_ranks: mode ",
                                m, " of extent ", shape[m], " has ", values.size(), " singular values");
        require<argument_error>(maximum[m] >= 0, "tucker_ranks: the maximum of mode ", m, " is ", maximum[m]);
        ones[m] = 1;
        auto& tail = tails[m];
        tail.assign(values.size() + 1, 0.0);
        for (std::size_t j = values.size(); j-- > 0;) {
            require<argument_error>(
                std::isfinite(values[j] * values[j]) && values[j] >= 0.0 && (j == 0 || values[j] <= values[j - 1]),
                "tucker_ranks: the singular values of mode ", m, " must be finite, at least 0 and descending; number ",
                j, " is ", values[j]);
            tail[j] = tail[j + 1] + values[j] * values[j];
        }
        if (maximum[m] > 0 && static_cast<std::size_t>(maximum[m]) < values.size()) {
            tail.resize(static_cast<std::size_t>(maximum[m]) + 1);
        }
        while (tail.size() > 2 && tail[tail.size() - 2] == tail.back()) {
            tail.pop_back();  // ranks that keep nothing more
        }
    }
    const std::int64_t elements = budget / element_bytes;
    const std::int64_t least = tucker_elements<N>(shape, ones);
    require<budget_error>(budget >= 0 && least <= elements, "tucker_ranks: ranks of 1 for a tensor ", shape_text(shape),
                          " take ", static_cast<double>(least) * static_cast<double>(element_bytes),
                          " bytes, the budget is ", budget);
    TuckerRanks<N> best = detail::TuckerRankSearch<N>(shape, tails, elements).best();
    best.bytes *= element_bytes;
    return best;
}

namespace detail {

/// Bases of all that is not rounding, with the spectra they come from.
template <Scalar T, std::size_t N>
struct FullBases {
    std::array<Tensor<T>, N> bases;
    ModeSpectra<N> spectra;
    std::array<double, N> noise{};  // singular values at or below this are rounding
};

/// The basis of every mode in the full tensor, columns by falling singular value, at most as many as `rule` asks for.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] FullBases<T, N> full_bases(ConstTensorView<T, N> x, const linalg::RankRule& rule, double total,
                                         Memory& memory)
{
    FullBases<T, N> result;
    for (std::size_t m = 0; m < N; ++m) {
        const auto listen = [&](const linalg::Spectrum& spectrum) {
            result.spectra[m].assign(spectrum.values.begin(), spectrum.values.end());
            result.noise[m] = spectrum.noise;
            return rule.choose(spectrum);
        };
        result.bases[m] = tensor::detail::leading_basis<S, T, N>(x, m, listen, total, memory);
    }
    return result;
}

}  // namespace detail

/// The singular values of every unfolding, through the Gram matrices of the shorter sides: resolved to sqrt(n epsilon)
/// of the largest. Cost: 2 n_m |X| flops a mode and an eigenproblem of the shorter side. Throws shape_error on an
/// empty tensor, argument_error on NaN or infinity.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] ModeSpectra<N> mode_spectra(ConstTensorView<T, N> x, Memory& memory)
{
    const double total = tensor::detail::checked_energy<S, T, N>(x, "mode_spectra");
    return detail::full_bases<S, T, N>(x, linalg::FixedRank{1}, total, memory).spectra;
}

}  // namespace wasi::rank
