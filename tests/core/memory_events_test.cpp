// Bookings and the record of a ledger.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include <wasi/core/memory.hpp>

namespace {

using wasi::Booking;
using wasi::Ledger;
using wasi::MemoryEvents;
using wasi::Tag;
using wasi::Use;

constexpr Tag data{Use::input, 0};
constexpr Tag work{Use::workspace, 2};
constexpr Tag saved{Use::saved_input, 2};

TEST_CASE("a booking is in the books for as long as it lives, and allocates nothing")
{
    static_assert(!std::is_copy_constructible_v<Booking> && std::is_nothrow_move_constructible_v<Booking>);
    Ledger ledger;
    {
        Booking images(ledger, 1000, data);
        CHECK(images.bytes() == 1000);
        CHECK(ledger.of(data).current == 1000);
        CHECK(ledger.total().current == 1000);
        CHECK(ledger.allocations_outside_arena() == 0);

        Booking moved(std::move(images));
        CHECK(ledger.total().current == 1000);
        Booking other(ledger, 50, Tag{Use::weight, 1});
        other = std::move(moved);  // the 50 are over
        CHECK(other.bytes() == 1000);
        CHECK(ledger.of(Use::weight).current == 0);
        CHECK(ledger.total().current == 1000);
        CHECK(ledger.total().peak == 1050);
        other.end();
        CHECK(ledger.total().current == 0);
        CHECK(other.bytes() == 0);
        other.end();  // nothing twice
        images = Booking(ledger, 7, data);
        CHECK(ledger.of(data).current == 7);
    }
    CHECK(ledger.total().current == 0);
    const Booking nowhere(wasi::plain_memory(), 5, data);  // a memory without books
    CHECK(nowhere.bytes() == 5);
}

/// What every class holds after the whole record.
[[nodiscard]] std::array<std::size_t, wasi::use_count> after(const MemoryEvents& record)
{
    auto bytes = record.start;
    for (const auto& event : record.events) {
        bytes[static_cast<std::size_t>(event.use)] += static_cast<std::size_t>(event.bytes);
    }
    return bytes;
}

TEST_CASE("the events of a record add up to what the ledger says")
{
    for (const bool with_arena : {false, true}) {
        Ledger ledger;
        if (with_arena) {
            ledger.open_arena(wasi::Arena::least_range);
        }
        void* const early = ledger.allocate(300, work);
        ledger.mark("not recorded");
        ledger.record_events(true);
        ledger.mark("forward");
        void* const block = ledger.allocate(100, work);
        ledger.rebook(100, work, saved);
        ledger.mark("backward");
        const Booking images(ledger, 40, data);
        ledger.release(early, 300, work);

        const MemoryEvents record = ledger.events();
        CHECK(record.complete);
        CHECK(record.start[static_cast<std::size_t>(Use::workspace)] == 300);
        REQUIRE(record.events.size() == 5);
        const std::array<std::pair<Use, std::int64_t>, 5> expected{{{Use::workspace, 100},
                                                                    {Use::workspace, -100},
                                                                    {Use::saved_input, 100},
                                                                    {Use::input, 40},
                                                                    {Use::workspace, -300}}};
        for (std::size_t i = 0; i < expected.size(); ++i) {
            CHECK(record.events[i].use == expected[i].first);
            CHECK(record.events[i].bytes == expected[i].second);
        }
        REQUIRE(record.marks.size() == 2);
        CHECK(record.marks[0].label == "forward");
        CHECK(record.marks[0].position == 0);
        CHECK(record.marks[1].label == "backward");
        CHECK(record.marks[1].position == 3);
        const auto bytes = after(record);
        for (std::size_t use = 0; use < wasi::use_count; ++use) {
            CHECK(bytes[use] == ledger.of(static_cast<Use>(use)).current);
        }

        ledger.record_events(false);
        ledger.release(block, 100, saved);
        ledger.mark("over");
        CHECK(ledger.events().events.size() == 5);  // stays until the next one begins
        CHECK(ledger.events().marks.size() == 2);
        ledger.record_events(true);
        CHECK(ledger.events().events.empty());
        CHECK(ledger.events().start[static_cast<std::size_t>(Use::input)] == 40);
    }
}

TEST_CASE("a record is bounded: it ends, says so, and what there is still adds up")
{
    Ledger ledger;
    ledger.record_events(true);
    void* const block = ledger.allocate(8, work);
    for (std::size_t i = 0; i < wasi::EventRecorder::most_events; ++i) {
        ledger.rebook(8, work, saved);
        ledger.rebook(8, saved, work);
    }
    const MemoryEvents record = ledger.events();
    CHECK_FALSE(record.complete);
    CHECK(record.events.size() == wasi::EventRecorder::most_events);
    CHECK(after(record)[static_cast<std::size_t>(Use::workspace)] +
              after(record)[static_cast<std::size_t>(Use::saved_input)] <=
          8);
    ledger.record_events(true);
    for (std::size_t i = 0; i <= wasi::EventRecorder::most_marks; ++i) {
        ledger.mark(std::string(100, 'x'));
    }
    CHECK(ledger.events().marks.size() == wasi::EventRecorder::most_marks);
    CHECK_FALSE(ledger.events().complete);
    ledger.rebook(8, work, saved);
    ledger.rebook(8, saved, work);
    CHECK(ledger.events().events.empty());  // nothing after the end
    ledger.release(block, 8, work);
}

}  // namespace
