#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "wasi/core/language.hpp"

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
/// them. Passed down, never global. A custom arena implements the first four calls, a device's
/// allocator host, read and write too; the others do nothing unless overridden.
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

    /// All that count_flops was told; 0 of a memory that does not count.
    [[nodiscard]] virtual double flops() const { return 0.0; }

    /// Threads of the real run whose memory a dry run (storage/dry.hpp) stands for: so many workspaces may be alive at
    /// once inside a parallel_for.
    [[nodiscard]] virtual std::ptrdiff_t concurrency() const noexcept { return 1; }
    /// Where numbers live that the host itself reads and writes (spectra above all). This memory, unless its blocks are
    /// a device's.
    [[nodiscard]] virtual Memory& host() noexcept { return *this; }
    /// Bytes of one of its blocks to the host, and back. Copies, unless the blocks are a device's.
    virtual void read(void* to, const void* block, std::size_t bytes) const { std::memcpy(to, block, bytes); }
    virtual void write(void* block, const void* from, std::size_t bytes) const { std::memcpy(block, from, bytes); }

    /// Told by a dry run: an upper bound of what a primitive takes beside the books at this moment (Eigen's packed
    /// operands, the copies inside its decompositions).
    virtual void unbooked(std::size_t) noexcept {}

    /// A moment with a name ("forward", "backward"), for whoever records what happens.
    virtual void mark(std::string_view) noexcept {}
    /// Books bytes that somebody else owns, see Booking. May throw std::bad_alloc.
    virtual void book(std::size_t, Tag) {}
    /// Takes them out of the books again.
    virtual void unbook(std::size_t, Tag) noexcept {}

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

/// Books bytes that somebody else owns for as long as it lives, so that they are in the ledger's figures: a user's data
/// set as Use::input, say. Nothing is allocated. Move-only; the memory must outlive it. Thread safety: like a pointer.
class Booking {
public:
    Booking() = default;
    /// Throws what Memory::book throws.
    Booking(Memory& memory, std::size_t bytes, Tag tag) : bytes_(bytes), tag_(tag)
    {
        memory.book(bytes, tag);
        memory_ = &memory;
    }
    Booking(Booking&& other) noexcept
        : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0)), tag_(other.tag_)
    {
    }
    Booking& operator=(Booking&& other) noexcept
    {
        Booking taken(std::move(other));
        std::swap(memory_, taken.memory_);
        std::swap(bytes_, taken.bytes_);
        std::swap(tag_, taken.tag_);
        return *this;
    }
    Booking(const Booking&) = delete;
    Booking& operator=(const Booking&) = delete;
    ~Booking() { end(); }

    /// Takes the bytes out of the books now.
    void end() noexcept
    {
        if (memory_ != nullptr) {
            memory_->unbook(std::exchange(bytes_, 0), tag_);
            memory_ = nullptr;
        }
    }

    /// What is booked now.
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

private:
    Memory* memory_ = nullptr;
    std::size_t bytes_ = 0;
    Tag tag_{};
};

}  // namespace wasi
