#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <mutex>
#include <new>
#include <utility>

#include <wasi/core/memory.hpp>
#include <wasi/core/offset_allocator.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi_tests {

/// A memory that only the primitives of LockedStorage may touch, as the memory of a device is: whoever else reads or
/// writes an element of it gets SIGSEGV. One region for all objects; what the host may read is of an ordinary memory.
class LockedMemory final : public wasi::Memory {
public:
    [[nodiscard]] void* allocate(std::size_t bytes, wasi::Tag) override
    {
        const std::lock_guard guard(region().mutex);
        const std::size_t offset = region().parts.allocate(bytes);
        if (offset == wasi::OffsetAllocator::none) {
            throw std::bad_alloc();
        }
        return region().base + offset;
    }
    void release(void* block, std::size_t bytes, wasi::Tag) noexcept override
    {
        const std::lock_guard guard(region().mutex);
        region().parts.release(static_cast<std::size_t>(static_cast<std::byte*>(block) - region().base), bytes);
    }
    void rebook(std::size_t, wasi::Tag, wasi::Tag) noexcept override {}
    void count_flops(double) noexcept override {}
    [[nodiscard]] wasi::Memory& host() noexcept override { return wasi::plain_memory(); }
    void read(void* to, const void* block, std::size_t bytes) const override
    {
        const Open open;
        Memory::read(to, block, bytes);
    }
    void write(void* block, const void* from, std::size_t bytes) const override
    {
        const Open open;
        Memory::write(block, from, bytes);
    }

    /// While one of these lives, everybody may touch the region.
    class Open {
    public:
        Open() { change(1); }
        Open(const Open&) = delete;
        Open& operator=(const Open&) = delete;
        ~Open() { change(-1); }

    private:
        static void change(int by)
        {
            const std::lock_guard guard(region().mutex);
            const int before = region().open;
            region().open += by;
            if ((before == 0) != (region().open == 0)) {
                ::mprotect(region().base, size, region().open == 0 ? PROT_NONE : PROT_READ | PROT_WRITE);
            }
        }
    };

private:
    static constexpr std::size_t size = std::size_t{256} << 20;
    struct Region {
        std::byte* base = static_cast<std::byte*>(
            ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        wasi::OffsetAllocator parts{size};
        std::mutex mutex;
        int open = 0;
    };
    [[nodiscard]] static Region& region()
    {
        static Region one;
        return one;
    }
};

/// EigenStorage behind that lock.
struct LockedStorage {
#define WASI_LOCKED(NAME)                                                       \
    template <class... Arguments>                                               \
    static decltype(auto) NAME(Arguments&&... arguments) requires requires      \
    {                                                                           \
        wasi::EigenStorage::NAME(std::forward<Arguments>(arguments)...);        \
    }                                                                           \
    {                                                                           \
        const LockedMemory::Open open;                                          \
        return wasi::EigenStorage::NAME(std::forward<Arguments>(arguments)...); \
    }
    WASI_LOCKED(multiply)
    WASI_LOCKED(orthonormalize)
    WASI_LOCKED(cholesky_orthonormalize)
    WASI_LOCKED(gram)
    WASI_LOCKED(svd)
    WASI_LOCKED(eigh)
    WASI_LOCKED(eigh_leading)
    WASI_LOCKED(solve_spd)
    WASI_LOCKED(cholesky)
    WASI_LOCKED(copy)
    WASI_LOCKED(convert)
    WASI_LOCKED(add_scaled)
    WASI_LOCKED(dot)
    WASI_LOCKED(all_finite)
    WASI_LOCKED(largest)
    WASI_LOCKED(fill)
    WASI_LOCKED(add_constant)
    WASI_LOCKED(fill_normal)
    WASI_LOCKED(add_to_rows)
    WASI_LOCKED(column_sums)
    WASI_LOCKED(multiply_elements)
    WASI_LOCKED(scale_columns)
    WASI_LOCKED(divide_by_root)
    WASI_LOCKED(quick_gelu)
    WASI_LOCKED(quick_gelu_backward)
    WASI_LOCKED(gelu)
    WASI_LOCKED(gelu_backward)
    WASI_LOCKED(relu)
    WASI_LOCKED(relu_backward)
    WASI_LOCKED(softmax)
    WASI_LOCKED(softmax_backward)
    WASI_LOCKED(layer_norm)
    WASI_LOCKED(layer_norm_backward)
    WASI_LOCKED(cross_entropy)
    WASI_LOCKED(pack)
    WASI_LOCKED(unpack)
    WASI_LOCKED(adamw_step)
#undef WASI_LOCKED
};

}  // namespace wasi_tests
