#pragma once
#include <Eigen/Core>
#include <cstdint>
#include <span>

#include "wasi/core/precision.hpp"
#include "wasi/storage/eigen/elementwise.hpp"

/// Numbers in 16 bits, by Eigen's own types for them.
namespace wasi::eigen {

static_assert(sizeof(Eigen::half) == sizeof(std::uint16_t) && sizeof(Eigen::bfloat16) == sizeof(std::uint16_t));

/// body(numbers) with the 16 bits of `bits` seen as an array of the precision's type.
template <class Bits, class Body>
void with_packed_map(Bits* bits, Index count, Precision precision, Body&& body)
{
    const auto see = [&]<class Number>() {
        using Array = Eigen::Array<Number, 1, Eigen::Dynamic>;
        if constexpr (std::is_const_v<Bits>) {
            body(Eigen::Map<const Array>(reinterpret_cast<const Number*>(bits), count));
        } else {
            body(Eigen::Map<Array>(reinterpret_cast<Number*>(bits), count));
        }
    };
    if (precision == Precision::half) {
        see.template operator()<Eigen::half>();
    } else {
        see.template operator()<Eigen::bfloat16>();
    }
}

/// to = from rounded to 16 bits, row by row.
template <Scalar T>
void pack(std::span<std::uint16_t> to, ConstMatrixView<T> from, Precision precision)
{
    for_row_pieces(from.rows, from.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            const auto row = row_major_map(from.row_block(i, 1)).row(0).array();
            with_packed_map(to.data() + i * from.cols, from.cols, precision, [&](auto packed) {
                packed = row.template cast<float>().template cast<typename decltype(packed)::Scalar>();
            });
        }
    });
}

/// to = from in full, row by row; exact.
template <Scalar T>
void unpack(MatrixView<T> to, std::span<const std::uint16_t> from, Precision precision)
{
    for_row_pieces(to.rows, to.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            auto row = row_major_map(to.row_block(i, 1)).row(0).array();
            with_packed_map(from.data() + i * to.cols, to.cols, precision,
                            [&](auto packed) { row = packed.template cast<float>().template cast<T>(); });
        }
    });
}

}  // namespace wasi::eigen
