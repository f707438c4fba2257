#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include <wasi/core/memory_events.hpp>

namespace wasi_examples {

/// The bytes that each class of memory held after each event of a recording, the beginning first.
[[nodiscard]] std::vector<std::array<std::size_t, wasi::use_count>> bytes_after_events(
    const wasi::MemoryEvents& record);

/// memory.csv: a row for the beginning and one for each event, with the columns event, mark (the names of the moments
/// right before it) and the bytes of each class and of all together after it.
[[nodiscard]] std::string memory_csv(const wasi::MemoryEvents& record);

/// The figure "Memory along a step": classes stacked over the events, moments as vertical lines. Empty when nothing was
/// recorded.
[[nodiscard]] std::string memory_along_step(const wasi::MemoryEvents& record);

}  // namespace wasi_examples
