#pragma once
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

/// What a run left, as text to be compared: all digits of a number are in it.
namespace wasi_tests {

/// A column of metrics.csv, or of another table.
[[nodiscard]] inline std::vector<std::string> column(const std::filesystem::path& folder, const std::string& name,
                                                     const std::string& file = "metrics.csv")
{
    std::istringstream lines(contents(folder / file));
    std::vector<std::string> values;
    std::ptrdiff_t wanted = -1;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream cells(line);
        std::string cell;
        for (std::ptrdiff_t i = 0; std::getline(cells, cell, ','); ++i) {
            if (values.empty() && wanted < 0 && cell == name) {
                wanted = i;
                break;
            }
            if (i == wanted) {
                values.push_back(cell);
            }
        }
    }
    if (values.empty()) {
        throw std::runtime_error(file + " has no column " + name);
    }
    return values;
}

[[nodiscard]] inline nlohmann::json report(const std::filesystem::path& folder)
{
    return nlohmann::json::parse(contents(folder / "report.json"));
}

/// A value of report.json by its JSON pointer: a string as it is, anything else as JSON.
[[nodiscard]] inline std::string reported(const std::filesystem::path& folder, const std::string& pointer)
{
    const auto value = report(folder).at(nlohmann::json::json_pointer(pointer));
    return value.is_string() ? value.get<std::string>() : value.dump();
}

/// A word of the model file's metadata.
[[nodiscard]] inline std::string saved_word(const std::filesystem::path& folder, const std::string& key)
{
    return wasi::io::SafetensorsFile(folder / "model.safetensors").metadata().at(key);
}

}  // namespace wasi_tests
