#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <ostream>
#include <streambuf>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/io/stale_temporaries.hpp"

namespace wasi::io {

namespace detail {

/// The text of an errno value, as in "No space left on device".
[[nodiscard]] inline std::string errno_text(int number)
{
    return std::generic_category().message(number);
}

/// The system calls by which a file comes to be: those of the system, or what a test puts in their place.
struct FileCalls {
    ::ssize_t (*write)(int descriptor, const void* data, std::size_t size) = ::write;
    int (*fsync)(int descriptor) = ::fsync;
    int (*rename)(const char* from, const char* to) = ::rename;
};

/// A write-only stream buffer on a file descriptor that remembers the first errno: std::ofstream would lose it.
class DescriptorBuffer : public std::streambuf {
public:
    explicit DescriptorBuffer(int descriptor, const FileCalls& calls = {})
        : descriptor_(descriptor), calls_(calls), buffer_(std::size_t{1} << 16)
    {
        setp(buffer_.data(), buffer_.data() + buffer_.size());
    }

    /// The errno of the first write that failed, 0 if none did.
    [[nodiscard]] int error_number() const noexcept { return error_number_; }

protected:
    int_type overflow(int_type next) override
    {
        if (sync() != 0) {
            return traits_type::eof();
        }
        if (!traits_type::eq_int_type(next, traits_type::eof())) {
            sputc(traits_type::to_char_type(next));
        }
        return traits_type::not_eof(next);
    }

    std::streamsize xsputn(const char* data, std::streamsize size) override
    {
        if (size < epptr() - pptr()) {
            return std::streambuf::xsputn(data, size);
        }
        // Large blocks (tensors) go straight to the file, without a second copy.
        return sync() == 0 && write_all(data, static_cast<std::size_t>(size)) ? size : 0;
    }

    int sync() override
    {
        const bool written = write_all(pbase(), static_cast<std::size_t>(pptr() - pbase()));
        setp(buffer_.data(), buffer_.data() + buffer_.size());
        return written ? 0 : -1;
    }

private:
    // After a failure nothing more is written: what comes later would land in the wrong place.
    bool write_all(const char* data, std::size_t size)
    {
        while (size > 0 && error_number_ == 0) {
            const ::ssize_t written = calls_.write(descriptor_, data, size);
            if (written >= 0) {  // it may take less than all: Linux writes at most 2 GiB at a time
                data += written;
                size -= static_cast<std::size_t>(written);
            } else if (errno != EINTR) {
                error_number_ = errno;
            }
        }
        return error_number_ == 0;
    }

    int descriptor_;
    FileCalls calls_;
    int error_number_ = 0;
    std::vector<char> buffer_;
};

/// A new file beside `target` under a name nobody else has, locked as long as its writer lives. Its destructor closes
/// and removes it unless `rename_to_target` was reached.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::filesystem::path& target, const FileCalls& calls = {})
        : target_(target), calls_(calls)
    {
        const std::filesystem::path folder =
            target.has_parent_path() ? target.parent_path() : std::filesystem::path(".");
        do {
            // The name does not contain the target's, which may already be as long as the file system allows. A name
            // that is taken was left by a killed process that had the same id.
            path_ = folder / temporary_name();
            descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        } while (descriptor_ < 0 ? errno == EEXIST || errno == EINTR : !lock());
        if (descriptor_ < 0) {
            const int number = errno;
            throw io_error(
                message(target.string(), ": cannot create a file in ", folder.string(), ": ", errno_text(number)));
        }
    }

    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    ~TemporaryFile()
    {
        if (!renamed_) {
            ::unlink(path_.c_str());
        }
        close_all();
    }

    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

    /// Brings the bytes to the disk and gives the file its final name. Order matters: a rename that reaches the disk
    /// before the bytes would leave an empty file after a power cut. The lock is held until the name is final: between
    /// the two another process would take the file for one whose writer is gone.
    void rename_to_target()
    {
        keep_permissions();
        check(calls_.fsync(descriptor_), "cannot flush to disk");
        lock_ = ::fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
        if (lock_ >= 0) {  // else no descriptor is left, and this one stays open for its lock
            const int closed = ::close(descriptor_);
            descriptor_ = -1;
            check(closed, "cannot close");
        }
        check(calls_.rename(path_.c_str(), target_.c_str()), "cannot rename into place");
        renamed_ = true;
        close_all();
        flush_folder();
    }

private:
    // False, and the file closed, when somebody who swept the folder was faster than the lock and removed it. A file
    // system without locks leaves the file unlocked, and whoever sweeps there cannot lock it either.
    bool lock()
    {
        while (::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
        }
        struct ::stat status {};
        if (::fstat(descriptor_, &status) == 0 && status.st_nlink == 0) {
            close_all();
            return false;
        }
        return true;
    }

    void close_all() noexcept
    {
        for (int* descriptor : {&descriptor_, &lock_}) {
            if (*descriptor >= 0) {
                ::close(*descriptor);
                *descriptor = -1;
            }
        }
    }

    void check(int status, std::string_view what) const
    {
        if (status != 0) {
            const int number = errno;
            throw io_error(message(target_.string(), ": ", what, ": ", errno_text(number)));
        }
    }

    // A file that its owner made private stays private when it is written again.
    void keep_permissions() const
    {
        struct ::stat status {};
        if (::stat(target_.c_str(), &status) == 0) {
            check(::fchmod(descriptor_, status.st_mode & 0777), "cannot set permissions");
        }
    }

    // The file is complete and in place by now; a folder that cannot be flushed is no reason to report a failure.
    void flush_folder() const noexcept
    {
        const int folder = ::open(path_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder >= 0) {
            calls_.fsync(folder);
            ::close(folder);
        }
    }

    std::filesystem::path target_;
    std::filesystem::path path_;
    FileCalls calls_;
    int descriptor_ = -1;
    int lock_ = -1;  // the same open file, so that its lock outlives `descriptor_`
    bool renamed_ = false;
};

/// Where the rename has to go: symbolic links are followed, and what is not a regular file (a folder, a device) is
/// refused, since a rename would replace /dev/null itself.
[[nodiscard]] inline std::filesystem::path rename_target(const std::filesystem::path& path)
{
    namespace fs = std::filesystem;
    require<io_error>(path.has_filename(), '\'', path.string(), "': names no file to write");
    std::error_code failure;
    const fs::file_type type = fs::status(path, failure).type();
    const bool is_link = fs::is_symlink(fs::symlink_status(path, failure));
    if (type == fs::file_type::not_found) {
        require<io_error>(!is_link, path.string(), ": is a symbolic link to nothing");
        return path;
    }
    if (type == fs::file_type::none) {
        return path;  // cannot be looked at; creating the temporary file will say why
    }
    require<io_error>(type == fs::file_type::regular, path.string(), ": exists and is not a regular file");
    if (!is_link) {
        return path;
    }
    fs::path target = fs::canonical(path, failure);
    require<io_error>(!failure, path.string(), ": cannot follow the symbolic link: ", failure.message());
    return target;
}

/// write_file_atomically on these system calls.
inline void write_file(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write,
                       const FileCalls& calls)
{
    const std::filesystem::path target = rename_target(path);
    remove_stale_temporaries(target.parent_path());
    TemporaryFile file(target, calls);
    DescriptorBuffer buffer(file.descriptor(), calls);
    std::ostream out(&buffer);
    write(out);
    out.flush();
    require<io_error>(buffer.error_number() == 0, path.string(), ": cannot write: ", errno_text(buffer.error_number()));
    require<io_error>(out.good(), path.string(), ": the stream was left in a failed state, nothing is kept");
    file.rename_to_target();
}

}  // namespace detail

/// Writes a file that appears whole or not at all: `write` fills a temporary file beside `path`, which is flushed to
/// disk and then renamed. If anything fails, also when `write` throws, the temporary file is removed and what was at
/// `path` before stays untouched. Temporary files in that folder whose writers were killed are removed first. Existing
/// permissions are kept and symbolic links followed. POSIX only. Safe from
/// several threads, also for one path: the last wins. Throws io_error naming the path and the system's reason, and
/// whatever `write` throws.
inline void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write)
{
    detail::write_file(path, write, {});
}

/// The same for a text or bytes that are already there (reports, tables). Throws io_error naming the path and the
/// system's reason.
inline void write_file_atomically(const std::filesystem::path& path, std::string_view text)
{
    write_file_atomically(
        path, [text](std::ostream& out) { out.write(text.data(), static_cast<std::streamsize>(text.size())); });
}

}  // namespace wasi::io
