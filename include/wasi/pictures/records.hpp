#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <zlib.h>

#include "wasi/pictures/folder.hpp"

namespace wasi::pictures {

namespace detail {

/// Bytes that a compressed file may unpack to, from the first ones that it unpacks to.
using MostBytes = std::size_t (*)(std::span<const std::uint8_t> start);

/// Records of one size in a file, read when they are asked for; of a compressed file held in memory.
class RecordFile {
public:
    /// Throws io_error.
    RecordFile(const std::filesystem::path& path, MostBytes most) : file_(std::make_unique<OpenFile>(path))
    {
        std::array<std::uint8_t, 2> magic{};
        if (file_->size() >= magic.size()) {
            file_->read(magic.data(), magic.size(), 0);
        }
        if (magic[0] == 0x1f && magic[1] == 0x8b) {
            unpack(path, most);
        }
    }

    [[nodiscard]] std::size_t size() const { return packed_ ? held_.size() : file_->size(); }
    [[nodiscard]] const std::string& name() const { return file_->name(); }
    [[nodiscard]] std::size_t bytes() const { return held_.capacity(); }
    void read(std::uint8_t* to, std::size_t count, std::size_t at) const
    {
        if (!packed_) {
            file_->read(to, count, at);
            return;
        }
        require<io_error>(at <= held_.size() && count <= held_.size() - at, name(), ": ends before byte ", at + count);
        std::memcpy(to, held_.data() + at, count);
    }

private:
    void unpack(const std::filesystem::path& path, MostBytes limit)
    {
        packed_ = true;
        const gzFile file = ::gzopen(path.c_str(), "rb");
        require<io_error>(file != nullptr, name(), ": cannot be opened");
        const std::unique_ptr<gzFile_s, int (*)(gzFile)> closed(file, ::gzclose);
        constexpr std::size_t piece = std::size_t{1} << 20;
        std::size_t most = piece;
        while (true) {
            const std::size_t before = held_.size();
            held_.resize(before + piece);
            const int got = ::gzread(file, held_.data() + before, static_cast<unsigned int>(piece));
            int code = Z_OK;
            const char* const why = ::gzerror(file, &code);
            require<io_error>(got >= 0 && code == Z_OK, name(), ": cannot be unpacked: ", why);
            held_.resize(before + static_cast<std::size_t>(got));
            most = before == 0 ? limit(held_) : most;
            require<io_error>(held_.size() <= most, name(), ": unpacks to more than the ", most,
                              " bytes that it may have");
            if (got == 0) {
                break;
            }
        }
        held_.shrink_to_fit();
    }

    std::unique_ptr<OpenFile> file_;
    bool packed_ = false;
    std::vector<std::uint8_t> held_;
};

/// Raw pictures of one size: planes of bytes, one (grey) or three, in records of some files.
class RecordSource final : public Source {
public:
    struct Part {
        RecordFile file;
        std::size_t first = 0;   ///< where the first picture's pixels are
        std::size_t stride = 0;  ///< from one to the next
        Index count = 0;
    };

    RecordSource(Size size, Index planes) : size_(size), planes_(planes) {}
    void add(Part part)
    {
        count_ += part.count;
        parts_.push_back(std::move(part));
    }

    [[nodiscard]] Index count() const override { return count_; }
    [[nodiscard]] std::string name(Index number) const override
    {
        const auto [part, at] = find(number);
        return message(part->file.name(), ", picture ", at);
    }
    [[nodiscard]] std::vector<std::uint8_t> read(Index number) const override
    {
        const auto [part, at] = find(number);
        std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size_.width * size_.height * planes_));
        part->file.read(bytes.data(), bytes.size(), part->first + static_cast<std::size_t>(at) * part->stride);
        return bytes;
    }
    [[nodiscard]] Picture decode(Index, std::span<const std::uint8_t> bytes, int) const override
    {
        Picture picture(size_);
        const auto plane = static_cast<std::size_t>(size_.width * size_.height);
        std::uint8_t* to = picture.row(0);
        for (std::size_t i = 0; i < plane; ++i) {
            for (std::size_t c = 0; c < 3; ++c) {
                *to++ = bytes[i + (planes_ == 3 ? c * plane : 0)];
            }
        }
        return picture;
    }
    [[nodiscard]] Header header(Index, std::span<const std::uint8_t>) const override
    {
        return {size_, 3 * static_cast<std::size_t>(size_.width * size_.height)};
    }
    [[nodiscard]] std::size_t bytes() const override
    {
        std::size_t sum = 0;
        for (const Part& part : parts_) {
            sum += part.file.bytes();
        }
        return sum;
    }

private:
    [[nodiscard]] std::pair<const Part*, Index> find(Index number) const
    {
        auto part = parts_.begin();
        while (number >= part->count) {
            number -= part->count;
            ++part;
        }
        return {&*part, number};
    }

    Size size_;
    Index planes_;
    Index count_ = 0;
    std::vector<Part> parts_;
};

/// The lines of a text, at most so many; numbers where there is no such file. Throws io_error where it cannot be read.
[[nodiscard]] inline std::vector<std::string> class_names(const std::filesystem::path& path, Index count)
{
    std::vector<std::string> names;
    std::error_code failure;
    if (std::filesystem::symlink_status(path, failure).type() != std::filesystem::file_type::not_found) {
        constexpr std::size_t most = std::size_t{1} << 20;
        const auto bytes = read_file(path, most);
        std::string line;
        for (std::size_t i = 0; i <= bytes.size() && std::ssize(names) < count; ++i) {
            if (i < bytes.size() && bytes[i] != '\n') {
                line += static_cast<char>(bytes[i]);
                continue;
            }
            if (!line.empty() && line.back() == '\r') {
                line.pop_back();
            }
            if (!line.empty()) {
                names.push_back(std::exchange(line, {}));
            }
        }
    }
    while (std::ssize(names) < count) {
        names.push_back(message(names.size()));
    }
    return names;
}

/// Which of CIFAR's two.
struct CifarKind {
    Index classes;
    std::size_t labels;  ///< bytes before the pixels; the last is the class
    std::vector<std::string> training;
    std::vector<std::string> test;
    const char* names;
};

[[nodiscard]] inline Examples read_cifar_files(const std::filesystem::path& folder, const CifarKind& kind,
                                               const std::vector<std::string>& files)
{
    constexpr Index side = 32;
    constexpr std::size_t pixels = 3 * side * side;
    const std::size_t stride = kind.labels + pixels;
    const auto source = std::make_shared<RecordSource>(Size{side, side}, 3);
    Examples result{source, {}, {}, class_names(folder / kind.names, kind.classes)};
    for (const std::string& name : files) {
        RecordFile file(folder / name, [](std::span<const std::uint8_t>) { return std::size_t{1} << 30; });
        require<io_error>(file.size() > 0 && file.size() % stride == 0, file.name(), ": has ", file.size(),
                          " bytes, no whole number of records of ", stride);
        const auto count = static_cast<Index>(file.size() / stride);
        for (Index i = 0; i < count; ++i) {
            std::uint8_t label = 0;
            file.read(&label, 1, static_cast<std::size_t>(i) * stride + kind.labels - 1);
            require<io_error>(label < kind.classes, file.name(), ", picture ", i, ": the class is ", int{label},
                              ", of ", kind.classes);
            result.which.push_back(source->count() + i);
            result.labels.push_back(label);
        }
        source->add({std::move(file), kind.labels, stride, count});
    }
    return result;
}

}  // namespace detail

/// CIFAR-10 (`classes` 10) or CIFAR-100 (100, the fine ones) in their binary form: records of a label (two of
/// CIFAR-100) and 32 x 32 red, green, blue planes. Pixels stay in the files. The folder may be the one around
/// cifar-10-batches-bin or cifar-100-binary. Throws io_error that names the file.
[[nodiscard]] inline PictureFolder read_cifar(std::filesystem::path folder, Index classes)
{
    require<argument_error>(classes == 10 || classes == 100, "read_cifar: ", classes, " classes; there are 10 or 100");
    detail::CifarKind kind{100, 2, {"train.bin"}, {"test.bin"}, "fine_label_names.txt"};
    if (classes == 10) {
        kind = {10, 1, {}, {"test_batch.bin"}, "batches.meta.txt"};
        for (int i = 1; i <= 5; ++i) {
            kind.training.push_back("data_batch_" + std::to_string(i) + ".bin");
        }
    }
    const char* usual = classes == 10 ? "cifar-10-batches-bin" : "cifar-100-binary";
    std::error_code failure;
    if (std::filesystem::is_directory(folder / usual, failure)) {
        folder /= usual;
    }
    return {detail::read_cifar_files(folder, kind, kind.training), detail::read_cifar_files(folder, kind, kind.test)};
}

}  // namespace wasi::pictures
