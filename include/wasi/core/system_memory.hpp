#pragma once
#include <algorithm>
#include <cstddef>

#include "wasi/core/language.hpp"

#if __has_include(<sys/mman.h>) && __has_include(<unistd.h>)
#define WASI_HAS_PAGES 1
#include <sys/mman.h>
#include <unistd.h>
#else
#define WASI_HAS_PAGES 0
#endif

// Under the address sanitizer blocks are looked after by it: see Ledger and Arena.
#if defined(__SANITIZE_ADDRESS__)
#define WASI_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WASI_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(WASI_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#else
#define WASI_ADDRESS_SANITIZER 0
#endif

/// Pages of the system's memory: the one place that calls mmap. All sizes are rounded up to whole pages, nothing
/// throws, and no page costs resident memory before somebody writes to it. Thread safety: every call may come from any
/// thread.
namespace wasi::pages {

/// Whether this system has pages to give. Where it has not, every call below returns nullptr or does nothing.
inline constexpr bool available = WASI_HAS_PAGES == 1;

#if WASI_HAS_PAGES

namespace detail {
/// Not counted against the system's limit before it is written to, where the system can do that.
#ifdef MAP_NORESERVE
inline constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
inline constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#endif

[[nodiscard]] inline void* map(void* at, std::size_t bytes, int protection, int more) noexcept
{
    void* const range = ::mmap(at, bytes, protection, flags | more, -1, 0);
    return range == MAP_FAILED ? nullptr : range;
}
}  // namespace detail

/// Bytes of one page.
[[nodiscard]] inline std::size_t size() noexcept
{
    static const auto bytes = static_cast<std::size_t>(std::max(::sysconf(_SC_PAGESIZE), 4096L));
    return bytes;
}

/// Bytes of memory that the machine has; 0 where it does not tell.
[[nodiscard]] inline std::size_t physical_memory() noexcept
{
#ifdef _SC_PHYS_PAGES
    const long count = ::sysconf(_SC_PHYS_PAGES);
    return count > 0 ? static_cast<std::size_t>(count) * size() : 0;
#else
    return 0;
#endif
}

/// New pages, zero and writable; nullptr when the system refuses.
[[nodiscard]] inline void* take(std::size_t bytes) noexcept
{
    return detail::map(nullptr, bytes, PROT_READ | PROT_WRITE, 0);
}

/// Addresses without pages behind them: touching them is an error until `open`. nullptr when the system refuses.
[[nodiscard]] inline void* reserve(std::size_t bytes) noexcept
{
    return detail::map(nullptr, bytes, PROT_NONE, 0);
}

/// Makes a part of reserved addresses writable; false when the system refuses.
[[nodiscard]] inline bool open(void* begin, std::size_t bytes) noexcept
{
    return bytes == 0 || ::mprotect(begin, bytes, PROT_READ | PROT_WRITE) == 0;
}

/// Gives the pages of a part of reserved addresses back; the addresses stay reserved, without pages behind them. False
/// when the system refuses (nothing has changed then).
inline bool close(void* begin, std::size_t bytes) noexcept
{
    return bytes == 0 || detail::map(begin, bytes, PROT_NONE, MAP_FIXED) != nullptr;
}

/// Gives pages back and keeps their addresses writable: they read as zero and cost nothing until they are written to
/// again. False when the system refuses.
inline bool forget(void* begin, std::size_t bytes) noexcept
{
#if defined(__linux__)
    return bytes == 0 || ::madvise(begin, bytes, MADV_DONTNEED) == 0;
#else
    return bytes == 0 || detail::map(begin, bytes, PROT_READ | PROT_WRITE, MAP_FIXED) != nullptr;
#endif
}

/// Gives addresses from `take` or `reserve` back, with their pages.
inline void give_back(void* begin, std::size_t bytes) noexcept
{
    ::munmap(begin, bytes);
}

#else

[[nodiscard]] inline std::size_t size() noexcept
{
    return 4096;
}
[[nodiscard]] inline std::size_t physical_memory() noexcept
{
    return 0;
}
[[nodiscard]] inline void* take(std::size_t) noexcept
{
    return nullptr;
}
[[nodiscard]] inline void* reserve(std::size_t) noexcept
{
    return nullptr;
}
[[nodiscard]] inline bool open(void*, std::size_t) noexcept
{
    return false;
}
inline bool close(void*, std::size_t) noexcept
{
    return false;
}
inline bool forget(void*, std::size_t) noexcept
{
    return false;
}
inline void give_back(void*, std::size_t) noexcept {}

#endif

/// Tells the address sanitizer, if there is one, that a part of memory is out of bounds from here on.
inline void forbid([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) noexcept
{
#if WASI_ADDRESS_SANITIZER
    ASAN_POISON_MEMORY_REGION(begin, bytes);
#endif
}

/// Tells it that the part is in bounds again.
inline void allow([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) noexcept
{
#if WASI_ADDRESS_SANITIZER
    ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
#endif
}

}  // namespace wasi::pages
