#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "report/report_page.hpp"

namespace wasi_examples {

/// Of values in any order; not_known when there are none.
[[nodiscard]] inline double median(std::vector<double> values)
{
    if (values.empty()) {
        return not_known;
    }
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

/// 95 % confidence interval of a proportion (Wilson 1927).
[[nodiscard]] inline std::pair<double, double> wilson(wasi::Index correct, wasi::Index count)
{
    constexpr double z = 1.959963984540054;
    const auto n = static_cast<double>(count);
    const double p = static_cast<double>(correct) / n;
    const double centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    const double half = z / (1.0 + z * z / n) * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
    return {centre - half, centre + half};
}

}  // namespace wasi_examples
