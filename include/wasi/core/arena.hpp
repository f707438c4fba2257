#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <vector>

#include "wasi/core/offset_allocator.hpp"
#include "wasi/core/system_memory.hpp"

namespace wasi {

/// One range of addresses, reserved once, that blocks come from and go back to. Nothing moves, ever: the range is as
/// large as the machine's memory, and only the part below the high-water mark is made usable, 2 MiB at a
/// time. The arena itself never touches a page, so a block that nobody writes to costs no resident memory. Where to
/// put a block: OffsetAllocator. Blocks are aligned to 64 bytes and not cleared. Under the address sanitizer, what is
/// not a block is out of bounds.
///
/// Pages that were handed out stay with the process for the next block, but not without bound: when they exceed what
/// blocks have needed at their peak by a sixteenth and by 4 MiB, those in holes are given back. Blocks that do not fit
/// together then cost addresses and now and then a call to the system, not memory.
/// Thread safety: one object, one thread at a time (Ledger locks).
class Arena {
public:
    /// How much is made usable at a time.
    static constexpr std::size_t step = std::size_t{2} << 20;
    /// A range smaller than this is not worth having.
    static constexpr std::size_t least_range = std::size_t{16} << 20;

    /// As many addresses as the machine has memory: blocks beyond that would not fit anyway, and emulators pay for
    /// every page of a reservation.
    [[nodiscard]] static std::size_t default_range() noexcept
    {
        return std::max(least_range, whole_steps(pages::physical_memory()));
    }

    /// Reserves `range` bytes of addresses, or the largest half, quarter, ... of it that the system grants (a limit on
    /// the address space, say); range() is 0 when it grants none or has no pages to give.
    explicit Arena(std::size_t range) : offsets_(reserve(range)) {}
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena()
    {
        if (base_ != nullptr) {
            pages::allow(base_, usable_);
            pages::give_back(base_, range());
        }
    }

    /// A block aligned to 64 bytes; nullptr when there is no room. Throws std::bad_alloc.
    [[nodiscard]] void* allocate(std::size_t bytes)
    {
        const std::size_t offset = offsets_.allocate(bytes);
        if (offset == OffsetAllocator::none) {
            return nullptr;
        }
        if (!make_usable(offset + OffsetAllocator::rounded(bytes))) {
            offsets_.release(offset, bytes);
            return nullptr;
        }
        hold(offset, OffsetAllocator::rounded(bytes));
        pages::allow(base_ + offset, bytes);
        return base_ + offset;
    }

    /// Takes a block back.
    void release(void* block, std::size_t bytes) noexcept
    {
        pages::forbid(block, OffsetAllocator::rounded(bytes));
        offsets_.release(static_cast<std::size_t>(static_cast<std::byte*>(block) - base_), bytes);
    }

    /// Whether a block came from here.
    [[nodiscard]] bool owns(const void* block) const noexcept
    {
        const std::less<const void*> before;
        return base_ != nullptr && !before(block, base_) && before(block, base_ + range());
    }

    /// Gives the pages above the last block in use back to the system.
    void trim() noexcept
    {
        const std::size_t keep = std::min(usable_, whole_steps(offsets_.end()));
        if (usable_ > keep && pages::close(base_ + keep, usable_ - keep)) {
            pages::allow(base_ + keep, usable_ - keep);
            drop(keep, usable_ - keep);
            usable_ = keep;
        }
    }

    /// Reserved addresses, bytes.
    [[nodiscard]] std::size_t range() const noexcept { return offsets_.capacity(); }
    /// Bytes of the blocks in use, each rounded up to 64.
    [[nodiscard]] std::size_t used() const noexcept { return offsets_.used(); }
    /// How far up the range blocks have reached since the last reset_high_water.
    [[nodiscard]] std::size_t high_water() const noexcept { return offsets_.high_water(); }
    /// What the process holds for the arena at most: pages of blocks, written to or not, and pages kept for later.
    [[nodiscard]] std::size_t held() const noexcept { return held_ * grain(); }
    /// The largest held() since the last reset_high_water.
    [[nodiscard]] std::size_t held_peak() const noexcept { return held_peak_ * grain(); }
    /// Begins a new measurement: of high_water from the end of the highest block in use, of held_peak from what is
    /// held.
    void reset_high_water() noexcept
    {
        offsets_.reset_high_water();
        held_peak_ = held_;
    }
    /// Bytes that are usable now: the high-water mark since the last trim, in whole steps.
    [[nodiscard]] std::size_t usable() const noexcept { return usable_; }

private:
    [[nodiscard]] static constexpr std::size_t whole_steps(std::size_t bytes) noexcept
    {
        return (bytes + step - 1) / step * step;
    }

    [[nodiscard]] std::size_t reserve(std::size_t range) noexcept
    {
        for (range = whole_steps(range); range >= least_range; range = whole_steps(range / 2)) {
            base_ = static_cast<std::byte*>(pages::reserve(range));
            if (base_ != nullptr) {
                return range;
            }
        }
        return 0;
    }

    [[nodiscard]] bool make_usable(std::size_t end) noexcept
    {
        const std::size_t wanted = std::min(whole_steps(end), range());
        if (wanted > usable_) {
            try {
                is_held_.resize(std::max(is_held_.size(), wanted / grain() + 1));
            } catch (const std::bad_alloc&) {
                return false;
            }
            if (!pages::open(base_ + usable_, wanted - usable_)) {
                return false;
            }
            pages::forbid(base_ + usable_, wanted - usable_);
            usable_ = wanted;
        }
        return true;
    }

    /// The unit of what is held: some pages, so that holes of a few bytes are not worth a call.
    [[nodiscard]] static std::size_t grain() noexcept
    {
        static const std::size_t bytes = std::max(pages::size(), std::size_t{16} << 10);
        return bytes;
    }

    /// A part is handed out: its pages may be written to from now on.
    void hold(std::size_t offset, std::size_t size) noexcept
    {
        for (std::size_t i = offset / grain(); i <= (offset + size - 1) / grain(); ++i) {
            held_ += is_held_[i] == 0 ? 1 : 0;
            is_held_[i] = 1;
        }
        needed_ = std::max(needed_, used());
        if (held() > std::max(limit_, needed_ + std::max(needed_ / 16, slack))) {
            give_holes_back();
            limit_ = held() + slack;  // where there is little to give back, not at every call
        }
        held_peak_ = std::max(held_peak_, held_);
    }

    /// Books the pages of a part as given back.
    void drop(std::size_t offset, std::size_t size) noexcept
    {
        for (std::size_t i = offset / grain(); i < (offset + size) / grain(); ++i) {
            held_ -= is_held_[i];
            is_held_[i] = 0;
        }
    }

    /// Gives the whole pages of every hole back, as far as they are held: one call for each run of them.
    void give_holes_back() noexcept
    {
        offsets_.for_each_hole([this](std::size_t offset, std::size_t size) {
            const std::size_t end = std::min(offset + size, usable_) / grain();
            for (std::size_t i = (offset + grain() - 1) / grain(); i < end;) {
                std::size_t next = i;
                while (next < end && is_held_[next] != 0) {
                    ++next;
                }
                if (next > i && pages::forget(base_ + i * grain(), (next - i) * grain())) {
                    drop(i * grain(), (next - i) * grain());
                }
                i = next + 1;
            }
        });
    }

    /// By how much more than blocks need the arena may hold before it gives pages back.
    static constexpr std::size_t slack = std::size_t{4} << 20;

    std::byte* base_ = nullptr;
    OffsetAllocator offsets_;  // after base_, which its initializer sets
    std::size_t usable_ = 0;
    std::vector<std::uint8_t> is_held_;  // by grain, below usable_
    std::size_t held_ = 0;               // grains
    std::size_t held_peak_ = 0;
    std::size_t needed_ = 0;  // the largest used() ever
    std::size_t limit_ = 0;
};

}  // namespace wasi
