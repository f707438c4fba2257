#pragma once
#include <cstddef>
#include <new>

#include "wasi/core/system_memory.hpp"

namespace wasi {

/// Blocks that do not come from an arena, aligned to `alignment`: from `smallest_paged` bytes on as pages of their own,
/// which leave the process when the block is released and cost nothing before they are written to; smaller ones by
/// operator new. What a block is follows from its size alone. Under the address sanitizer all of them come by operator
/// new, so that it sees their ends. Thread safety: every call may come from any thread.
struct OutsideBlocks {
    static constexpr std::size_t alignment = 64;
    /// From how many bytes on a block has pages of its own.
    static constexpr std::size_t smallest_paged = std::size_t{128} << 10;

    /// Whether a block of this size has pages of its own.
    [[nodiscard]] static constexpr bool is_paged(std::size_t bytes) noexcept
    {
        return pages::available && WASI_ADDRESS_SANITIZER == 0 && bytes >= smallest_paged;
    }

    /// Throws std::bad_alloc.
    [[nodiscard]] static void* allocate(std::size_t bytes)
    {
        if (!is_paged(bytes)) {
            return ::operator new (bytes == 0 ? 1 : bytes, std::align_val_t{alignment});
        }
        void* const block = pages::take(bytes);
        if (block == nullptr) {
            throw std::bad_alloc();
        }
        return block;
    }

    /// `bytes` as it was for allocate.
    static void release(void* block, std::size_t bytes) noexcept
    {
        if (is_paged(bytes)) {
            pages::give_back(block, bytes);
        } else {
            ::operator delete (block, std::align_val_t{alignment});
        }
    }
};

}  // namespace wasi
