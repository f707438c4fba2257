#pragma once
#include <cstdint>
#include <string_view>

namespace wasi::data {

enum class Interpolation : std::uint8_t { bilinear, bicubic };

[[nodiscard]] constexpr std::string_view to_string(Interpolation interpolation) noexcept
{
    return interpolation == Interpolation::bilinear ? "bilinear" : "bicubic";
}

/// The cubic convolution kernel at distance t >= 0 (Keys 1981): (a + 2) t^3 - (a + 3) t^2 + 1 up to 1, a t^3 - 5 a t^2
/// + 8 a t - 4 a from there to 2, 0 beyond. With a = -1/2 it gives back quadratic functions; a = -3/4 is usual too.
[[nodiscard]] constexpr double keys_cubic(double t, double a) noexcept
{
    if (t < 1.0) {
        return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    }
    return t < 2.0 ? (((t - 5.0) * t + 8.0) * t - 4.0) * a : 0.0;
}

}  // namespace wasi::data
