#pragma once
#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>

#include "wasi/core/language.hpp"

#if __has_include(<sys/resource.h>)
#include <sys/resource.h>
#endif
#if __has_include(<unistd.h>)
#include <unistd.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace wasi {

/// What the system says this process holds in memory, bytes. anonymous + file = resident where the system tells them
/// apart (Linux); elsewhere they are 0 and `resident` is the largest so far.
struct ProcessMemory {
    std::size_t resident = 0;
    std::size_t anonymous = 0;  ///< heap, stacks, the ledger's pages
    std::size_t file = 0;       ///< pages of mapped files (program, libraries, a model file) and shared memory
    std::size_t peak = 0;       ///< the largest `resident` since the process began or a ProcessPeak last restarted
};

namespace detail {

/// Everything a file of /proc says; empty where there is none. Such files have no size before they are read.
[[nodiscard]] inline std::string proc_text(const char* path)
{
    std::string text;
    if (std::FILE* const file = std::fopen(path, "r")) {
        char part[1024];
        for (std::size_t n = 0; (n = std::fread(part, 1, sizeof part, file)) > 0;) {
            text.append(part, n);
        }
        std::fclose(file);
    }
    return text;
}

/// The number in a line "Name:   1234 kB", as bytes; 0 where there is none.
[[nodiscard]] inline std::size_t proc_bytes(std::string_view text, std::string_view name)
{
    const auto at = text.find(name);
    if (at == std::string_view::npos) {
        return 0;
    }
    const auto digits = text.find_first_of("0123456789", at + name.size());
    std::size_t kibibytes = 0;
    if (digits != std::string_view::npos) {
        std::from_chars(text.data() + digits, text.data() + text.size(), kibibytes);
    }
    return kibibytes * 1024;
}

/// The largest resident memory since the process began, by getrusage; 0 where there is none.
[[nodiscard]] inline std::size_t peak_of_usage()
{
#if __has_include(<sys/resource.h>)
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
    return static_cast<std::size_t>(usage.ru_maxrss);
#else
    return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
#endif
#else
    return 0;
#endif
}

}  // namespace detail

/// What this process holds in memory now. Reads /proc/self/status, about 50 microseconds.
[[nodiscard]] inline ProcessMemory process_memory()
{
    const std::string status = detail::proc_text("/proc/self/status");
    const std::size_t resident = detail::proc_bytes(status, "VmRSS:");
    if (resident == 0) {
        const std::size_t peak = detail::peak_of_usage();
        return {.resident = peak, .peak = peak};
    }
    return {.resident = resident,
            .anonymous = detail::proc_bytes(status, "RssAnon:"),
            .file = detail::proc_bytes(status, "RssFile:") + detail::proc_bytes(status, "RssShmem:"),
            .peak = std::max(resident, detail::proc_bytes(status, "VmHWM:"))};
}

/// Gives memory that operator new keeps for later back to the system, where the C library can do that (glibc:
/// malloc_trim). Blocks that are in use stay. Returns whether anything could be done.
inline bool return_free_memory()
{
#if defined(__GLIBC__)
    return malloc_trim(0) == 1;
#else
    return false;
#endif
}

/// How ProcessPeak finds its peak: exact by the system's own high-water mark (Linux, where /proc/self/clear_refs may be
/// written), by looking every millisecond and at every call of bytes(), or not at all by phase: since the process
/// began.
enum class PeakSource { system, sampled, whole_process };

/// The largest resident memory of this process in a phase: restart() begins one, bytes() is its peak so far. The
/// system's mark is one for the process, so of several objects only the one restarted last is right.
/// Thread safety: one object, one thread.
class ProcessPeak {
public:
    /// Begins the first phase.
    ProcessPeak() { restart(); }
    /// Prefers a source, to look every millisecond although the system could tell, say. What is not there is replaced
    /// by the next one in the order of PeakSource: see source().
    explicit ProcessPeak(PeakSource source) : wanted_(source) { restart(); }
    ProcessPeak(const ProcessPeak&) = delete;
    ProcessPeak& operator=(const ProcessPeak&) = delete;
    ~ProcessPeak() { stop(); }

    /// Begins a phase: its peak is what is resident now.
    void restart()
    {
        stop();
        source_ = PeakSource::whole_process;
        if (wanted_ == PeakSource::system && clear_mark()) {
            source_ = PeakSource::system;
        } else if (wanted_ != PeakSource::whole_process && resident_pages() > 0) {
            source_ = PeakSource::sampled;
            largest_ = resident_pages();
            ending_ = false;
            sampler_ = std::thread([this] { sample(); });
        }
    }

    /// The largest resident memory since restart(), bytes.
    [[nodiscard]] std::size_t bytes() const
    {
        switch (source_) {
            case PeakSource::system:
                return detail::proc_bytes(detail::proc_text("/proc/self/status"), "VmHWM:");
            case PeakSource::sampled:
                look();
                return largest_ * page_size();
            case PeakSource::whole_process:
                break;
        }
        return detail::peak_of_usage();
    }

    [[nodiscard]] PeakSource source() const { return source_; }

private:
    /// Linux: 5 resets the mark VmHWM to what is resident.
    [[nodiscard]] static bool clear_mark()
    {
        std::FILE* const file = std::fopen("/proc/self/clear_refs", "w");
        if (file == nullptr) {
            return false;
        }
        const bool written = std::fputs("5", file) >= 0;
        return std::fclose(file) == 0 && written;
    }

    /// The second number of /proc/self/statm; 0 where there is none.
    [[nodiscard]] static std::size_t resident_pages()
    {
        const std::string text = detail::proc_text("/proc/self/statm");
        const auto space = text.find(' ');
        std::size_t pages = 0;
        if (space != std::string::npos) {
            std::from_chars(text.data() + space + 1, text.data() + text.size(), pages);
        }
        return pages;
    }

    [[nodiscard]] static std::size_t page_size()
    {
#if __has_include(<unistd.h>)
        return static_cast<std::size_t>(std::max(::sysconf(_SC_PAGESIZE), 1L));
#else
        return 4096;
#endif
    }

    /// Keeps the largest of what was ever seen; both the sampling thread and bytes() look.
    void look() const
    {
        const std::size_t pages = resident_pages();
        std::size_t seen = largest_;
        while (pages > seen && !largest_.compare_exchange_weak(seen, pages)) {
        }
    }

    void sample()
    {
        while (!ending_) {
            look();
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

    void stop()
    {
        ending_ = true;
        if (sampler_.joinable()) {
            sampler_.join();
        }
    }

    PeakSource wanted_ = PeakSource::system;
    PeakSource source_ = PeakSource::whole_process;
    mutable std::atomic<std::size_t> largest_ = 0;  // pages
    std::atomic<bool> ending_ = false;
    std::thread sampler_;
};

}  // namespace wasi
