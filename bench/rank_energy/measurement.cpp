#include "measurement.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/svd.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/tensor/hosvd.hpp>

namespace wasi_bench {
namespace {

using wasi::Index;
using wasi::linalg::RankRule;
using S = wasi::EigenStorage;

/// Runs `work` again and again and returns its last result with the median of its seconds.
template <class Work>
[[nodiscard]] auto timed(int repeats, Work work)
{
    std::vector<double> seconds;
    const auto once = [&] {
        const auto begin = std::chrono::steady_clock::now();
        auto result = work();
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
        return result;
    };
    auto result = once();
    for (int i = 1; i < repeats; ++i) {
        result = once();
    }
    std::sort(seconds.begin(), seconds.end());
    const std::size_t middle = seconds.size() / 2;
    const double median = seconds.size() % 2 == 1 ? seconds[middle] : 0.5 * (seconds[middle - 1] + seconds[middle]);
    return std::pair{std::move(result), median};
}

/// ||a - b||_F / ||a||_F; 0 for two zeros. Destroys b.
[[nodiscard]] double relative_difference(wasi::ConstMatrixView<float> a, wasi::MatrixView<float> b)
{
    S::add_scaled(b, -1.0F, 1.0F, a);
    const double norm = S::dot(a, a);
    return norm > 0.0 ? std::sqrt(S::dot(b, b) / norm) : 0.0;
}

[[nodiscard]] Measurement measure_matrix(const Subject& subject, bool randomized, const RankRule& rule, int repeats,
                                         wasi::RandomKey key)
{
    wasi::Memory& memory = wasi::plain_memory();
    const auto a = subject.values.matrix();
    auto timing = timed(repeats, [&] {
        return randomized ? wasi::linalg::randomized_svd<S, float>(a, {.rank = rule}, key, memory)
                          : wasi::linalg::truncated_svd<S, float>(a, {.rank = rule}, memory);
    });
    auto& svd = timing.first;
    const Index rank = svd.info.rank;
    for (Index j = 0; j < rank; ++j) {
        const auto column = svd.u.matrix().col_block(j, 1);
        S::add_scaled(column, svd.s.data()[j], 0.0F, column);
    }
    auto product = wasi::workspace<float>(memory, a.rows, a.cols);
    S::multiply(product.matrix(), 1.0F, std::as_const(svd.u).matrix(), std::as_const(svd.v).matrix().transposed(), 0.0F,
                memory);
    Measurement result;
    result.route = randomized ? "randomized" : "dense";
    result.taken = svd.info.route == wasi::linalg::Route::randomized ? "randomized" : "dense";
    result.ranks = {rank};
    result.captured_energy = svd.info.captured_energy;
    result.relative_error = relative_difference(a, product.matrix());
    result.optimal_error = optimal_error(subject, rank);
    result.bytes =
        static_cast<double>(sizeof(float)) * static_cast<double>(rank) * static_cast<double>(a.rows + a.cols);
    result.seconds = timing.second;
    return result;
}

template <std::size_t N>
[[nodiscard]] Measurement measure_tensor(const Subject& subject, bool sequential, const RankRule& rule, int repeats)
{
    wasi::Memory& memory = wasi::plain_memory();
    const auto x = subject.values.view<N>();
    const auto rules = [&]<std::size_t... M>(std::index_sequence<M...>)
    {
        return wasi::tensor::ModeRules<N>{(static_cast<void>(M), rule)...};
    }
    (std::make_index_sequence<N>{});
    std::array<std::size_t, N> order{};
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto [tucker, seconds] = timed(repeats, [&] {
        return sequential ? wasi::tensor::sequentially_truncated_hosvd<S, float, N>(x, rules, order, memory)
                          : wasi::tensor::hosvd<S, float, N>(x, rules, memory);
    });
    auto full = wasi::tensor::reconstruct<S, float, N>(tucker, memory);
    Measurement result;
    result.route = sequential ? "sequential" : "hosvd";
    result.taken = result.route;
    const auto ranks = tucker.ranks();
    result.ranks.assign(ranks.begin(), ranks.end());
    result.captured_energy = tucker.captured_energy;
    result.relative_error = relative_difference(subject.values.matrix(), full.matrix());
    result.optimal_error = optimal_error(subject, *std::min_element(ranks.begin(), ranks.end()));
    result.bytes = static_cast<double>(tucker.bytes());
    result.seconds = seconds;
    return result;
}

[[nodiscard]] Measurement measure_one(const Subject& subject, bool second_route, const RankRule& rule, int repeats,
                                      wasi::RandomKey key)
{
    switch (subject.values.shape().order()) {
        case 2:
            return measure_matrix(subject, second_route, rule, repeats, key);
        case 3:
            return measure_tensor<3>(subject, second_route, rule, repeats);
        default:
            return measure_tensor<4>(subject, second_route, rule, repeats);
    }
}

}  // namespace

Index Measurement::largest_rank() const
{
    return *std::max_element(ranks.begin(), ranks.end());
}

std::vector<Index> rank_grid(Index largest)
{
    std::vector<Index> ranks;
    for (Index power = 1; power < largest; power *= 2) {
        ranks.push_back(power);
        if (power > 1 && power + power / 2 < largest) {
            ranks.push_back(power + power / 2);
        }
    }
    ranks.push_back(largest);
    return ranks;
}

Index largest_rank(const Subject& subject)
{
    if (!subject.spectrum.empty()) {
        return static_cast<Index>(subject.spectrum.size());
    }
    const auto& shape = subject.values.shape();
    Index largest = 1;
    for (const Index extent : shape) {
        largest = std::max(largest, std::min(extent, shape.size() / extent));
    }
    return largest;
}

double dense_bytes(const Subject& subject)
{
    return static_cast<double>(subject.values.bytes());
}

std::vector<Measurement> measure(const Subject& subject, const Grid& grid, wasi::RandomKey key,
                                 const std::function<void(const Measurement&)>& tell)
{
    wasi::require<wasi::argument_error>(grid.repeats >= 1, "--repeats: must be at least 1, got ", grid.repeats);
    const std::size_t order = subject.values.shape().order();
    std::vector<Measurement> results;
    const auto add = [&](bool second_route, const char* rule_name, double asked, const RankRule& rule) {
        Measurement result = measure_one(subject, second_route, rule, grid.repeats, key);
        result.rule = rule_name;
        result.asked = asked;
        tell(result);
        results.push_back(std::move(result));
    };
    for (const bool second_route : {false, true}) {
        for (const Index rank : grid.ranks) {
            add(second_route, "rank", static_cast<double>(rank), RankRule{rank});
        }
        for (const double energy : grid.energies) {
            // What the modes of a tensor discard adds up, at worst: each may discard its share.
            const double modes = order == 2 ? 1.0 : static_cast<double>(order);
            add(second_route, "energy", energy, RankRule{wasi::linalg::Energy{1.0 - (1.0 - energy) / modes}});
        }
    }
    return results;
}

}  // namespace wasi_bench
