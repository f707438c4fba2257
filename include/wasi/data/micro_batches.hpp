#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi::data {

/// The micro-batch number `piece` of `pieces` that a batch of `size` examples is cut into: [first, last). A process's
/// share of a batch is cut likewise.
[[nodiscard]] inline std::pair<Index, Index> micro_batch_range(Index size, Index piece, Index pieces)
{
    return {piece * size / pieces, (piece + 1) * size / pieces};
}

/// A step's examples, and the key that they are gathered with.
struct StepExamples {
    std::span<const Index> batch;
    RandomKey key;

    [[nodiscard]] Index pieces(Index micro_batches) const
    {
        return std::min(micro_batches, static_cast<Index>(batch.size()));
    }
    /// Micro-batch number `piece`; none of an empty batch.
    [[nodiscard]] std::span<const Index> part(Index piece, Index micro_batches) const
    {
        if (batch.empty()) {
            return batch;
        }
        const auto [from, to] = micro_batch_range(static_cast<Index>(batch.size()), piece, pieces(micro_batches));
        return batch.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
    }
};

}  // namespace wasi::data
