// Offsets against a naive model: a list of parts, checked for overlap one by one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include <wasi/core/offset_allocator.hpp>
#include <wasi/core/random.hpp>

namespace {

using wasi::OffsetAllocator;

struct Part {
    std::size_t offset;
    std::size_t bytes;
    [[nodiscard]] std::size_t end() const { return offset + OffsetAllocator::rounded(bytes); }
};

/// What the allocator should say, from the parts alone.
struct Model {
    std::vector<Part> parts;
    std::size_t high_water = 0;

    [[nodiscard]] std::size_t used() const
    {
        std::size_t sum = 0;
        for (const Part& part : parts) {
            sum += part.end() - part.offset;
        }
        return sum;
    }
    [[nodiscard]] std::size_t end() const
    {
        std::size_t last = 0;
        for (const Part& part : parts) {
            last = std::max(last, part.end());
        }
        return last;
    }
    /// Gaps between parts, the one after the last included.
    [[nodiscard]] std::size_t holes(std::size_t capacity) const
    {
        std::vector<Part> sorted = parts;
        std::sort(sorted.begin(), sorted.end(), [](const Part& a, const Part& b) { return a.offset < b.offset; });
        std::size_t count = 0;
        std::size_t at = 0;
        for (const Part& part : sorted) {
            count += part.offset > at ? 1 : 0;
            at = part.end();
        }
        return count + (at < capacity ? 1 : 0);
    }
    [[nodiscard]] bool is_free(const Part& wanted) const
    {
        return std::none_of(parts.begin(), parts.end(),
                            [&](const Part& part) { return wanted.offset < part.end() && part.offset < wanted.end(); });
    }
};

void check_same(const OffsetAllocator& offsets, const Model& model)
{
    REQUIRE(offsets.used() == model.used());
    REQUIRE(offsets.end() == model.end());
    REQUIRE(offsets.high_water() == model.high_water);
    REQUIRE(offsets.holes() == model.holes(offsets.capacity()));
}

/// Sizes from 0 bytes to a megabyte, small ones more often.
[[nodiscard]] std::size_t random_bytes(wasi::RandomKey key, std::uint64_t i)
{
    const auto limit = std::size_t{1} << key.derive(1).below(i, 21);
    return static_cast<std::size_t>(key.derive(2).below(i, static_cast<wasi::Index>(limit) + 1));
}

TEST_CASE("random sequences: parts never overlap, and the figures are those of the naive model")
{
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
        const wasi::RandomKey key(seed);
        OffsetAllocator offsets(std::size_t{4} << 20);
        Model model;
        int refused = 0;
        for (std::uint64_t i = 0; i < 6000; ++i) {
            const bool grow = i / 500 % 2 == 0;  // fills up and empties in turn
            if (model.parts.empty() || key.derive(3).uniform(i) < (grow ? 0.65 : 0.35)) {
                const std::size_t bytes = random_bytes(key, i);
                const Part part{offsets.allocate(bytes), bytes};
                if (part.offset == OffsetAllocator::none) {
                    ++refused;
                    continue;
                }
                REQUIRE(part.offset % OffsetAllocator::granularity == 0);
                REQUIRE(part.end() <= offsets.capacity());
                REQUIRE(model.is_free(part));
                model.parts.push_back(part);
                model.high_water = std::max(model.high_water, part.end());
            } else {
                const auto which =
                    static_cast<std::ptrdiff_t>(key.derive(4).below(i, static_cast<wasi::Index>(model.parts.size())));
                const auto part = model.parts.begin() + which;
                offsets.release(part->offset, part->bytes);
                model.parts.erase(part);
            }
            if (i % 7 == 0) {
                check_same(offsets, model);
            }
        }
        CHECK(refused > 0);  // the range was too small now and then
        while (!model.parts.empty()) {
            offsets.release(model.parts.back().offset, model.parts.back().bytes);
            model.parts.pop_back();
        }
        check_same(offsets, model);
        CHECK(offsets.holes() == 1);
        CHECK(offsets.allocate(offsets.capacity()) == 0);
        CHECK(offsets.holes() == 0);
        CHECK(offsets.allocate(1) == OffsetAllocator::none);
        CHECK(offsets.end() == offsets.capacity());
    }
}

TEST_CASE("the same calls give the same offsets, and a step that repeats takes no more room than the first time")
{
    const wasi::RandomKey key(9);
    const auto step = [&](OffsetAllocator& offsets) {
        std::vector<Part> parts;
        std::vector<std::size_t> given;
        for (std::uint64_t i = 0; i < 300; ++i) {
            if (i % 3 == 2) {
                const auto which = static_cast<std::ptrdiff_t>(key.below(i, static_cast<wasi::Index>(parts.size())));
                offsets.release(parts[static_cast<std::size_t>(which)].offset,
                                parts[static_cast<std::size_t>(which)].bytes);
                parts.erase(parts.begin() + which);
            } else {
                const std::size_t bytes = random_bytes(key, i);
                parts.push_back({offsets.allocate(bytes), bytes});
                given.push_back(parts.back().offset);
            }
        }
        for (const Part& part : parts) {
            offsets.release(part.offset, part.bytes);
        }
        return given;
    };
    OffsetAllocator offsets(std::size_t{1} << 30);
    const auto first = step(offsets);
    const std::size_t high_water = offsets.high_water();
    CHECK(step(offsets) == first);
    CHECK(offsets.high_water() == high_water);
    CHECK(offsets.used() == 0);
}

TEST_CASE(
    "the rule: near the size lowest first, else the smallest hole, else the open end; large parts at the high end")
{
    constexpr std::size_t kib = 1024;
    OffsetAllocator offsets(std::size_t{1} << 30);
    // Holes of 50, 30 and 20 KiB, with walls between them.
    const std::size_t a = offsets.allocate(50 * kib);
    static_cast<void>(offsets.allocate(kib));
    const std::size_t b = offsets.allocate(30 * kib);
    static_cast<void>(offsets.allocate(kib));
    const std::size_t c = offsets.allocate(20 * kib);
    static_cast<void>(offsets.allocate(kib));
    const std::size_t end = offsets.end();
    offsets.release(a, 50 * kib);
    offsets.release(b, 30 * kib);
    offsets.release(c, 20 * kib);
    CHECK(offsets.allocate(15 * kib) == b);            // 30 and 20 are near 15, and 30 is lower
    CHECK(offsets.allocate(5 * kib) == b + 15 * kib);  // nothing is near 5: the smallest
    CHECK(offsets.allocate(200 * kib) == end);         // no hole is large enough
    offsets.release(end, 200 * kib);
    CHECK(offsets.end() == end);
    CHECK(offsets.high_water() == end + 200 * kib);
    offsets.reset_high_water();
    CHECK(offsets.high_water() == end);

    const std::size_t wide = offsets.allocate(600 * kib);
    static_cast<void>(offsets.allocate(150 * kib));  // a wall that fits no other hole
    offsets.release(wide, 600 * kib);
    CHECK(offsets.allocate(400 * kib) == wide + 200 * kib);  // large: the high end
}

TEST_CASE("capacity: rounded down, and requests beyond it are refused")
{
    OffsetAllocator offsets(200);
    CHECK(offsets.capacity() == 192);
    CHECK(offsets.allocate(193) == OffsetAllocator::none);
    CHECK(offsets.allocate(OffsetAllocator::none) == OffsetAllocator::none);
    CHECK(offsets.allocate(0) == 0);  // a place of its own all the same
    CHECK(offsets.allocate(0) == 64);
    CHECK(offsets.allocate(65) == OffsetAllocator::none);
    CHECK(offsets.used() == 128);
    OffsetAllocator nothing(0);
    CHECK(nothing.allocate(0) == OffsetAllocator::none);
    CHECK(nothing.end() == 0);
}

}  // namespace
