#pragma once
#include <string>
#include <vector>

#include "measurement.hpp"

namespace wasi_bench {

/// What the files are about.
struct Setting {
    std::string source;  ///< "power:0.5", "FILE: TENSOR"
    std::string shape;   ///< "3072x768"
    std::size_t order = 2;
    double dense_bytes = 0.0;
    int repeats = 1;
};

/// rank_energy.csv, a line for each measurement:
/// source,shape,route,taken,rule,asked,rank,ranks,captured_energy,relative_error,optimal_error,bytes,dense_bytes,
/// median_seconds,repeats. `rank` is the largest of the modes, `ranks` all of them as "8x4x8"; optimal_error is empty
/// where the spectrum is not known.
[[nodiscard]] std::string csv(const Setting& setting, const std::vector<Measurement>& measurements);

/// The heading of the table on the terminal, and one of its rows.
[[nodiscard]] std::string table_heading();
[[nodiscard]] std::string table_row(const Measurement& measurement, double dense_bytes);

/// rank_energy.svg: energy, error, bytes and time against rank, one panel each.
[[nodiscard]] std::string picture(const Setting& setting, const std::vector<Measurement>& measurements);

}  // namespace wasi_bench
