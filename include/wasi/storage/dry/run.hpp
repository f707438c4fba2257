#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/storage/tensor.hpp"

/// What the primitives of a dry run (storage/dry.hpp) share: whom they tell of it, and the arguments that they take.
namespace wasi {

/// What a dry run answers where a real one would look at numbers.
enum class DryAnswers {
    usual,  ///< as on ordinary data: every decomposition succeeds, columns are independent, bases orthonormal to
            ///< rounding
    worst,  ///< what takes most: CholeskyQR needs a third pass and gives up, small systems are refused, bases are far
            ///< off
};

namespace detail {

/// How many calls of a primitive may be under way at once here.
[[nodiscard]] inline Index concurrent_calls(Memory& memory)
{
    return std::min(parallel_width(), Index{memory.concurrency()});
}

/// Allocates and releases `count` elements, or as many blocks of them as may be alive at once in a real run.
template <Scalar T>
void pass_through(Memory& memory, Index count)
{
    const Tensor<T> taken(memory, Tag{}, Shape{count});
    std::vector<Tensor<T>> beside;
    for (Index other = concurrent_calls(memory); other > 1; --other) {
        beside.emplace_back(memory, Tag{}, Shape{count});
    }
}

inline void tell_unbooked(Memory& memory, double bytes)
{
    memory.unbooked(static_cast<std::size_t>(bytes * static_cast<double>(concurrent_calls(memory))));
}

/// Bytes that a product of this size packs: both operands at most, and no more than fits Eigen's blocks, a thread each.
template <Scalar T>
[[nodiscard]] double packed_bytes(Memory& memory, Index m, Index n, Index k)
{
    constexpr double most = 2.0 * 1024.0 * 1024.0;  // of one thread: kc (mc + nc) elements
    const double whole = static_cast<double>(sizeof(T)) * static_cast<double>(k) * static_cast<double>(m + n);
    return std::min(whole, most * static_cast<double>(memory.concurrency()));
}

/// Bytes of `count` square matrices of order n in double.
[[nodiscard]] inline double squares_in_double(double count, Index n)
{
    return count * 8.0 * static_cast<double>(n) * static_cast<double>(n);
}

}  // namespace detail

/// Arguments of the primitives: T is deduced from the first one alone.
namespace dry {

template <class T>
using In = std::type_identity_t<ConstMatrixView<T>>;
template <class T>
using InRow = std::type_identity_t<std::span<const T>>;
template <class T>
using Out = std::type_identity_t<MatrixView<T>>;
template <class T>
using OutRow = std::type_identity_t<std::span<T>>;
template <class T>
using Value = std::type_identity_t<T>;

[[nodiscard]] constexpr double number(Index value)
{
    return static_cast<double>(value);
}

}  // namespace dry

}  // namespace wasi
