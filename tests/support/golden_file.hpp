#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <wasi/io/safetensors.hpp>
#include <wasi/nn/models/vision_transformer.hpp>

/// The stored PyTorch reference, tests/golden (README.md there says what the files hold).
namespace wasi_tests {

/// A file of tests/golden.
[[nodiscard]] inline wasi::io::SafetensorsFile golden_file(const std::string& name)
{
    return wasi::io::SafetensorsFile(std::filesystem::path(WASI_TEST_DATA) / "golden" / name);
}

/// All elements of one tensor, row-major, as T.
template <class T>
[[nodiscard]] std::vector<T> read_values(const wasi::io::SafetensorsFile& file, const std::string& name)
{
    std::vector<T> values(static_cast<std::size_t>(file.info(name).element_count()));
    file.read(name, std::span<T>(values));
    return values;
}

/// The dense elements of a parameter, whichever kind it is.
template <class Parameter>
[[nodiscard]] auto dense_span(Parameter& parameter)
{
    if constexpr (requires { parameter.values; }) {
        return parameter.values.span();
    } else {
        return parameter.dense().span();
    }
}

/// Fills a model's parameters with the file's tensors named prefix + parameter name.
template <class T, class S>
void load_weights(wasi::nn::VisionTransformer<T, S>& model, const wasi::io::SafetensorsFile& file,
                  const std::string& prefix)
{
    wasi::nn::for_each_parameter(model,
                                 [&](auto& parameter) { file.read(prefix + parameter.name(), dense_span(parameter)); });
}

}  // namespace wasi_tests
