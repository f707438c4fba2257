#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include <wasi/core/memory_base.hpp>
#include <wasi/core/scalar.hpp>

namespace wasi_examples {

/// One way to train, as a table shows it.
struct MethodRow {
    std::string method;
    std::string setting;
    std::string keep;  ///< what blocks keep
    wasi::Index micro_batches = 1;
    std::size_t process = 0;  ///< forecast peak of the process
    double output_error = 0.0;
    double gradient_error = 0.0;
    double work = 0.0;  ///< flops of a step, more the fewer rows its products have
    bool fits = false;
};

/// What --method auto has compared, and why it chose what it chose.
struct MethodTable {
    std::size_t budget = 0;
    std::size_t base = 0;
    std::string measured;         ///< on what errors were measured, or why they were not: a sentence
    std::vector<MethodRow> rows;  ///< least error first; empty where nothing was measured
    std::size_t chosen = 0;       ///< of rows
    std::string command;          ///< the options that it comes to
    std::array<std::size_t, wasi::use_count> predicted{};  ///< bytes by class at their peaks
    std::size_t predicted_total = 0;
    double flops = 0.0;  ///< of a step

    /// Why: in words.
    [[nodiscard]] std::string reason() const;
    /// For the terminal.
    [[nodiscard]] std::string text() const;
    /// A row each.
    [[nodiscard]] std::string csv() const;
    /// A section of report.html.
    [[nodiscard]] std::string html() const;
};

}  // namespace wasi_examples
