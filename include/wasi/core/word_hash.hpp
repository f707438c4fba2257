#pragma once
#include <cstdint>

namespace wasi {

/// A number that other words, or the same in another order, will hardly have: h <- (h xor word) p, with the start and
/// the prime p of Fowler, Noll and Vo's FNV-1a for 64 bits, which takes bytes where this takes words. Not for secrets.
class WordHash {
public:
    void mix(std::uint64_t word) noexcept { value_ = (value_ ^ word) * 1099511628211U; }
    [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

private:
    std::uint64_t value_ = 14695981039346656037U;
};

}  // namespace wasi
