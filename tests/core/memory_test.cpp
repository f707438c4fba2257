#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <wasi/core/memory.hpp>

namespace {

using wasi::Ledger;
using wasi::Memory;
using wasi::Tag;
using wasi::Use;

void check_entry(Ledger::Entry entry, std::size_t current, std::size_t peak)
{
    CHECK(entry.current == current);
    CHECK(entry.peak == peak);
}

bool is_aligned(const void* block)
{
    return reinterpret_cast<std::uintptr_t>(block) % Memory::alignment == 0;
}

TEST_CASE("a new ledger is empty")
{
    const Ledger ledger;
    check_entry(ledger.total(), 0, 0);
    check_entry(ledger.of(Use::weight), 0, 0);
    check_entry(ledger.of(Tag{Use::input, 7}), 0, 0);
    CHECK(ledger.flops() == 0.0);
}

TEST_CASE("a ledger books bytes by class, by layer and in total")
{
    Ledger ledger;
    const Tag first{Use::weight, 1};
    const Tag second{Use::weight, 2};
    const Tag other{Use::gradient, 2};
    void* a = ledger.allocate(100, first);
    void* b = ledger.allocate(50, second);
    void* c = ledger.allocate(7, other);
    check_entry(ledger.of(first), 100, 100);
    check_entry(ledger.of(second), 50, 50);
    check_entry(ledger.of(other), 7, 7);
    check_entry(ledger.of(Use::weight), 150, 150);
    check_entry(ledger.of(Use::gradient), 7, 7);
    check_entry(ledger.of(Use::workspace), 0, 0);
    check_entry(ledger.total(), 157, 157);

    ledger.release(a, 100, first);
    check_entry(ledger.of(first), 0, 100);
    check_entry(ledger.of(Use::weight), 50, 150);
    check_entry(ledger.total(), 57, 157);

    // Below the old peak: nothing rises.
    a = ledger.allocate(60, first);
    check_entry(ledger.of(Use::weight), 110, 150);
    check_entry(ledger.total(), 117, 157);

    ledger.release(a, 60, first);
    ledger.release(b, 50, second);
    ledger.release(c, 7, other);
    check_entry(ledger.of(Use::weight), 0, 150);
    check_entry(ledger.total(), 0, 157);
}

TEST_CASE("the total peak is the joint one, not the sum of peaks")
{
    Ledger ledger;
    void* a = ledger.allocate(100, Tag{Use::gradient, 0});
    ledger.release(a, 100, Tag{Use::gradient, 0});
    void* b = ledger.allocate(80, Tag{Use::workspace, 0});
    ledger.release(b, 80, Tag{Use::workspace, 0});
    CHECK(ledger.of(Use::gradient).peak + ledger.of(Use::workspace).peak == 180);
    check_entry(ledger.total(), 0, 100);
}

TEST_CASE("rebook moves bytes between classes and layers and leaves the total alone")
{
    Ledger ledger;
    const Tag from{Use::workspace, 0};
    const Tag to{Use::saved_input, 3};
    void* block = ledger.allocate(64, from);
    ledger.rebook(64, from, to);
    check_entry(ledger.of(from), 0, 64);
    check_entry(ledger.of(to), 64, 64);
    check_entry(ledger.of(Use::saved_input), 64, 64);
    check_entry(ledger.total(), 64, 64);
    ledger.release(block, 64, to);
    check_entry(ledger.of(to), 0, 64);
    check_entry(ledger.total(), 0, 64);
}

TEST_CASE("reset_peaks starts a new measurement from what is alive")
{
    Ledger ledger;
    const Tag tag{Use::input, 4};
    void* kept = ledger.allocate(10, tag);
    void* gone = ledger.allocate(90, tag);
    ledger.release(gone, 90, tag);
    check_entry(ledger.of(tag), 10, 100);
    ledger.reset_peaks();
    check_entry(ledger.of(tag), 10, 10);
    check_entry(ledger.of(Use::input), 10, 10);
    check_entry(ledger.total(), 10, 10);
    ledger.release(kept, 10, tag);
    check_entry(ledger.of(tag), 0, 10);
}

TEST_CASE("flops add up")
{
    Ledger ledger;
    ledger.count_flops(2e9);
    ledger.count_flops(1.0);
    CHECK(ledger.flops() == 2e9 + 1.0);
}

TEST_CASE("blocks are aligned to 64 bytes and distinct, also empty ones")
{
    Ledger ledger;
    const Tag tag{};
    for (Memory* memory : {static_cast<Memory*>(&ledger), &wasi::plain_memory()}) {
        std::vector<std::pair<void*, std::size_t>> blocks;
        std::set<void*> distinct;
        for (const std::size_t bytes : {0UL, 1UL, 63UL, 65UL, 4096UL, 0UL}) {
            blocks.emplace_back(memory->allocate(bytes, tag), bytes);
            CHECK(is_aligned(blocks.back().first));
            distinct.insert(blocks.back().first);
        }
        CHECK(distinct.size() == blocks.size());
        for (const auto& [block, bytes] : blocks) {
            memory->release(block, bytes, tag);
        }
    }
    check_entry(ledger.total(), 0, 4225);
}

// The address sanitizer ends the program instead of throwing.
#if !WASI_ADDRESS_SANITIZER
TEST_CASE("a request that cannot be met throws and books nothing")
{
    Ledger ledger;
    // Unknown to the compiler, which would warn about the number.
    volatile std::size_t shift = 62;
    CHECK_THROWS_AS(static_cast<void>(ledger.allocate(std::size_t{1} << shift, Tag{})), std::bad_alloc);
    check_entry(ledger.total(), 0, 0);
}
#endif

TEST_CASE("a ledger used from many threads balances")
{
    constexpr int threads = 4;
    constexpr int rounds = 150'000;
    Ledger ledger;
    std::atomic<int> ready = 0;
    std::vector<std::thread> crew;
    for (int t = 0; t < threads; ++t) {
        crew.emplace_back([&ledger, &ready, t] {
            const Tag mine{Use::gradient, static_cast<std::uint16_t>(t)};
            const Tag saved{Use::saved_input, static_cast<std::uint16_t>(t)};
            // All begin together, or each would be done before the next one exists.
            ++ready;
            while (ready < threads) {
                std::this_thread::yield();
            }
            for (int i = 0; i < rounds; ++i) {
                void* block = ledger.allocate(16, mine);
                for (int swap = 0; swap < 10; ++swap) {
                    ledger.rebook(16, mine, saved);
                    ledger.rebook(16, saved, mine);
                    ledger.count_flops(1.0);
                }
                ledger.rebook(16, mine, saved);
                ledger.release(block, 16, saved);
            }
        });
    }
    for (std::thread& thread : crew) {
        thread.join();
    }
    CHECK(ledger.total().current == 0);
    CHECK(ledger.total().peak >= 16);
    CHECK(ledger.total().peak <= 16 * threads);
    CHECK(ledger.flops() == 10.0 * threads * rounds);
    for (int t = 0; t < threads; ++t) {
        check_entry(ledger.of(Tag{Use::gradient, static_cast<std::uint16_t>(t)}), 0, 16);
        check_entry(ledger.of(Tag{Use::saved_input, static_cast<std::uint16_t>(t)}), 0, 16);
    }
}

TEST_CASE("every class of memory has a name of its own")
{
    std::set<std::string> names;
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        names.insert(std::string(wasi::to_string(static_cast<Use>(use))));
    }
    CHECK(names.size() == wasi::use_count);
    CHECK(wasi::to_string(Use::weight) == "weight");
    CHECK(wasi::to_string(Use::saved_input) == "saved_input");
    CHECK(wasi::to_string(Use::input) == "input");
}

}  // namespace
