#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "wasi/core/arena.hpp"
#include "wasi/core/memory_base.hpp"
#include "wasi/core/memory_events.hpp"
#include "wasi/core/outside_blocks.hpp"

namespace wasi {

/// Memory with books: bytes alive now and at their peak, by class, by (class, layer) and in total.
/// Peaks of different classes need not have happened at the same moment; `total().peak` is the true joint one.
///
/// Where blocks come from. While an arena is open (open_arena), the classes that live within a step (gradient,
/// saved_input, saved_activation, workspace, input) come from it: one range of addresses that a step fills and empties
/// again, so that the process holds what the ledger says and the steps after the first ask the system for nothing.
/// Everything else comes from outside, large blocks as pages of their own (OutsideBlocks). Memory is promised, not
/// counted, by the system: a block larger than what the machine has may fail when it is written to instead of throwing.
/// A block's origin follows from its address and size, so it may be released at any time, whatever is open then.
///
/// Thread safety: every call may come from any thread. Within a parallel_for the order of calls differs from run to
/// run, and with it `arena_high_water` and the total peak, by as much as the pieces running together hold; results do
/// not.
class Ledger final : public Memory {
public:
    struct Entry {
        std::size_t current = 0;
        std::size_t peak = 0;
    };

    [[nodiscard]] void* allocate(std::size_t bytes, Tag tag) override
    {
        {
            const std::lock_guard lock(mutex_);
            make_room(tag);
            if (arena_open_ && lives_within_a_step(tag.use)) {
                if (void* const block = arena_->allocate(bytes)) {
                    add(tag, bytes);
                    raise(total_, bytes);
                    return block;
                }
            }
        }
        void* const block = OutsideBlocks::allocate(bytes);
        const std::lock_guard lock(mutex_);
        ++outside_;
        add(tag, bytes);
        raise(total_, bytes);
        return block;
    }

    void release(void* block, std::size_t bytes, Tag tag) noexcept override
    {
        {
            const std::lock_guard lock(mutex_);
            subtract(tag, bytes);
            total_.current -= bytes;
            if (arena_ && arena_->owns(block)) {
                arena_->release(block, bytes);
                drop_closed_arena();
                return;
            }
        }
        OutsideBlocks::release(block, bytes);
    }

    void rebook(std::size_t bytes, Tag from, Tag to) noexcept override
    {
        const std::lock_guard lock(mutex_);
        subtract(from, bytes);
        make_room(to);
        add(to, bytes);
    }

    void book(std::size_t bytes, Tag tag) override
    {
        const std::lock_guard lock(mutex_);
        make_room(tag);
        add(tag, bytes);
        raise(total_, bytes);
    }

    void unbook(std::size_t bytes, Tag tag) noexcept override
    {
        const std::lock_guard lock(mutex_);
        subtract(tag, bytes);
        total_.current -= bytes;
    }

    void count_flops(double flops) noexcept override
    {
        const std::lock_guard lock(mutex_);
        flops_ += flops;
    }

    void mark(std::string_view label) noexcept override
    {
        const std::lock_guard lock(mutex_);
        recorder_.mark(label);
    }

    [[nodiscard]] Entry total() const
    {
        const std::lock_guard lock(mutex_);
        return total_;
    }

    [[nodiscard]] Entry of(Use use) const
    {
        const std::lock_guard lock(mutex_);
        return by_use_[static_cast<std::size_t>(use)];
    }

    [[nodiscard]] Entry of(Tag tag) const
    {
        const std::lock_guard lock(mutex_);
        const auto& layers = by_layer_[static_cast<std::size_t>(tag.use)];
        return tag.layer < layers.size() ? layers[tag.layer] : Entry{};
    }

    /// Floating-point operations counted so far.
    [[nodiscard]] double flops() const override
    {
        const std::lock_guard lock(mutex_);
        return flops_;
    }

    /// Forgets the peaks seen so far: each becomes what is alive now. Counts allocations_outside_arena from 0 again.
    void reset_peaks()
    {
        const std::lock_guard lock(mutex_);
        const auto settle = [](Entry& entry) { entry.peak = entry.current; };
        settle(total_);
        for (auto& entry : by_use_) {
            settle(entry);
        }
        for (auto& layers : by_layer_) {
            for (auto& entry : layers) {
                settle(entry);
            }
        }
        if (arena_) {
            arena_->reset_high_water();
        }
        outside_ = 0;
    }

    /// From here on the classes that live within a step come from an arena of `range` bytes of addresses (or the
    /// largest half, quarter, ... of it that the system grants; blocks that find no room in it come from outside). Does
    /// nothing when an arena is open. Returns whether one is open now: false where the system has no pages to give.
    bool open_arena(std::size_t range = Arena::default_range())
    {
        const std::lock_guard lock(mutex_);
        if (!arena_) {
            arena_.emplace(range);
            if (arena_->range() == 0) {
                arena_.reset();
            }
        }
        arena_open_ = arena_.has_value();
        return arena_open_;
    }

    /// Every block comes from outside again. The arena's memory goes back to the system when the last block in it is
    /// released, at once when there is none. The destructor gives it back in any case: a Memory outlives its blocks.
    void close_arena() noexcept
    {
        const std::lock_guard lock(mutex_);
        arena_open_ = false;
        drop_closed_arena();
    }

    /// Gives the arena's pages above its last block in use back to the system.
    void trim_arena() noexcept
    {
        const std::lock_guard lock(mutex_);
        if (arena_) {
            arena_->trim();
        }
    }

    /// Bytes of the arena's blocks in use, each rounded up to 64; 0 without an arena.
    [[nodiscard]] std::size_t arena_used() const
    {
        const std::lock_guard lock(mutex_);
        return arena_ ? arena_->used() : 0;
    }

    /// How far up its range the arena's blocks have reached since the last reset_peaks. 0 without an arena.
    [[nodiscard]] std::size_t arena_high_water() const
    {
        const std::lock_guard lock(mutex_);
        return arena_ ? arena_->high_water() : 0;
    }

    /// The most that the process had to hold for the arena since the last reset_peaks, pages kept for later included:
    /// at most a sixteenth (or 4 MiB) more than the peak of its blocks. 0 without an arena.
    [[nodiscard]] std::size_t arena_held_peak() const
    {
        const std::lock_guard lock(mutex_);
        return arena_ ? arena_->held_peak() : 0;
    }

    /// How many blocks came from outside the arena since the last reset_peaks (bookings are no blocks). A training step
    /// after the first one makes none, with ranks that stand still.
    [[nodiscard]] std::size_t allocations_outside_arena() const
    {
        const std::lock_guard lock(mutex_);
        return outside_;
    }

    /// Begins a new record of what comes and goes, or ends it. Throws std::bad_alloc.
    void record_events(bool on)
    {
        const std::lock_guard lock(mutex_);
        if (!on) {
            recorder_.stop();
            return;
        }
        std::array<std::size_t, use_count> held{};
        for (std::size_t use = 0; use < use_count; ++use) {
            held[use] = by_use_[use].current;
        }
        recorder_.start(held);
    }

    /// The record, or what there is of it so far.
    [[nodiscard]] MemoryEvents events() const
    {
        const std::lock_guard lock(mutex_);
        return recorder_.log();
    }

private:
    [[nodiscard]] static constexpr bool lives_within_a_step(Use use) noexcept
    {
        return use != Use::weight && use != Use::optimiser_state;
    }

    static void raise(Entry& entry, std::size_t bytes) noexcept
    {
        entry.current += bytes;
        if (entry.current > entry.peak) {
            entry.peak = entry.current;
        }
    }

    void make_room(Tag tag)
    {
        auto& layers = by_layer_[static_cast<std::size_t>(tag.use)];
        if (layers.size() <= tag.layer) {
            layers.resize(tag.layer + std::size_t{1});
        }
    }

    void add(Tag tag, std::size_t bytes) noexcept
    {
        const auto use = static_cast<std::size_t>(tag.use);
        raise(by_use_[use], bytes);
        raise(by_layer_[use][tag.layer], bytes);
        recorder_.change(tag.use, static_cast<std::int64_t>(bytes));
    }

    void subtract(Tag tag, std::size_t bytes) noexcept
    {
        const auto use = static_cast<std::size_t>(tag.use);
        by_use_[use].current -= bytes;
        by_layer_[use][tag.layer].current -= bytes;
        recorder_.change(tag.use, -static_cast<std::int64_t>(bytes));
    }

    void drop_closed_arena() noexcept
    {
        if (arena_ && !arena_open_ && arena_->used() == 0) {
            arena_.reset();
        }
    }

    mutable std::mutex mutex_;
    Entry total_;
    std::array<Entry, use_count> by_use_;
    std::array<std::vector<Entry>, use_count> by_layer_;
    double flops_ = 0.0;
    std::optional<Arena> arena_;
    bool arena_open_ = false;
    std::size_t outside_ = 0;
    EventRecorder recorder_;
};

}  // namespace wasi
