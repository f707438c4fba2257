#pragma once
#include <array>
#include <cmath>
#include <cstdint>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi::data {

enum class Interpolation : std::uint8_t { bilinear, bicubic };

/// What a model wants done to a picture before it sees it: the shorter side is brought to `resize` pixels, the middle
/// `crop` x `crop` is taken, and a value v of 0..255 becomes (v / 255 - mean) / std, for red, green, blue.
struct Preprocessing {
    std::array<double, 3> mean{0.5, 0.5, 0.5};
    std::array<double, 3> std{0.5, 0.5, 0.5};
    Index resize = 0;  ///< 0: as `crop`
    Index crop = 0;    ///< 0: the model's image size
    Interpolation interpolation = Interpolation::bicubic;

    /// The same for a model of this image size: `crop` is that size, and `resize` keeps its proportion to it. Throws
    /// argument_error where the numbers make no sense.
    [[nodiscard]] Preprocessing fitted(Index image) const
    {
        require<argument_error>(image >= 1, "Preprocessing: an image of ", image, " pixels");
        require<argument_error>(crop >= 0 && (resize == 0 || resize >= crop), "Preprocessing: a crop of ", crop,
                                " pixels of a picture that is resized to ", resize);
        for (std::size_t i = 0; i < 3; ++i) {
            require<argument_error>(std::isfinite(mean[i]) && std::isfinite(std[i]) && std[i] > 0.0,
                                    "Preprocessing: mean ", mean[i], " and deviation ", std[i]);
        }
        Preprocessing result = *this;
        result.crop = image;
        result.resize = crop == 0 || resize == 0
                            ? image
                            : static_cast<Index>(std::llround(static_cast<double>(resize) * static_cast<double>(image) /
                                                              static_cast<double>(crop)));
        return result;
    }

    friend bool operator==(const Preprocessing&, const Preprocessing&) = default;
};

}  // namespace wasi::data
