#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
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

namespace wasi::io {

namespace detail {

/// The text of an errno value, as in "No space left on device".
[[nodiscard]] inline std::string errno_text(int number)
{
    return std::generic_category().message(number);
}

/// A write-only stream buffer on a file descriptor that remembers the first errno: std::ofstream would lose it.
class DescriptorBuffer : public std::streambuf {
public:
    explicit DescriptorBuffer(int descriptor) : descriptor_(descriptor), buffer_(std::size_t{1} << 16)
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
            const ::ssize_t written = ::write(descriptor_, data, size);
            if (written >= 0) {
                data += written;
                size -= static_cast<std::size_t>(written);
            } else if (errno != EINTR) {
                error_number_ = errno;
            }
        }
        return error_number_ == 0;
    }

    int descriptor_;
    int error_number_ = 0;
    std::vector<char> buffer_;
};

/// A new file beside `target` under a name nobody else has. Its destructor closes and removes it unless
/// `rename_to_target` was reached.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::filesystem::path& target) : target_(target)
    {
        static std::atomic<unsigned> next_number{0};
        const std::filesystem::path folder =
            target.has_parent_path() ? target.parent_path() : std::filesystem::path(".");
        do {
            // The name does not contain the target's, which may already be as long as the file system allows. A name
            // that is taken was left by a killed process that had the same id.
            path_ = folder / message(".wasi-", ::getpid(), '-', next_number++, ".tmp");
            descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        } while (descriptor_ < 0 && (errno == EEXIST || errno == EINTR));
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
        if (descriptor_ >= 0) {
            ::close(descriptor_);
        }
        if (!renamed_) {
            ::unlink(path_.c_str());
        }
    }

    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

    /// Brings the bytes to the disk and gives the file its final name. Order matters: a rename that reaches the disk
    /// before the bytes would leave an empty file after a power cut.
    void rename_to_target()
    {
        keep_permissions();
        check(::fsync(descriptor_), "cannot flush to disk");
        const int closed = ::close(descriptor_);
        descriptor_ = -1;
        check(closed, "cannot close");
        check(::rename(path_.c_str(), target_.c_str()), "cannot rename into place");
        renamed_ = true;
        flush_folder();
    }

private:
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
            ::fsync(folder);
            ::close(folder);
        }
    }

    std::filesystem::path target_;
    std::filesystem::path path_;
    int descriptor_ = -1;
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

}  // namespace detail

/// Writes a file that appears whole or not at all: `write` fills a temporary file beside `path`, which is flushed to
/// disk and then renamed. If anything fails, also when `write` throws, the temporary file is removed and what was at
/// `path` before stays untouched. Existing permissions are kept and symbolic links followed. POSIX only. Safe from
/// several threads, also for one path: the last wins. Throws io_error naming the path and the system's reason, and
/// whatever `write` throws.
inline void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write)
{
    detail::TemporaryFile file(detail::rename_target(path));
    detail::DescriptorBuffer buffer(file.descriptor());
    std::ostream out(&buffer);
    write(out);
    out.flush();
    require<io_error>(buffer.error_number() == 0, path.string(),
                      ": cannot write: ", detail::errno_text(buffer.error_number()));
    require<io_error>(out.good(), path.string(), ": the stream was left in a failed state, nothing is kept");
    file.rename_to_target();
}

/// The same for a text or bytes that are already there (reports, tables). Throws io_error naming the path and the
/// system's reason.
inline void write_file_atomically(const std::filesystem::path& path, std::string_view text)
{
    write_file_atomically(
        path, [text](std::ostream& out) { out.write(text.data(), static_cast<std::streamsize>(text.size())); });
}

}  // namespace wasi::io
