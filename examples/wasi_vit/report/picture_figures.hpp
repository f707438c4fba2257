#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <wasi/data/preprocessing.hpp>
#include <wasi/storage/tensor.hpp>

namespace wasi_examples {

/// A picture on a page: what stands under it, and what a pointer brings up.
struct ShownPicture {
    std::string source;  ///< as picture_source() gives it
    std::string caption = {};
    std::string note = {};
};

/// Picture number i of a batch (B,3,H,W) as the model sees it, as a PNG in a data: address. Mean and deviation are
/// taken back where they are known; else the numbers are stretched to 0..255. Throws std::runtime_error when it cannot
/// be encoded.
[[nodiscard]] std::string picture_source(const wasi::Tensor<float>& batch, wasi::Index i,
                                         const std::optional<wasi::data::Preprocessing>& preprocessing);

/// Pictures side by side, in as many rows as they need. HTML; nothing for no pictures.
[[nodiscard]] std::string picture_grid(const std::vector<ShownPicture>& pictures);

}  // namespace wasi_examples
