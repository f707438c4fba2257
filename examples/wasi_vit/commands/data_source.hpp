#pragma once
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <wasi/data/any_batches.hpp>
#include <wasi/data/dataset.hpp>
#include <wasi/data/preprocessing.hpp>
#include <wasi/pictures/batches.hpp>

#include "options/options.hpp"

namespace wasi_examples {

using RunData = wasi::data::AnyBatches<float>;

/// What a run learns from and is measured on, and what is to be known of it.
struct TrainAndTest {
    RunData train;
    std::optional<RunData> held_out;
    std::optional<RunData> validation;  ///< of --validation: what epochs are compared by
    std::size_t bytes = 0;              ///< held in memory
    std::size_t working_bytes = 0;      ///< and what decoding takes besides, from time to time
    std::string fingerprint;            ///< of the training data: other data have another
    std::vector<std::string> classes;   ///< names; empty where there are none
    wasi::Index class_count = 1;        ///< as the data have it: all names, or the largest label plus one
    /// Of pictures: what they go through.
    std::optional<wasi::data::Preprocessing> pixels = {};
    bool of_pictures = false;  ///< a model's head then follows class_count, unless --classes says otherwise

    /// What accuracy is measured on: the images held out, else those of --validation, else the training images.
    [[nodiscard]] const RunData& test() const { return held_out ? *held_out : validation ? *validation : train; }
};

/// What --data names, with the options that go with it:
///
///   digits, digits:A-B              the embedded digits, of classes A to B
///   tensors:FILE.safetensors        images and labels
///   FOLDER                          pictures, a subfolder for each class; or train/ and test/ (val/) with those
///   cifar10:DIR, cifar100:DIR, idx:DIR    the files of CIFAR and MNIST; :A-B behind it for classes A to B
///
/// Where nothing is held out, the training images are the test set too. `image` is the model's image size, which
/// pictures are brought to. Says on the terminal what was skipped. Throws wasi::error.
[[nodiscard]] TrainAndTest load_data(
    const FinetuneOptions& options, wasi::Index image,
    const wasi::data::Preprocessing& preprocessing = wasi::data::Preprocessing::plain());

/// RunData::check, which names --data in its message. Throws wasi::argument_error.
void check_labels(const RunData& data, wasi::Index classes, const FinetuneOptions& options);

/// The pictures of files and folders, for predictions; labels are 0. Throws wasi::error.
[[nodiscard]] wasi::pictures::PictureBatches<float> open_pictures(
    const std::vector<std::filesystem::path>& files_and_folders, const wasi::data::Preprocessing& preprocessing,
    wasi::Index image, int threads, wasi::pictures::Skipped& skipped);

/// The images (n,3,H,W) of a safetensors file; no labels. Throws wasi::error.
[[nodiscard]] wasi::data::Dataset<float> load_images(const std::filesystem::path& path);

/// Says on `where` what was left out.
void tell_skipped(const wasi::pictures::Skipped& skipped, std::FILE* where);

/// Classes of a model that has `before` so far: what --classes says, else what pictures say, else what it has.
[[nodiscard]] wasi::Index class_count(const FinetuneOptions& options, const TrainAndTest& data, wasi::Index before);

}  // namespace wasi_examples
