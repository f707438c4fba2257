#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string_view>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi {

/// What a buffer is for. `saved_input` are the inputs that linear layers keep for their weight gradient (what
/// activation subspaces compress); `saved_activation` is everything else that a tape keeps.
enum class Use : std::uint8_t { weight, gradient, optimiser_state, saved_input, saved_activation, workspace, input };

inline constexpr std::size_t use_count = 7;

/// The name of a class of memory, as reports print it.
[[nodiscard]] constexpr std::string_view to_string(Use use) noexcept
{
    constexpr std::array<std::string_view, use_count> names{
        "weight", "gradient", "optimiser_state", "saved_input", "saved_activation", "workspace", "input"};
    return names[static_cast<std::size_t>(use)];
}

/// Where a buffer is booked: its class and the layer it belongs to (0 = no layer in particular).
struct Tag {
    Use use = Use::workspace;
    std::uint16_t layer = 0;
    friend constexpr bool operator==(Tag, Tag) = default;
};

/// The memory of one run: gives aligned blocks, knows what each is for, and counts the floating-point work done on
/// them. Passed down, never global. A custom arena or a device allocator implements these four calls.
class Memory {
public:
    static constexpr std::size_t alignment = 64;

    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    virtual ~Memory() = default;

    /// A block of `bytes` bytes aligned to 64. Throws std::bad_alloc.
    [[nodiscard]] virtual void* allocate(std::size_t bytes, Tag tag) = 0;
    virtual void release(void* block, std::size_t bytes, Tag tag) noexcept = 0;
    /// Moves a block from one class to another (workspace becomes saved) without a copy.
    virtual void rebook(std::size_t bytes, Tag from, Tag to) noexcept = 0;
    /// Adds floating-point operations to the run's total. Products count 2mnk; factorisations their leading term.
    virtual void count_flops(double flops) noexcept = 0;

protected:
    [[nodiscard]] static void* allocate_aligned(std::size_t bytes)
    {
        return ::operator new (bytes == 0 ? 1 : bytes, std::align_val_t{alignment});
    }
    static void release_aligned(void* block) noexcept { ::operator delete (block, std::align_val_t{alignment}); }
};

/// Memory without books, for callers who only want a numerical result. Stateless.
class PlainMemory final : public Memory {
public:
    [[nodiscard]] void* allocate(std::size_t bytes, Tag) override { return allocate_aligned(bytes); }
    void release(void* block, std::size_t, Tag) noexcept override { release_aligned(block); }
    void rebook(std::size_t, Tag, Tag) noexcept override {}
    void count_flops(double) noexcept override {}
};

/// The default memory of the numerics functions. It has no state, so sharing it between threads is safe.
[[nodiscard]] inline Memory& plain_memory()
{
    static PlainMemory memory;
    return memory;
}

/// Memory with books: bytes alive now and at their peak, by class, by (class, layer) and in total.
/// Peaks of different classes need not have happened at the same moment; `total_peak` is the true joint one.
/// Thread safety: every call may come from any thread.
class Ledger final : public Memory {
public:
    struct Entry {
        std::size_t current = 0;
        std::size_t peak = 0;
    };

    [[nodiscard]] void* allocate(std::size_t bytes, Tag tag) override
    {
        void* block = allocate_aligned(bytes);
        const std::lock_guard lock(mutex_);
        add(tag, bytes);
        raise(total_, bytes);
        return block;
    }

    void release(void* block, std::size_t bytes, Tag tag) noexcept override
    {
        release_aligned(block);
        const std::lock_guard lock(mutex_);
        subtract(tag, bytes);
        total_.current -= bytes;
    }

    void rebook(std::size_t bytes, Tag from, Tag to) noexcept override
    {
        const std::lock_guard lock(mutex_);
        subtract(from, bytes);
        add(to, bytes);
    }

    void count_flops(double flops) noexcept override
    {
        const std::lock_guard lock(mutex_);
        flops_ += flops;
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
    [[nodiscard]] double flops() const
    {
        const std::lock_guard lock(mutex_);
        return flops_;
    }

    /// Forgets the peaks seen so far: each becomes what is alive now.
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
    }

private:
    static void raise(Entry& entry, std::size_t bytes)
    {
        entry.current += bytes;
        if (entry.current > entry.peak) {
            entry.peak = entry.current;
        }
    }

    void add(Tag tag, std::size_t bytes)
    {
        const auto use = static_cast<std::size_t>(tag.use);
        if (by_layer_[use].size() <= tag.layer) {
            by_layer_[use].resize(tag.layer + std::size_t{1});
        }
        raise(by_use_[use], bytes);
        raise(by_layer_[use][tag.layer], bytes);
    }

    void subtract(Tag tag, std::size_t bytes)
    {
        const auto use = static_cast<std::size_t>(tag.use);
        by_use_[use].current -= bytes;
        by_layer_[use][tag.layer].current -= bytes;
    }

    mutable std::mutex mutex_;
    Entry total_;
    std::array<Entry, use_count> by_use_;
    std::array<std::vector<Entry>, use_count> by_layer_;
    double flops_ = 0.0;
};

}  // namespace wasi
