#pragma once
#include <exception>
#include <utility>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace wasi {

/// Number of threads that parallel work started here would use (1 without OpenMP).
[[nodiscard]] inline int thread_count() noexcept
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/// Sets the number of threads for parallel work started by the calling thread. Results do not depend on it.
inline void set_thread_count(int threads)
{
    require<argument_error>(threads >= 1, "set_thread_count: threads must be at least 1, got ", threads);
#ifdef _OPENMP
    omp_set_num_threads(threads);
#endif
}

/// While it lives, libraries called by this thread (Eigen's product above all) find one OpenMP thread: Eigen cuts its
/// products by the number of threads it finds, which changes the rounding. The setting is local to the calling thread.
class SerialScope {
public:
#ifdef _OPENMP
    SerialScope() noexcept : before_(omp_get_max_threads())
    {
        if (before_ != 1) {
            omp_set_num_threads(1);
        }
    }
    ~SerialScope()
    {
        if (before_ != 1) {
            omp_set_num_threads(before_);
        }
    }
#else
    SerialScope() noexcept {}
    ~SerialScope() {}
#endif
    SerialScope(const SerialScope&) = delete;
    SerialScope& operator=(const SerialScope&) = delete;

private:
#ifdef _OPENMP
    int before_;
#endif
};

namespace detail {

inline thread_local Index width_of_thread = 1;

/// Sets the width for this thread while it lives, unless an outer loop has set it.
class ParallelWidthScope {
public:
    explicit ParallelWidthScope(Index count) noexcept : before_(width_of_thread)
    {
        if (before_ == 1 && count > 1) {
            width_of_thread = count;
        }
    }
    ParallelWidthScope(const ParallelWidthScope&) = delete;
    ParallelWidthScope& operator=(const ParallelWidthScope&) = delete;
    ~ParallelWidthScope() { width_of_thread = before_; }

private:
    Index before_;
};

}  // namespace detail

/// How many calls of the outermost parallel_for that runs around the caller there are: so many, but no more than there
/// are threads, may be under way at once. 1 outside.
[[nodiscard]] inline Index parallel_width() noexcept
{
    return detail::width_of_thread;
}

namespace detail {

/// parallel_for with the body behind a pointer: one function for all bodies, so that each body is compiled once and the
/// threads around it not again for each.
inline void parallel_run(Index count, void (*body)(const void*, Index), const void* context)
{
#ifdef _OPENMP
    if (count > 1 && omp_get_max_threads() > 1 && omp_in_parallel() == 0) {
        std::exception_ptr failure;
#pragma omp parallel
        {
            const SerialScope serial;
            const ParallelWidthScope width(count);
#pragma omp for schedule(dynamic, 1)
            for (Index i = 0; i < count; ++i) {
                try {
                    body(context, i);
                } catch (...) {
#pragma omp critical(wasi_parallel_for)
                    if (!failure) {
                        failure = std::current_exception();
                    }
                }
            }
        }
        if (failure) {
            std::rethrow_exception(failure);
        }
        return;
    }
#endif
    const SerialScope serial;
    const ParallelWidthScope width(count);
    for (Index i = 0; i < count; ++i) {
        body(context, i);
    }
}

}  // namespace detail

/// Calls body(i) for i = 0 .. count-1, on several threads where that helps. The caller cuts its work into pieces that
/// depend on shapes alone, each writing memory of its own, so that results are the same bits for any number of threads.
/// Inside another parallel_for it runs serially. The first exception thrown by a body is thrown again to the caller.
template <class Body>
void parallel_for(Index count, const Body& body)
{
    detail::parallel_run(
        count, [](const void* context, Index i) { (*static_cast<const Body*>(context))(i); }, &body);
}

}  // namespace wasi
