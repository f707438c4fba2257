#include "commands/data_source.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdio>
#include <numeric>
#include <utility>

#include <wasi/core/word_hash.hpp>
#include <wasi/data/split.hpp>
#include <wasi/data/subset.hpp>
#include <wasi/io/safetensors.hpp>

#include "commands/picture_source.hpp"
#include "digits.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::require;
using Dataset = wasi::data::Dataset<float>;

/// As wasi::nn::VisionTransformerConfig has it.
constexpr std::int64_t most_classes = std::int64_t{1} << 20;

/// A number that other data will not have.
[[nodiscard]] std::string fingerprint_of(const Dataset& data)
{
    wasi::WordHash hash;
    hash.mix(static_cast<std::uint64_t>(data.count));
    for (const float pixel : data.images) {
        hash.mix(std::bit_cast<std::uint32_t>(pixel));
    }
    for (const std::int64_t label : data.labels) {
        hash.mix(static_cast<std::uint64_t>(label));
    }
    return fingerprint_text(data.count, hash.value());
}

[[nodiscard]] std::vector<std::int64_t> all_labels(const RunData& data)
{
    std::vector<Index> all(static_cast<std::size_t>(data.size()));
    std::iota(all.begin(), all.end(), Index{0});
    return data.gather_labels(all);
}

/// The largest label plus one. Throws wasi::argument_error when that is more than a model may have.
[[nodiscard]] Index count_of_labels(const std::vector<std::int64_t>& labels)
{
    const auto largest = std::max_element(labels.begin(), labels.end());
    if (largest == labels.end()) {
        return 1;
    }
    require<wasi::argument_error>(*largest < most_classes, "--data: the label of image ", largest - labels.begin(),
                                  " is ", *largest, ", and a model has no more than ", most_classes, " classes");
    return static_cast<Index>(std::max<std::int64_t>(*largest, 0)) + 1;
}

/// --validation: puts a share of the training data aside.
void hold_out(TrainAndTest& data, const FinetuneOptions& options)
{
    if (!options.validation) {
        return;
    }
    auto split = wasi::data::stratified_split(all_labels(data.train), *options.validation, split_key(options));
    require<wasi::argument_error>(!split.validation.empty(), "--validation: no class has two images");
    data.validation = RunData(wasi::data::Subset<float>(data.train, std::move(split.validation)));
    data.train = RunData(wasi::data::Subset<float>(data.train, std::move(split.training)));
}

[[nodiscard]] TrainAndTest load_digits_data(const FinetuneOptions& options, const std::string& range, Index image)
{
    const auto [first, last] = range.empty() ? ClassRange{0, 9} : parse_range(range);
    auto split = digits(image, static_cast<int>(first), static_cast<int>(last));
    TrainAndTest data;
    data.bytes = split.train.bytes() + split.test.bytes();
    data.train = RunData(std::move(split.train));
    data.held_out = RunData(std::move(split.test));
    data.fingerprint = wasi::message("digits ", first, " to ", last, " of ", image, " pixels");
    data.class_count = static_cast<Index>(last) + 1;
    for (Index i = 0; i < data.class_count; ++i) {
        data.classes.push_back(wasi::message(i));
    }
    hold_out(data, options);
    return data;
}

[[nodiscard]] TrainAndTest load_tensors(const FinetuneOptions& options, const std::filesystem::path& path, Index image)
{
    Dataset images = load_images(path);
    require<wasi::shape_error>(images.height == image && images.width == image, path.string(), ": images are ",
                               images.height, " x ", images.width, " pixels, the model takes ", image, " x ", image);
    const wasi::io::SafetensorsFile file(path);
    require<wasi::io_error>(file.contains("labels"), path.string(), ": there is no tensor labels");
    const auto& shape = file.info("labels").shape;
    require<wasi::shape_error>(shape.size() == 1 && shape[0] == images.count, path.string(), ": labels have shape ",
                               wasi::shape_text(shape), " for ", images.count, " images");
    images.labels.resize(static_cast<std::size_t>(images.count));
    file.read("labels", std::span<std::int64_t>(images.labels));
    TrainAndTest data;
    data.bytes = images.images.size() * sizeof(float) + images.labels.size() * sizeof(std::int64_t);
    data.fingerprint = fingerprint_of(images);
    data.class_count = count_of_labels(images.labels);
    data.train = RunData(std::move(images));
    hold_out(data, options);
    return data;
}

void refuse_picture_options(const FinetuneOptions& options, const std::string& kind)
{
    require<wasi::argument_error>(options.augmentation == wasi::pictures::Augmentation{},
                                  "--augment is for pictures; --data is ", kind);
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

TrainAndTest load_data(const FinetuneOptions& options, Index image, const wasi::data::Preprocessing& preprocessing)
{
    const std::string& name = options.data;
    const auto colon = name.find(':');
    const std::string kind = name.substr(0, colon);
    const std::string rest = colon == std::string::npos ? std::string() : name.substr(colon + 1);
    if (kind == "digits") {
        refuse_picture_options(options, "digits");
        return load_digits_data(options, rest, image);
    }
    if (kind == "tensors" && colon != std::string::npos) {
        refuse_picture_options(options, "tensors");
        return load_tensors(options, rest, image);
    }
    return load_pictures(options, kind, rest, wasi::data::fitted(preprocessing, image));
}

void check_labels(const RunData& data, Index classes, const FinetuneOptions& options)
{
    try {
        data.check(classes);
    } catch (const wasi::argument_error& failure) {
        throw wasi::argument_error(wasi::message("--data ", options.data, ": ", failure.what()));
    }
}

Index class_count(const FinetuneOptions& options, const TrainAndTest& data, Index before)
{
    return options.classes.value_or(data.of_pictures ? data.class_count : before);
}

}  // namespace wasi_examples
