#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "wasi/core/memory_base.hpp"

namespace wasi {

/// One change of what a class holds: bytes that came (positive) or went (negative). A move to another class is two, the
/// bytes that went first.
struct MemoryEvent {
    std::int64_t bytes = 0;
    Use use = Use::workspace;
};

/// A named moment: it lies before event number `position`.
struct MemoryMark {
    std::size_t position = 0;
    std::string label;
};

/// What happened while a ledger recorded. start[use] plus the events up to any point is what the class held there.
struct MemoryEvents {
    std::array<std::size_t, use_count> start{};  ///< bytes of each class when the recording began
    std::vector<MemoryEvent> events;
    std::vector<MemoryMark> marks;
    bool complete = true;  ///< false: there was no room for everything, and the rest is missing
};

/// Keeps MemoryEvents in bounded memory: room for `most_events` (4 MiB) and `most_marks`, reserved at the start and
/// touched only as far as it is used, so that to record neither allocates nor throws. Thread safety: none, the ledger
/// locks.
class EventRecorder {
public:
    static constexpr std::size_t most_events = std::size_t{1} << 18;
    static constexpr std::size_t most_marks = std::size_t{1} << 12;

    [[nodiscard]] bool on() const noexcept { return on_; }
    [[nodiscard]] const MemoryEvents& log() const noexcept { return log_; }

    /// Begins anew. Throws std::bad_alloc.
    void start(const std::array<std::size_t, use_count>& held)
    {
        log_ = {};
        log_.events.reserve(most_events);
        log_.marks.reserve(most_marks);
        log_.start = held;
        on_ = true;
    }
    /// What was recorded stays.
    void stop() noexcept { on_ = false; }

    void change(Use use, std::int64_t bytes) noexcept
    {
        if (!on_ || bytes == 0) {
            return;
        }
        if (log_.events.size() == most_events) {
            cut();
            return;
        }
        log_.events.push_back({bytes, use});
    }

    void mark(std::string_view label) noexcept
    {
        if (!on_) {
            return;
        }
        if (log_.marks.size() == most_marks) {
            cut();
            return;
        }
        try {
            log_.marks.push_back({log_.events.size(), std::string(label)});
        } catch (const std::bad_alloc&) {  // a long label, and no memory for it
            cut();
        }
    }

private:
    /// A record with holes would not add up, so it ends at the first thing that has no room.
    void cut() noexcept
    {
        log_.complete = false;
        on_ = false;
    }

    MemoryEvents log_;
    bool on_ = false;
};

}  // namespace wasi
