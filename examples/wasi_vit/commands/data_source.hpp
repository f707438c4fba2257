#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include <wasi/data/dataset.hpp>

namespace wasi_examples {

struct TrainAndTest {
    wasi::data::Dataset<float> train;
    std::optional<wasi::data::Dataset<float>> held_out;

    /// What accuracy is measured on: the images held out, or, where there are none, the training images.
    [[nodiscard]] const wasi::data::Dataset<float>& test() const { return held_out ? *held_out : train; }
};

/// What --data names: "digits", "digits:A-B" (classes A to B), "tensors:FILE.safetensors" (images and labels, which
/// then are the test set too). `image` is the model's image size, which digits are resized to. Throws wasi::error.
[[nodiscard]] TrainAndTest load_data(const std::string& name, wasi::Index image);

/// The images (n,3,H,W) of a safetensors file; no labels. Throws wasi::error.
[[nodiscard]] wasi::data::Dataset<float> load_images(const std::filesystem::path& path);

/// The largest label plus one. Throws wasi::argument_error when that is more than a model may have.
[[nodiscard]] wasi::Index class_count(const wasi::data::Dataset<float>& data);

}  // namespace wasi_examples
