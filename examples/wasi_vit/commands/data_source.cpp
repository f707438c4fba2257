#include "commands/data_source.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include <wasi/io/safetensors.hpp>

#include "digits.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::require;
using Dataset = wasi::data::Dataset<float>;

/// As wasi::nn::VisionTransformerConfig has it.
constexpr std::int64_t most_classes = std::int64_t{1} << 20;

[[nodiscard]] Dataset as_dataset(Images images)
{
    return {images.count, images.channels,          images.height,
            images.width, std::move(images.pixels), std::move(images.labels)};
}

/// "0-4" as a pair of classes.
[[nodiscard]] std::pair<int, int> parse_range(const std::string& text)
{
    int first = 0;
    int last = 0;
    const char* const end = text.data() + text.size();
    const auto head = std::from_chars(text.data(), end, first);
    const bool dash = head.ec == std::errc() && head.ptr != end && *head.ptr == '-';
    const auto tail = std::from_chars(dash ? head.ptr + 1 : end, end, last);
    require<wasi::argument_error>(dash && tail.ec == std::errc() && tail.ptr == end, "--data: '", text,
                                  "' is not a range of digits like 0-4");
    return {first, last};
}

}  // namespace

Dataset load_images(const std::filesystem::path& path)
{
    const wasi::io::SafetensorsFile file(path);
    require<wasi::io_error>(file.contains("images"), path.string(), ": there is no tensor images");
    const auto& shape = file.info("images").shape;
    require<wasi::shape_error>(shape.size() == 4 && shape[0] >= 1 && shape[1] == 3 && shape[2] >= 1 && shape[3] >= 1,
                               path.string(), ": images have shape ", wasi::shape_text(shape),
                               ", (n, 3, H, W) is expected");
    Dataset data{shape[0], shape[1], shape[2], shape[3], {}, {}};
    data.images.resize(static_cast<std::size_t>(data.count * data.image_size()));
    file.read("images", std::span<float>(data.images));
    return data;
}

TrainAndTest load_data(const std::string& name, Index image)
{
    const auto colon = name.find(':');
    const std::string kind = name.substr(0, colon);
    if (kind == "digits") {
        const auto [first, last] = colon == std::string::npos ? std::pair{0, 9} : parse_range(name.substr(colon + 1));
        Split split = load_digits(image, first, last);
        return {as_dataset(std::move(split.train)), as_dataset(std::move(split.test))};
    }
    require<wasi::argument_error>(kind == "tensors" && colon != std::string::npos, "--data: '", name,
                                  "' is none of digits, digits:A-B, tensors:FILE.safetensors");
    const std::filesystem::path path = name.substr(colon + 1);
    Dataset data = load_images(path);
    const wasi::io::SafetensorsFile file(path);
    require<wasi::io_error>(file.contains("labels"), path.string(), ": there is no tensor labels");
    const auto& shape = file.info("labels").shape;
    require<wasi::shape_error>(shape.size() == 1 && shape[0] == data.count, path.string(), ": labels have shape ",
                               wasi::shape_text(shape), " for ", data.count, " images");
    data.labels.resize(static_cast<std::size_t>(data.count));
    file.read("labels", std::span<std::int64_t>(data.labels));
    return {std::move(data), std::nullopt};
}

Index class_count(const Dataset& data)
{
    const auto largest = std::max_element(data.labels.begin(), data.labels.end());
    if (largest == data.labels.end()) {
        return 1;
    }
    require<wasi::argument_error>(*largest < most_classes, "--data: the label of image ", largest - data.labels.begin(),
                                  " is ", *largest, ", and a model has no more than ", most_classes, " classes");
    return static_cast<Index>(std::max<std::int64_t>(*largest, 0)) + 1;
}

}  // namespace wasi_examples
