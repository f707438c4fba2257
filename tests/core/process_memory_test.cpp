// The process's real memory, seen from inside: pages that are touched, and pages that are not.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

#include <wasi/core/memory.hpp>
#include <wasi/core/process_memory.hpp>

namespace {

using wasi::Ledger;
using wasi::PeakSource;
using wasi::ProcessPeak;
using wasi::Tag;
using wasi::Use;

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t block_bytes = 48 * mib;
/// What else may come and go meanwhile: threads' stacks, the C library's own, the system's rounding.
constexpr std::size_t slack = 4 * mib;
constexpr Tag weight{Use::weight, 0};
constexpr Tag work{Use::workspace, 0};

/// Whether resident memory says anything here: the sanitizer's shadow and its quarantine do not follow the blocks.
[[nodiscard]] bool is_meaningful()
{
    return WASI_ADDRESS_SANITIZER == 0 && wasi::pages::available && wasi::process_memory().anonymous > 0;
}

TEST_CASE("what is resident is told apart by kind")
{
    const auto now = wasi::process_memory();
    CHECK(now.resident > 0);
    if (now.anonymous > 0) {
        CHECK(now.file > 0);
        CHECK(now.anonymous + now.file == now.resident);
    }
}

TEST_CASE("large blocks cost what is written to, and leave the process when they are released")
{
    if (!is_meaningful()) {
        return;
    }
    for (const bool with_arena : {false, true}) {
        CAPTURE(with_arena);
        Ledger ledger;
        if (with_arena) {
            ledger.open_arena(256 * mib);
        }
        const Tag tag = with_arena ? work : weight;
        const std::size_t before = wasi::process_memory().anonymous;
        void* const block = ledger.allocate(block_bytes, tag);
        CHECK(wasi::process_memory().anonymous < before + slack);  // nobody has written to it
        std::memset(block, 1, block_bytes / 2);
        CHECK(wasi::process_memory().anonymous > before + block_bytes / 2 - slack);
        CHECK(wasi::process_memory().anonymous < before + block_bytes / 2 + slack);
        std::memset(block, 1, block_bytes);
        ledger.release(block, block_bytes, tag);
        if (with_arena) {
            CHECK(wasi::process_memory().anonymous > before + block_bytes - slack);  // kept for the next step
            ledger.trim_arena();
        }
        CHECK(wasi::process_memory().anonymous < before + slack);
    }
}

TEST_CASE("blocks leave the process also where operator new would keep them for later")
{
    if (!is_meaningful()) {
        return;
    }
    // glibc takes what it has once released as a hint that such blocks come again, and keeps the next ones.
    ::operator delete(::operator new(16 * mib));
    Ledger ledger;
    const std::size_t before = wasi::process_memory().anonymous;
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < 24; ++i) {
        blocks.push_back(ledger.allocate(2 * mib, weight));
        std::memset(blocks.back(), 1, 2 * mib);
    }
    void* const above = ledger.allocate(100, weight);  // what lies below it in a heap cannot be cut off
    CHECK(wasi::process_memory().anonymous > before + block_bytes - slack);
    for (void* const block : blocks) {
        ledger.release(block, 2 * mib, weight);
    }
    CHECK(wasi::process_memory().anonymous < before + slack);
    ledger.release(above, 100, weight);
}

TEST_CASE("the peak of a phase rises with a block that is written to and is forgotten by restart")
{
    if (!is_meaningful()) {
        return;
    }
    for (const PeakSource source : {PeakSource::system, PeakSource::sampled}) {
        CAPTURE(static_cast<int>(source));
        Ledger ledger;
        ProcessPeak peak(source);
        if (peak.source() == PeakSource::whole_process) {
            continue;
        }
        const std::size_t before = peak.bytes();
        CHECK(before > 0);
        void* const block = ledger.allocate(block_bytes, weight);
        std::memset(block, 1, block_bytes);
        CHECK(peak.bytes() > before + block_bytes - slack);
        CHECK(peak.bytes() < before + block_bytes + slack);
        ledger.release(block, block_bytes, weight);
        CHECK(peak.bytes() > before + block_bytes - slack);  // a peak stays
        wasi::return_free_memory();
        peak.restart();
        CHECK(peak.bytes() < before + slack);
    }
}

TEST_CASE("where nothing is known by phase, the peak is the process's")
{
    ProcessPeak peak(PeakSource::whole_process);
    CHECK(peak.source() == PeakSource::whole_process);
    CHECK(peak.bytes() > 0);
    peak.restart();
    CHECK(peak.bytes() > 0);
}

}  // namespace
