#pragma once
#include <algorithm>
#include <string_view>
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/packed_tensor.hpp"
#include "wasi/storage/state.hpp"

namespace wasi::nn {

/// A matrix W (O,I) that nobody trains, held in full or in fewer bits, and the two products that a layer needs of it.
/// Packed, no dense copy of W is ever made: rows are decoded into a workspace of about 2^18 numbers (192 rows
/// at least), a panel after the other, and multiplied from there. Error of an element (storage/packing.hpp): in
/// bfloat16 at most 2^-8 of its size, in half 2^-11, in int8 half a step of its row, max|w| / 254. Memory: 2 bytes an
/// element, in int8 1 and 4 more a row.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class FrozenMatrix {
public:
    [[nodiscard]] bool packed() const { return !packed_.empty(); }
    /// Precision::full where it is held in full.
    [[nodiscard]] Precision precision() const { return packed() ? packed_.precision() : Precision::full; }
    [[nodiscard]] const Shape& shape() const { return packed() ? packed_.shape() : values.shape(); }
    [[nodiscard]] std::size_t bytes() const { return packed() ? packed_.bytes() : values.bytes(); }

    /// `values` in fewer bits from now on; nothing where `precision` is full. Throws argument_error for 4 bits, which
    /// are too few for a row with one scale.
    void pack(Precision precision)
    {
        if (precision == Precision::full) {
            return;
        }
        require<argument_error>(precision != Precision::int4, "FrozenMatrix: a weight is held in 8 bits or more");
        PackedTensor taken(values.memory(), values.tag(), values.shape(), packing_by_row(precision, values.shape()));
        S::pack(taken.view(), by_row());
        packed_ = std::move(taken);
        values.reset();
    }

    /// Y = alpha X Wᵀ, X (m,I), Y (m,O). 2 m O I flops.
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory, T alpha = T(1)) const
    {
        if (!packed()) {
            S::multiply(y, alpha, x, by_row().transposed(), T(0), memory);
            return;
        }
        for_panels(memory, [&](Index first, ConstMatrixView<T> panel) {
            S::multiply(y.col_block(first, panel.rows), alpha, x, panel.transposed(), T(0), memory);
        });
    }
    /// dX = dY W, dY (m,O), dX (m,I). 2 m O I flops.
    void adjoint(MatrixView<T> dx, ConstMatrixView<T> dy, Memory& memory) const
    {
        if (!packed()) {
            S::multiply(dx, T(1), dy, by_row(), T(0), memory);
            return;
        }
        for_panels(memory, [&](Index first, ConstMatrixView<T> panel) {
            S::multiply(dx, T(1), dy.col_block(first, panel.rows), panel, first == 0 ? T(0) : T(1), memory);
        });
    }

    /// Rows from `first` on, in full: `to` (count,I), row-major and contiguous.
    void copy_rows(MatrixView<T> to, Index first) const
    {
        if (packed()) {
            S::unpack(to, packed_.part(first * to.cols, to.size()));
        } else {
            S::copy(to, by_row().row_block(first, to.rows));
        }
    }
    /// W in full; it is not held here any more.
    [[nodiscard]] Tensor<T> release(Memory& memory, Tag tag)
    {
        if (packed()) {
            values = Tensor<T>(memory, tag, packed_.shape());
            const Index rows = values.shape()[0];
            S::unpack(MatrixView<T>::row_major(values.data(), rows, values.size() / rows),
                      std::as_const(packed_).view());
            packed_ = {};
        }
        return std::move(values);
    }

    /// Reads and writes W as it is held.
    void state(State& visitor, std::string_view name, Memory& memory, Tag tag)
    {
        visitor.packed(name, packed_, memory, tag);
        if (packed()) {
            require<io_error>(packed_.packing() == packing_by_row(packed_.precision(), packed_.shape()),
                              "FrozenMatrix: ", name, " is packed in another way than by row");
            values.reset();
        } else {
            visitor.tensor(name, values, memory, tag);
        }
    }

    Tensor<T> values;  ///< W in full; empty where it is packed

private:
    /// (O,I), whatever the extents behind O are.
    [[nodiscard]] ConstMatrixView<T> by_row() const
    {
        const Index rows = values.shape()[0];
        return ConstMatrixView<T>::row_major(values.data(), rows, values.size() / rows);
    }

    /// use(first row, decoded rows) for all rows of W.
    template <class Use>
    void for_panels(Memory& memory, const Use& use) const
    {
        constexpr Index panel_numbers = Index{1} << 18;
        constexpr Index least_rows = 192;  // fewer make a slow product
        const Index rows = packed_.shape()[0];
        const Index cols = packed_.shape().size() / rows;
        const Index height = std::min(rows, std::max(panel_numbers / cols / 64 * 64, least_rows));
        Tensor<T> panel = workspace<T>(memory, height, cols);
        for (Index first = 0; first < rows; first += height) {
            const Index count = std::min(height, rows - first);
            const auto decoded = panel.matrix().row_block(0, count);
            S::unpack(decoded, packed_.part(first * cols, count * cols));
            use(first, ConstMatrixView<T>(decoded));
        }
    }

    PackedTensor packed_;
};

}  // namespace wasi::nn
