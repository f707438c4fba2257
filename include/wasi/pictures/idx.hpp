#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "wasi/pictures/records.hpp"

namespace wasi::pictures {

namespace detail {

/// The extents that an IDX file of bytes says it has: magic 0x000008RR, R of them in 32 bits, the highest byte first.
/// Throws io_error unless there are `order` and they fit the file.
[[nodiscard]] inline std::vector<Index> idx_extents(const RecordFile& file, std::size_t order)
{
    std::vector<std::uint8_t> header(4 + 4 * order);
    require<io_error>(file.size() >= header.size(), file.name(), ": has ", file.size(), " bytes, an IDX header has ",
                      header.size());
    file.read(header.data(), header.size(), 0);
    require<io_error>(header[0] == 0 && header[1] == 0 && header[2] == 8 && header[3] == order, file.name(),
                      ": is no IDX file of bytes with ", order, " extents");
    std::vector<Index> extents;
    std::size_t left = file.size() - header.size();
    for (std::size_t i = 0; i < order; ++i) {
        Index extent = 0;
        for (std::size_t byte = 0; byte < 4; ++byte) {
            extent = extent << 8 | header[4 + 4 * i + byte];
        }
        extents.push_back(extent);
        // Divides as it goes: the product need not fit into any type.
        require<io_error>(extent >= 1 && left % static_cast<std::size_t>(extent) == 0, file.name(),
                          ": says that it is ", shape_text(extents), "..., which its ", file.size(), " bytes are not");
        left /= static_cast<std::size_t>(extent);
    }
    require<io_error>(left == 1, file.name(), ": says that it is ", shape_text(extents), ", which its ", file.size(),
                      " bytes are not");
    return extents;
}

/// Bytes of an IDX file of bytes that begins so: its header and what its extents say, at most 1 GiB.
[[nodiscard]] inline std::size_t idx_bytes(std::span<const std::uint8_t> start)
{
    constexpr std::size_t most = std::size_t{1} << 30;
    const std::size_t order = start.size() >= 4 ? start[3] : 0;
    const std::size_t header = 4 + 4 * order;
    if (start.size() < header) {
        return most;  // too short for its header, which idx_extents says
    }
    std::size_t product = 1;
    for (std::size_t i = 0; i < order; ++i) {
        std::size_t extent = 0;
        for (std::size_t byte = 0; byte < 4; ++byte) {
            extent = extent << 8U | start[4 + 4 * i + byte];
        }
        product = extent == 0 ? 0 : product > most / extent ? most : product * extent;
    }
    return std::min(most, header + product);
}

/// PART-images-idx3-ubyte or with a point before idx3, with or without .gz.
[[nodiscard]] inline std::filesystem::path idx_path(const std::filesystem::path& folder, const std::string& begin,
                                                    const std::string& end)
{
    for (const char* between : {"-", "."}) {
        for (const char* packed : {"", ".gz"}) {
            std::error_code failure;
            const std::string name = message(begin, between, end, packed);
            if (auto path = folder / name; std::filesystem::exists(path, failure)) {
                return path;
            }
        }
    }
    throw io_error(message(shown_name(folder / (begin + "-" + end)), ": is not there, packed (.gz) or not"));
}

[[nodiscard]] inline Examples read_idx_part(const std::filesystem::path& folder, const std::string& part)
{
    RecordFile images(idx_path(folder, part + "-images", "idx3-ubyte"), idx_bytes);
    const RecordFile labels(idx_path(folder, part + "-labels", "idx1-ubyte"), idx_bytes);
    const auto extents = idx_extents(images, 3);
    const auto count = idx_extents(labels, 1).front();
    require<io_error>(count == extents[0], labels.name(), ": has ", count, " labels for ", extents[0], " pictures");
    const Size size{extents[2], extents[1]};
    const auto pixels = static_cast<std::size_t>(size.width * size.height);  // they are there
    check_limits(size, 4 * pixels, DecodeLimits{}, images.name());
    const auto source = std::make_shared<RecordSource>(size, 1);
    std::vector<std::uint8_t> classes(static_cast<std::size_t>(count));
    labels.read(classes.data(), classes.size(), 8);
    Examples result{source, {}, {}, {}};
    for (Index i = 0; i < count; ++i) {
        result.which.push_back(i);
        result.labels.push_back(classes[static_cast<std::size_t>(i)]);
    }
    source->add({std::move(images), 16, static_cast<std::size_t>(extents[1] * extents[2]), extents[0]});
    return result;
}

}  // namespace detail

/// A folder of four IDX files, as MNIST and Fashion-MNIST have them: train-images-idx3-ubyte, train-labels-idx1-ubyte
/// and the same with t10k; each may be packed (.gz) and is then held in memory. Grey becomes RGB. Classes have numbers
/// for names. Throws io_error that names the file.
[[nodiscard]] inline PictureFolder read_idx(const std::filesystem::path& folder)
{
    PictureFolder result{detail::read_idx_part(folder, "train"), detail::read_idx_part(folder, "t10k")};
    const auto largest = *std::max_element(result.training.labels.begin(), result.training.labels.end());
    for (std::int64_t i = 0; i <= largest; ++i) {
        result.training.classes.push_back(message(i));
    }
    result.held_out->classes = result.training.classes;
    return result;
}

}  // namespace wasi::pictures
