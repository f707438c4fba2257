#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include <wasi/core/scalar.hpp>

/// Derivatives without autograd, and the distance between two vectors that tests compare.
namespace wasi_tests {

/// ||a - b|| / max(||b||, floor); infinity where the sizes differ or something is not a number.
template <class A, class B>
[[nodiscard]] double relative_distance(const A& a, const B& b, double floor = 1e-300)
{
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (std::size(a) != std::size(b)) {
        return infinity;
    }
    double difference = 0.0;
    double norm = 0.0;
    for (std::size_t i = 0; i < std::size(a); ++i) {
        const double gap = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        difference += gap * gap;
        norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    const double result = std::sqrt(difference) / std::max(std::sqrt(norm), floor);
    return std::isnan(result) ? infinity : result;
}

/// The gradient of objective() with respect to `values`, which it reads: for each element four evaluations,
/// (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h, whose error is of order h⁴.
template <class Objective>
[[nodiscard]] std::vector<double> central_differences(std::span<double> values, Objective&& objective, double h = 2e-4)
{
    std::vector<double> result;
    for (double& value : values) {
        const double before = value;
        const auto at = [&](double offset) {
            value = before + offset;
            return static_cast<double>(objective());
        };
        const double near = at(h) - at(-h);
        const double far = at(2.0 * h) - at(-2.0 * h);
        value = before;
        result.push_back((8.0 * near - far) / (12.0 * h));
    }
    return result;
}

}  // namespace wasi_tests
