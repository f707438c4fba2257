#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "wasi/core/error.hpp"

/// Temporary files of atomic_file.hpp: their names, and what to do with one whose writer was killed. A writer holds a
/// lock on its file, which the system takes away with the process: a file that can be locked has no writer.
namespace wasi::io {

namespace detail {

inline constexpr std::string_view temporary_prefix = ".wasi-save-";
inline constexpr std::string_view temporary_suffix = ".tmp";

/// A name that no other call of this or another living process on this machine is given.
[[nodiscard]] inline std::string temporary_name()
{
    static std::atomic<unsigned> next_number{0};
    return message(temporary_prefix, ::getpid(), '-', next_number++, temporary_suffix);
}

/// Whether this is a name as temporary_name() makes them: the prefix, two numbers, the suffix.
[[nodiscard]] inline bool is_temporary_name(std::string_view name)
{
    if (!name.starts_with(temporary_prefix) || !name.ends_with(temporary_suffix) ||
        name.size() < temporary_prefix.size() + temporary_suffix.size()) {
        return false;
    }
    name.remove_prefix(temporary_prefix.size());
    name.remove_suffix(temporary_suffix.size());
    const auto digits = [](std::string_view text) {
        return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    };
    const std::size_t dash = name.find('-');
    return dash != std::string_view::npos && digits(name.substr(0, dash)) && digits(name.substr(dash + 1));
}

/// Removes a temporary file if nobody holds its lock; whether it did.
[[nodiscard]] inline bool remove_if_stale(const std::filesystem::path& path)
{
    // Not blocked by a pipe of that name, not led elsewhere by a link. Some file systems lock what is open for writing
    // only, and some files may only be read.
    constexpr int how = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int descriptor = ::open(path.c_str(), O_RDWR | how);
    if (descriptor < 0) {
        descriptor = ::open(path.c_str(), O_RDONLY | how);
    }
    if (descriptor < 0) {
        return false;
    }
    bool removed = false;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
        // Its writer may have finished in between: then the open file has another name by now.
        struct ::stat open_file {};
        struct ::stat named {};
        removed = ::fstat(descriptor, &open_file) == 0 && S_ISREG(open_file.st_mode) &&
                  ::lstat(path.c_str(), &named) == 0 && named.st_ino == open_file.st_ino &&
                  named.st_dev == open_file.st_dev && ::unlink(path.c_str()) == 0;
    }
    ::close(descriptor);
    return removed;
}

}  // namespace detail

/// Removes what killed writers left in a folder ("" is the present one): temporary files of write_file_atomically that
/// nobody is writing any more. Returns how many. A file that is being written stays, whichever process writes it; so
/// does what cannot be read or removed, and everything on a file system without locks. Where locks are not seen by
/// other machines (NFS mounted with local locks), do not write from several machines to one folder. Throws nothing but
/// std::bad_alloc.
inline std::size_t remove_stale_temporaries(const std::filesystem::path& folder)
{
    namespace fs = std::filesystem;
    std::vector<fs::path> found;
    std::error_code failure;
    fs::directory_iterator entry(folder.empty() ? fs::path(".") : folder, failure);
    while (!failure && entry != fs::directory_iterator()) {
        if (detail::is_temporary_name(entry->path().filename().native())) {
            found.push_back(entry->path());
        }
        entry.increment(failure);
    }
    return static_cast<std::size_t>(std::count_if(found.begin(), found.end(), detail::remove_if_stale));
}

}  // namespace wasi::io
