#pragma once
// What all rows of numerics.cpp share.
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wasi/core/random.hpp>
#include <wasi/io/safetensors.hpp>
#include <wasi/linalg/rank_rule.hpp>
#include <wasi/storage/eigen.hpp>

namespace peers {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::Memory;
using wasi::RandomKey;
using wasi::Shape;
using wasi::Tensor;
using wasi::linalg::Energy;
using S = wasi::EigenStorage;

[[nodiscard]] inline Memory& memory()
{
    return wasi::plain_memory();
}

template <class T = float>
[[nodiscard]] Tensor<T> load(const wasi::io::SafetensorsFile& file, const std::string& name)
{
    const std::vector<Index>& shape = file.info(name).shape;
    Tensor<T> result(memory(), {}, Shape(std::span(shape)));
    file.read(name, result.span());
    return result;
}

template <class T>
[[nodiscard]] wasi::io::TensorToWrite entry(std::string name, const Tensor<T>& tensor)
{
    return {std::move(name), {tensor.shape().begin(), tensor.shape().end()}, tensor.span()};
}

/// One row of the table: what is timed, and its result in a file. `write` returns a remark.
class Row {
public:
    Row() = default;
    Row(const Row&) = delete;
    Row& operator=(const Row&) = delete;
    virtual ~Row() = default;
    virtual void round() = 0;
    virtual std::string write(const std::filesystem::path& path) = 0;
};

/// A row of numerics_linalg.cpp; none where the name is not one of its.
[[nodiscard]] std::unique_ptr<Row> make_linalg_row(const std::string& name, const std::filesystem::path& data);

}  // namespace peers
