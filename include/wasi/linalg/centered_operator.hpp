#pragma once
#include <algorithm>
#include <span>
#include <utility>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg {

namespace detail {

/// Rows of a block that is centred in cache: of shapes alone, so that sums are the same bits for any number of threads.
[[nodiscard]] inline Index centering_height(Index cols)
{
    return std::clamp<Index>((Index{1} << 17) / std::max<Index>(cols, 1), 64, 1024);
}

/// A block of rows in double that lies in memory as `like` does.
template <class T>
struct WideBlock {
    WideBlock(ConstMatrixView<T> like, Index height, Memory& memory)
        : by_rows(like.is_row_major()),
          values(by_rows ? workspace<double>(memory, height, like.cols) : workspace<double>(memory, like.cols, height))
    {
    }
    [[nodiscard]] MatrixView<double> rows(Index count)
    {
        return (by_rows ? values.matrix() : values.matrix().transposed()).row_block(0, count);
    }
    [[nodiscard]] ConstMatrixView<double> rows(Index count) const
    {
        return (by_rows ? values.matrix() : values.matrix().transposed()).row_block(0, count);
    }

    bool by_rows;
    Tensor<double> values;
};

/// scale A - 1 (high + low)ᵀ for blocks of rows of A, in double. With two doubles for a mean its own rounding does no
/// harm, however far it lies above the spread: A - high is exact there.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
class BlockShift {
public:
    /// `low` may be empty. Blocks are of at most `height` rows.
    BlockShift(ConstMatrixView<T> like, std::span<const double> high, std::span<const double> low, Index height,
               Memory& memory)
        : height_(std::min(height, like.rows)),
          high_(filled(like, high, height_, memory)),
          low_(filled(like, low, low.empty() ? 0 : height_, memory))
    {
    }

    [[nodiscard]] Index height() const { return height_; }
    [[nodiscard]] Index blocks(Index rows) const { return height_ > 0 ? (rows + height_ - 1) / height_ : 0; }
    /// D becomes scale A - sign 1 (high + low)ᵀ; sign -1 adds.
    template <class From>
    void apply(MatrixView<double> d, MatrixView<From> a, double scale, double sign = 1.0) const
    {
        S::convert(d, a);
        S::add_scaled(d, scale, -sign, high_.rows(a.rows));
        if (low_.values.size() > 0) {
            S::add_scaled(d, 1.0, -sign, low_.rows(a.rows));
        }
    }

private:
    [[nodiscard]] static WideBlock<T> filled(ConstMatrixView<T> like, std::span<const double> row, Index height,
                                             Memory& memory)
    {
        WideBlock<T> result(like, height, memory);
        for (Index i = 0; i < height; ++i) {
            S::copy(result.rows(height).row_block(i, 1), as_row(row));
        }
        return result;
    }

    Index height_;
    WideBlock<T> high_;
    WideBlock<T> low_;
};

/// sum(1, p) = over i of body's part i, in double: `pieces` of the blocks run side by side, each adding its own in
/// order, then the pieces in order. body(first, count, sum (1,p)) adds what rows [first, first + count) contribute.
template <class S, class Body>
void sum_over_blocks(MatrixView<double> total, Index rows, Index height, Memory& memory, const Body& body)
{
    const Index blocks = (rows + height - 1) / height;
    const Index pieces = std::clamp<Index>(blocks, 1, 8);
    Tensor<double> partial(memory, Tag{Use::workspace, 0}, Shape{pieces, total.rows, total.cols});
    S::fill(partial.matrix(), 0.0);
    parallel_for(pieces, [&](Index piece) {
        const auto sum = partial.template view<3>().slice(piece);
        for (Index block = piece * blocks / pieces; block < (piece + 1) * blocks / pieces; ++block) {
            body(block * height, std::min(height, rows - block * height), sum);
        }
    });
    S::add_scaled(total, 0.0, 1.0, partial.template view<3>().slice(0));
    for (Index piece = 1; piece < pieces; ++piece) {
        S::add_scaled(total, 1.0, 1.0, partial.template view<3>().slice(piece));
    }
}

/// The mean of the rows of Y (m,p), in double.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] Tensor<double> mean_of_rows(ConstMatrixView<T> y, double scale, Memory& memory)
{
    const Index height = std::min(centering_height(y.cols), y.rows);
    Tensor<double> mean = workspace<double>(memory, 1, y.cols);
    Tensor<double> weights = workspace<double>(memory, 1, height);
    S::fill(weights.matrix(), scale);
    sum_over_blocks<S>(mean.matrix(), y.rows, height, memory, [&](Index first, Index count, MatrixView<double> sum) {
        WideBlock<T> block(y, height, memory);
        S::convert(block.rows(count), y.row_block(first, count));
        S::multiply(sum, 1.0, std::as_const(weights).matrix().col_block(0, count), std::as_const(block).rows(count),
                    1.0, memory);
    });
    for (double& value : mean.span()) {
        value /= static_cast<double>(y.rows);
    }
    return mean;
}

/// to = scale from - sign 1 (high + low)ᵀ, in double inside, a block of rows at a time; in place too.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
void shift_rows(MatrixView<T> to, ConstMatrixView<T> from, std::span<const double> high, std::span<const double> low,
                double scale, double sign, Memory& memory)
{
    const BlockShift<S, T> shift(from, high, low, centering_height(from.cols), memory);
    const Index height = shift.height();
    parallel_for(shift.blocks(from.rows), [&](Index index) {
        const Index first = index * height;
        const Index count = std::min(height, from.rows - first);
        WideBlock<T> block(from, height, memory);
        shift.apply(block.rows(count), from.row_block(first, count), scale, sign);
        S::convert(to.row_block(first, count), std::as_const(block).rows(count));
    });
}

}  // namespace detail

/// (1 - 1 1ᵀ / m) A: the rows of an operator A (m,n) minus their mean, without forming it, which is what principal
/// component analysis needs of an A that is known by its products alone. The means of the columns of Y are taken off in
/// double. What the rounding of A's own products left of a spread that is far below the mean is lost, about epsilon
/// times mean over spread: a matrix in memory is centred before the product instead (CenteredMatrix, pca). A view.
template <class Operator, class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
class CenteredOperator {
public:
    explicit CenteredOperator(const Operator& a) : a_(&a) {}

    [[nodiscard]] Index rows() const { return a_->rows(); }
    [[nodiscard]] Index cols() const { return a_->cols(); }

    /// Y = (1 - 1 1ᵀ / m) (A X)
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        a_->apply(y, x, memory);
        center(y, y, memory);
    }

    /// Y = Aᵀ ((1 - 1 1ᵀ / m) X)
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        Tensor<T> centered = workspace<T>(memory, x.rows, x.cols);
        center(centered.matrix(), x, memory);
        a_->apply_adjoint(y, std::as_const(centered).matrix(), memory);
    }

private:
    static void center(MatrixView<T> to, ConstMatrixView<T> from, Memory& memory)
    {
        const Tensor<double> mean = detail::mean_of_rows<S, T>(from, 1.0, memory);
        detail::shift_rows<S, T>(to, from, mean.span(), {}, 1.0, 1.0, memory);
    }

    const Operator* a_;
};

}  // namespace wasi::linalg
