#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::data {

/// Labelled images in memory, (count, channels, height, width), already normalised.
template <Scalar T>
struct Dataset {
    Index count = 0;
    Index channels = 3;
    Index height = 0;
    Index width = 0;
    std::vector<T> images;
    std::vector<std::int64_t> labels;

    [[nodiscard]] Index image_size() const { return channels * height * width; }

    /// Throws shape_error when sizes do not add up, argument_error on NaN, infinity or a label that is not a class.
    void check(Index classes) const
    {
        require<shape_error>(count >= 1 && static_cast<Index>(images.size()) == count * image_size(),
                             "Dataset: ", images.size(), " pixels for images ",
                             shape_text({count, channels, height, width}));
        require<shape_error>(static_cast<Index>(labels.size()) == count, "Dataset: ", labels.size(), " labels for ",
                             count, " images");
        for (std::size_t i = 0; i < labels.size(); ++i) {
            require<argument_error>(labels[i] >= 0 && labels[i] < classes, "Dataset: label ", labels[i], " of image ",
                                    i, " is outside the ", classes, " classes");
        }
        const auto bad = std::find_if(images.begin(), images.end(), [](T value) { return !std::isfinite(value); });
        require<argument_error>(bad == images.end(), "Dataset: image ",
                                (bad - images.begin()) / std::max<Index>(image_size(), 1), " holds NaN or infinity");
    }

    /// The images number indices[0], indices[1], ... as one batch (B, channels, height, width), booked as input.
    /// Indices are not checked.
    [[nodiscard]] Tensor<T> gather(std::span<const Index> indices, Memory& memory) const
    {
        Tensor<T> batch(memory, Tag{Use::input, 0}, Shape{static_cast<Index>(indices.size()), channels, height, width});
        T* target = batch.data();
        for (const Index index : indices) {
            memory.write(target, images.data() + index * image_size(),
                         static_cast<std::size_t>(image_size()) * sizeof(T));
            target += image_size();
        }
        return batch;
    }

    /// As data::Batches has it; nothing here depends on the key.
    [[nodiscard]] Tensor<T> gather(std::span<const Index> indices, RandomKey, Memory& memory) const
    {
        return gather(indices, memory);
    }

    [[nodiscard]] Index size() const { return count; }

    /// The labels of the same images.
    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const Index> indices) const
    {
        std::vector<std::int64_t> result;
        for (const Index index : indices) {
            result.push_back(labels[static_cast<std::size_t>(index)]);
        }
        return result;
    }
};

}  // namespace wasi::data
