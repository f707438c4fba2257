#pragma once
#include <algorithm>
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

}  // namespace wasi_examples
