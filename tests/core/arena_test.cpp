// Arena, and a ledger that uses one: reuse, origin, classes, counting, threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include <wasi/core/memory.hpp>
#include <wasi/core/process_memory.hpp>

#if WASI_HAS_PAGES
#include <sys/resource.h>
#endif

namespace {

using wasi::Arena;
using wasi::Ledger;
using wasi::Tag;
using wasi::Use;

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t range = 256 * mib;  // small enough for an emulator
constexpr Tag work{Use::workspace, 0};

bool is_aligned(const void* block)
{
    return reinterpret_cast<std::uintptr_t>(block) % wasi::Memory::alignment == 0;
}

/// While it lives, this process may have so many bytes of addresses more than it has now.
class AddressLimit {
public:
    explicit AddressLimit(std::size_t more)
    {
#if WASI_HAS_PAGES
        getrlimit(RLIMIT_AS, &before_);
        std::size_t taken = 0;
        if (std::ifstream("/proc/self/statm") >> taken) {
            rlimit now = before_;
            now.rlim_cur = taken * wasi::pages::size() + more;
            setrlimit(RLIMIT_AS, &now);
        }
#else
        static_cast<void>(more);
#endif
    }
    AddressLimit(const AddressLimit&) = delete;
    AddressLimit& operator=(const AddressLimit&) = delete;
    ~AddressLimit()
    {
#if WASI_HAS_PAGES
        setrlimit(RLIMIT_AS, &before_);
#endif
    }

private:
#if WASI_HAS_PAGES
    rlimit before_{};
#endif
};

TEST_CASE("an arena hands out aligned, writable blocks and the same ones again")
{
    Arena arena(range);
    if (arena.range() == 0) {
        return;  // a system without pages
    }
    std::vector<std::pair<void*, std::size_t>> blocks;
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{65}, mib, 5 * mib}) {
        void* const block = arena.allocate(bytes);
        REQUIRE(block != nullptr);
        CHECK(is_aligned(block));
        CHECK(arena.owns(block));
        std::memset(block, 0xA5, bytes);
        blocks.emplace_back(block, bytes);
    }
    CHECK(arena.used() == 64 + 64 + 128 + 6 * mib);
    CHECK(arena.high_water() == arena.used());
    CHECK(arena.usable() == 8 * mib);  // whole steps of 2 MiB
    int local = 0;
    CHECK_FALSE(arena.owns(&local));
    CHECK_FALSE(arena.owns(nullptr));
    const std::size_t usable = arena.usable();
    for (int round = 0; round < 3; ++round) {
        for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
            arena.release(block->first, block->second);
        }
        CHECK(arena.used() == 0);
        for (const auto& [block, bytes] : blocks) {
            CHECK(arena.allocate(bytes) == block);
        }
    }
    CHECK(arena.usable() == usable);
    CHECK(arena.allocate(2 * range) == nullptr);
}

TEST_CASE("trim gives back what lies above the last block, and the arena goes on")
{
    Arena arena(range);
    if (arena.range() == 0) {
        return;
    }
    void* const kept = arena.allocate(mib);
    std::memset(kept, 7, mib);
    void* const gone = arena.allocate(20 * mib);
    arena.release(gone, 20 * mib);
    arena.trim();
    CHECK(arena.usable() == 2 * mib);
    CHECK(static_cast<unsigned char*>(kept)[mib - 1] == 7);
    void* const again = arena.allocate(20 * mib);
    CHECK(again == gone);
    std::memset(again, 1, 20 * mib);
    arena.release(again, 20 * mib);
    arena.release(kept, mib);
    arena.trim();
    CHECK(arena.usable() == 0);
}

TEST_CASE("blocks that do not fit together cost addresses, not memory")
{
    // Every other block goes, and then one comes that fits none of the holes.
    constexpr std::size_t count = 40;
    constexpr std::size_t size = mib + 320;  // ends inside a page
    constexpr std::size_t all = count * size;
    constexpr std::size_t slack = 4 * mib + count * (std::size_t{64} << 10);  // and the ends of holes
    Arena arena(range);
    if (arena.range() == 0) {
        return;
    }
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < count; ++i) {
        blocks.push_back(arena.allocate(size));
        std::memset(blocks.back(), static_cast<int>(i), size);
    }
    const std::size_t held = arena.held();
    CHECK(held >= all);
    CHECK(held <= all + slack);
    const std::size_t resident = wasi::process_memory().anonymous;
    for (std::size_t i = 0; i < count; i += 2) {
        arena.release(blocks[i], size);
    }
    CHECK(arena.held() == held);  // kept for the next block
    arena.reset_high_water();
    void* const wide = arena.allocate(all / 2);
    std::memset(wide, 1, all / 2);
    CHECK(arena.high_water() == all + all / 2);
    CHECK(arena.held() >= arena.used());
    CHECK(arena.held() <= all + slack);
    CHECK(arena.held_peak() <= all + slack);
    if (WASI_ADDRESS_SANITIZER == 0 && resident > 0) {
        CHECK(wasi::process_memory().anonymous <= resident + slack);
    }
    // What stayed is as it was, and what comes into the holes may be written to.
    for (std::size_t i = 1; i < count; i += 2) {
        const auto* const kept = static_cast<unsigned char*>(blocks[i]);
        CHECK(std::all_of(kept, kept + size, [&](unsigned char value) { return value == i; }));
    }
    for (std::size_t i = 0; i < count; i += 2) {
        blocks[i] = arena.allocate(size);
        REQUIRE(blocks[i] != nullptr);
        std::memset(blocks[i], 1, size);
    }
    CHECK(arena.held() >= arena.used());
    CHECK(arena.high_water() == all + all / 2);
    arena.release(wide, all / 2);
    for (void* const block : blocks) {
        arena.release(block, size);
    }
    CHECK(arena.used() == 0);
    arena.trim();
    CHECK(arena.held() == 0);
}

TEST_CASE("a request for more addresses than there are is cut down, and one for hardly any is refused")
{
    if (!wasi::pages::available) {
        return;
    }
    CHECK(Arena(0).range() == 0);
    CHECK(Arena(0).allocate(1) == nullptr);
    CHECK(Arena(Arena::least_range).range() == Arena::least_range);
    {
        const AddressLimit limit(300 * mib);
        void* const whole = wasi::pages::reserve(1024 * mib);
        if (whole == nullptr) {
            const Arena part(1024 * mib);
            CHECK(part.range() >= 64 * mib);
            CHECK(part.range() <= 256 * mib);
        } else {  // an emulator may not hold a program to its limits
            wasi::pages::give_back(whole, 1024 * mib);
        }
    }
}

TEST_CASE("a ledger's arena takes the classes that live within a step, and no others")
{
    Ledger ledger;
    if (!ledger.open_arena(range)) {
        CHECK_FALSE(wasi::pages::available);
        return;
    }
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        const Tag tag{static_cast<Use>(use), 3};
        CAPTURE(to_string(tag.use));
        const bool outlives = tag.use == Use::weight || tag.use == Use::optimiser_state;
        ledger.reset_peaks();
        void* const block = ledger.allocate(1000, tag);
        CHECK(ledger.arena_used() == (outlives ? 0 : 1024));
        CHECK(ledger.allocations_outside_arena() == (outlives ? 1 : 0));
        CHECK(ledger.of(tag).current == 1000);
        ledger.release(block, 1000, tag);
        CHECK(ledger.arena_used() == 0);
    }
    CHECK(ledger.total().current == 0);
}

TEST_CASE("blocks go back to where they came from, whatever is open then and whatever they were booked as since")
{
    for (const std::size_t bytes : {std::size_t{100}, 3 * mib}) {
        Ledger ledger;
        void* const before = ledger.allocate(bytes, work);
        ledger.open_arena(range);
        void* const within = ledger.allocate(bytes, work);
        const std::size_t used = ledger.arena_used();
        CHECK(used == (wasi::pages::available ? wasi::OffsetAllocator::rounded(bytes) : 0));
        ledger.rebook(bytes, work, Tag{Use::weight, 1});  // outlives the step where it is
        ledger.close_arena();
        void* const after = ledger.allocate(bytes, work);
        CHECK(ledger.arena_used() == used);
        std::memset(within, 1, bytes);
        ledger.release(before, bytes, work);
        ledger.release(after, bytes, work);
        CHECK(ledger.arena_used() == used);
        ledger.release(within, bytes, Tag{Use::weight, 1});
        CHECK(ledger.arena_used() == 0);
        CHECK(ledger.arena_high_water() == 0);  // the range is gone with its last block
        CHECK(ledger.total().current == 0);
        CHECK(ledger.open_arena(range) == wasi::pages::available);
    }
}

TEST_CASE("a full arena sends blocks outside and counts them")
{
    Ledger ledger;
    if (!ledger.open_arena(Arena::least_range)) {
        return;
    }
    void* const within = ledger.allocate(12 * mib, work);
    CHECK(ledger.allocations_outside_arena() == 0);
    void* const outside = ledger.allocate(12 * mib, work);
    CHECK(ledger.allocations_outside_arena() == 1);
    CHECK(ledger.total().current == 24 * mib);
    CHECK(ledger.arena_high_water() == 12 * mib);
    ledger.release(within, 12 * mib, work);
    ledger.release(outside, 12 * mib, work);
    ledger.reset_peaks();
    CHECK(ledger.allocations_outside_arena() == 0);
    CHECK(ledger.arena_high_water() == 0);
}

TEST_CASE("two threads in one arena: nobody gets what another one has, and everything comes back")
{
    constexpr int threads = 2;
    constexpr int rounds = 20'000;
    Ledger ledger;
    ledger.open_arena(range);
    std::atomic<int> ready = 0;
    std::atomic<int> spoilt = 0;
    std::vector<std::thread> crew;
    for (int t = 0; t < threads; ++t) {
        crew.emplace_back([&, t] {
            ++ready;
            while (ready < threads) {
                std::this_thread::yield();
            }
            struct Held {
                unsigned char* block;
                std::size_t bytes;
                Tag tag;
            };
            std::vector<Held> held;
            for (int i = 0; i < rounds; ++i) {
                const auto bytes = static_cast<std::size_t>(1 + (i * 7919 + t * 31) % 5000);
                const Tag tag{static_cast<Use>(i % 7), 1};
                auto* block = static_cast<unsigned char*>(ledger.allocate(bytes, tag));
                block[0] = block[bytes - 1] = static_cast<unsigned char>(t + 1);
                held.push_back({block, bytes, tag});
                if (held.size() > 40) {
                    const auto which = held.begin() + i % 40;
                    const auto mine = static_cast<unsigned char>(t + 1);
                    spoilt += which->block[0] == mine && which->block[which->bytes - 1] == mine ? 0 : 1;
                    ledger.release(which->block, which->bytes, which->tag);
                    held.erase(which);
                }
            }
            for (const Held& one : held) {
                ledger.release(one.block, one.bytes, one.tag);
            }
        });
    }
    for (std::thread& thread : crew) {
        thread.join();
    }
    CHECK(spoilt == 0);
    CHECK(ledger.total().current == 0);
    CHECK(ledger.arena_used() == 0);
    CHECK(ledger.arena_high_water() <= 2 * 41 * 5056 * 2);
}

}  // namespace
