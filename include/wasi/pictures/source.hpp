#pragma once
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wasi/pictures/decode.hpp"

namespace wasi::pictures {

/// Where pictures come from, by number. Nothing of them need be held in memory. Thread safety: const calls may come
/// from any number of threads.
class Source {
public:
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;

    [[nodiscard]] virtual Index count() const = 0;
    /// For messages.
    [[nodiscard]] virtual std::string name(Index number) const = 0;
    /// As stored. Throws io_error.
    [[nodiscard]] virtual std::vector<std::uint8_t> read(Index number) const = 0;
    /// The picture that those bytes are. `eighths` as in DecodeOptions. Throws io_error.
    [[nodiscard]] virtual Picture decode(Index number, std::span<const std::uint8_t> bytes, int eighths) const = 0;
    /// What those bytes say of it. Throws io_error.
    [[nodiscard]] virtual Header header(Index number, std::span<const std::uint8_t> bytes) const = 0;
    /// Held in memory for as long as the source lives.
    [[nodiscard]] virtual std::size_t bytes() const = 0;
};

/// Pictures of a source that belong together: number `which[i]` of it has class `labels[i]`, of which `classes` has the
/// names.
struct Examples {
    std::shared_ptr<const Source> source;
    std::vector<Index> which;
    std::vector<std::int64_t> labels;
    std::vector<std::string> classes;

    /// Those of the given numbers, in that order. Not checked.
    [[nodiscard]] Examples part(std::span<const Index> numbers) const
    {
        Examples result{source, {}, {}, classes};
        for (const Index number : numbers) {
            result.which.push_back(which[static_cast<std::size_t>(number)]);
            result.labels.push_back(labels[static_cast<std::size_t>(number)]);
        }
        return result;
    }

    /// Those of classes first to last, which keep their numbers. Throws argument_error for classes that there are not,
    /// and where no example is of them.
    [[nodiscard]] Examples of_classes(std::int64_t first, std::int64_t last) const
    {
        require<argument_error>(first >= 0 && first <= last && last < std::ssize(classes), "classes ", first, " to ",
                                last, ": there are classes 0 to ", std::ssize(classes) - 1);
        std::vector<Index> kept;
        for (std::size_t i = 0; i < labels.size(); ++i) {
            if (labels[i] >= first && labels[i] <= last) {
                kept.push_back(static_cast<Index>(i));
            }
        }
        require<argument_error>(!kept.empty(), "classes ", first, " to ", last, ": there is no picture of them");
        Examples result = part(kept);
        if (std::ssize(classes) > last + 1) {
            result.classes.resize(static_cast<std::size_t>(last + 1));
        }
        return result;
    }
};

namespace detail {

/// An open file, for reads at any place from any thread.
class OpenFile {
public:
    /// Throws io_error with the system's reason; also of what is no regular file.
    explicit OpenFile(const std::filesystem::path& path) : name_(shown_name(path))
    {
        file_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);  // of a pipe, open would wait
        if (file_ < 0) {
            refuse(": cannot be opened: ");
        }
        struct stat status {};
        const bool known = ::fstat(file_, &status) == 0;
        if (!known || !S_ISREG(status.st_mode)) {
            ::close(file_);
            throw io_error(name_ + ": is not a regular file");
        }
        size_ = static_cast<std::size_t>(status.st_size);
    }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    ~OpenFile() { ::close(file_); }

    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] const std::string& name() const { return name_; }

    /// `count` bytes from `at` on. Throws io_error where they are not there.
    void read(std::uint8_t* to, std::size_t count, std::size_t at) const
    {
        while (count > 0) {
            const ssize_t got = ::pread(file_, to, count, static_cast<off_t>(at));
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0) {
                refuse(": cannot be read: ");
            }
            require<io_error>(got > 0, name_, ": ends before byte ", at + count);
            to += got;
            at += static_cast<std::size_t>(got);
            count -= static_cast<std::size_t>(got);
        }
    }

private:
    /// With the reason that the system gave last.
    [[noreturn]] void refuse(const char* what) const
    {
        const int why = errno;
        throw io_error(message(name_, what, std::generic_category().message(why)));
    }

    int file_ = -1;
    std::size_t size_ = 0;
    std::string name_;
};

}  // namespace detail

/// A file's bytes. Throws io_error that names it, also where it has more than `most`.
[[nodiscard]] inline std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::size_t most)
{
    const detail::OpenFile file(path);
    require<io_error>(file.size() <= most, file.name(), ": has ", file.size(), " bytes, more than the ", most,
                      " that are allowed");
    std::vector<std::uint8_t> bytes(file.size());
    file.read(bytes.data(), bytes.size(), 0);
    return bytes;
}

/// JPEG and PNG files below one folder. Their names stand one after the other in one text.
class FileSource final : public Source {
public:
    explicit FileSource(std::filesystem::path folder, DecodeLimits limits = {})
        : folder_(std::move(folder)), limits_(limits)
    {
    }

    /// A name below the folder, or a path of its own if that is empty.
    void add(std::string_view name)
    {
        names_ += name;
        ends_.push_back(names_.size());
    }
    [[nodiscard]] std::filesystem::path path(Index number) const
    {
        const auto at = static_cast<std::size_t>(number);
        const std::size_t begin = at == 0 ? 0 : ends_[at - 1];
        return folder_ / std::filesystem::path(names_.substr(begin, ends_[at] - begin));
    }

    [[nodiscard]] Index count() const override { return static_cast<Index>(ends_.size()); }
    [[nodiscard]] std::string name(Index number) const override { return shown_name(path(number)); }
    [[nodiscard]] std::vector<std::uint8_t> read(Index number) const override
    {
        return read_file(path(number), limits_.most_file_bytes);
    }
    [[nodiscard]] Picture decode(Index number, std::span<const std::uint8_t> bytes, int eighths) const override
    {
        return pictures::decode(bytes, name(number), {limits_, eighths});
    }
    [[nodiscard]] Header header(Index number, std::span<const std::uint8_t> bytes) const override
    {
        return read_header(bytes, name(number));
    }
    [[nodiscard]] std::size_t bytes() const override
    {
        return names_.capacity() + ends_.capacity() * sizeof(std::size_t);
    }

private:
    std::filesystem::path folder_;
    DecodeLimits limits_;
    std::string names_;
    std::vector<std::size_t> ends_;
};

}  // namespace wasi::pictures
