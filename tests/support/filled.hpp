#pragma once
#include <cstdint>
#include <vector>

#include <wasi/storage/eigen.hpp>

/// Tensors on EigenStorage with something in them.
namespace wasi_tests {

/// Standard normal numbers.
template <class T>
[[nodiscard]] wasi::Tensor<T> normal(wasi::Memory& memory, wasi::Shape shape, std::uint64_t seed)
{
    wasi::Tensor<T> result(memory, {}, shape);
    wasi::EigenStorage::fill_normal(result.matrix(), wasi::RandomKey(seed));
    return result;
}

/// P Qᵀ.
template <class T>
[[nodiscard]] wasi::Tensor<T> product(wasi::Memory& memory, const wasi::Tensor<T>& p, const wasi::Tensor<T>& q)
{
    wasi::Tensor<T> result(memory, {}, wasi::Shape{p.shape()[0], q.shape()[0]});
    wasi::EigenStorage::multiply(result.matrix(), T(1), p.matrix(), q.matrix().transposed(), T(0), memory);
    return result;
}

template <class T>
[[nodiscard]] std::vector<double> numbers(const wasi::Tensor<T>& tensor)
{
    return {tensor.data(), tensor.data() + tensor.size()};
}

}  // namespace wasi_tests
