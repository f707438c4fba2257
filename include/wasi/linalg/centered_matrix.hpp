#pragma once
#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "wasi/linalg/centered_operator.hpp"
#include "wasi/storage/scale.hpp"

namespace wasi::linalg {

/// C = 2^-e (A - 1 μᵀ), μ the mean of the rows of A (m,n), as an operator; never formed. A block of rows at a time is
/// centred in double and multiplied while it is in cache. A difference of products, A X - 1 (μᵀX), would keep the
/// rounding of the large terms: with a mean 1e5 times the spread it is all noise in float. The mean is a sum in double,
/// put right by the mean of what it leaves (the corrected two-pass algorithm of Chan, Golub and LeVeque 1983), and kept
/// as two doubles. e is 0 for ordinary sizes, else it brings A's largest element to 1. Two reads of A at construction;
/// products cost those of A and a few operations for each element. Holds two blocks of the mean. A view of A; bits do
/// not depend on the number of threads.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
class CenteredMatrix {
public:
    /// `largest` is S::largest(a), finite.
    CenteredMatrix(ConstMatrixView<T> a, double largest, Memory& memory)
        : a_(a),
          exponent_(std::max(scale_exponent<T>(largest), -1000)),  // 2^1000 is about as far as one factor goes
          high_(detail::mean_of_rows<S, T>(a, scale(), memory)),
          low_(workspace<double>(memory, 1, a.cols)),
          shift_(corrected(largest, memory))
    {
    }

    [[nodiscard]] Index rows() const { return a_.rows; }
    [[nodiscard]] Index cols() const { return a_.cols; }
    [[nodiscard]] double squared_norm() const { return squared_norm_; }  ///< ||C||_F²
    /// A's units: a length of C is 2^e times as long in A.
    [[nodiscard]] int exponent() const { return exponent_; }
    /// 2^-e μ is the sum of these.
    [[nodiscard]] std::span<const double> mean_high() const { return high_.span(); }
    [[nodiscard]] std::span<const double> mean_low() const { return low_.span(); }

    /// Y = C X
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        parallel_for(shift_.blocks(rows()), [&](Index index) {
            const Index first = index * shift_.height();
            const Index count = std::min(shift_.height(), rows() - first);
            with_block(first, count, memory, [&](ConstMatrixView<T> block) {
                S::multiply(y.row_block(first, count), T(1), block, x, T(0), memory);
            });
        });
    }

    /// Y = Cᵀ X. Rows are shared among up to eight partial sums; for a large Y, Y's rows are.
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        const Index blocks = shift_.blocks(rows());
        const Index pieces = y.size() <= (Index{1} << 18) ? std::clamp<Index>(blocks, 1, 8) : 1;
        Tensor<T> partial(memory, Tag{Use::workspace, 0}, Shape{pieces, y.rows, y.cols});
        const auto work = [&](Index piece) {
            const auto sum = partial.template view<3>().slice(piece);
            const Index begin = piece * blocks / pieces;
            for (Index index = begin; index < (piece + 1) * blocks / pieces; ++index) {
                const Index first = index * shift_.height();
                const Index count = std::min(shift_.height(), rows() - first);
                with_block(first, count, memory, [&](ConstMatrixView<T> block) {
                    S::multiply(sum, T(1), block.transposed(), x.row_block(first, count), index == begin ? T(0) : T(1),
                                memory);
                });
            }
        };
        if (pieces == 1) {
            work(0);  // threads inside the product
        } else {
            parallel_for(pieces, work);
        }
        S::copy(y, partial.template view<3>().slice(0));
        for (Index piece = 1; piece < pieces; ++piece) {
            S::add_scaled(y, T(1), T(1), partial.template view<3>().slice(piece));
        }
    }

    /// G (n,n) = CᵀC, products and sums in double. m n² multiply-adds.
    void gram(MatrixView<double> g, Memory& memory) const
    {
        const auto add = [&](Index first, Index count, MatrixView<double> sum, double beta) {
            detail::WideBlock<T> block(a_, count, memory);
            shift_.apply(block.rows(count), a_.row_block(first, count), scale());
            S::gram(sum, beta, std::as_const(block).rows(count), memory);
        };
        if (cols() <= 96) {
            detail::sum_over_blocks<S>(
                g, rows(), shift_.height(), memory,
                [&](Index first, Index count, MatrixView<double> sum) { add(first, count, sum, 1.0); });
            return;
        }
        for (Index first = 0; first < rows(); first += shift_.height()) {  // threads inside the product
            add(first, std::min(shift_.height(), rows() - first), g, first == 0 ? 0.0 : 1.0);
        }
    }

    /// C itself.
    void copy_to(MatrixView<T> c, Memory& memory) const
    {
        parallel_for(shift_.blocks(rows()), [&](Index index) {
            const Index first = index * shift_.height();
            const Index count = std::min(shift_.height(), rows() - first);
            detail::WideBlock<T> block(a_, count, memory);
            shift_.apply(block.rows(count), a_.row_block(first, count), scale());
            S::convert(c.row_block(first, count), std::as_const(block).rows(count));
        });
    }

private:
    [[nodiscard]] double scale() const { return power_of_two(-exponent_); }

    /// body(the centred rows as T)
    template <class Body>
    void with_block(Index first, Index count, Memory& memory, const Body& body) const
    {
        detail::WideBlock<T> wide(a_, count, memory);
        shift_.apply(wide.rows(count), a_.row_block(first, count), scale());
        if constexpr (sizeof(T) == sizeof(double)) {
            body(std::as_const(wide).rows(count));
        } else {
            Tensor<T> narrow = wide.by_rows ? workspace<T>(memory, count, cols()) : workspace<T>(memory, cols(), count);
            const MatrixView<T> block = wide.by_rows ? narrow.matrix() : narrow.matrix().transposed();
            S::convert(block, std::as_const(wide).rows(count));
            body(ConstMatrixView<T>(block));
        }
    }

    /// Sets the low part of the mean and the squared norm; the shift with both.
    [[nodiscard]] detail::BlockShift<S, T> corrected(double largest, Memory& memory)
    {
        const Index height = detail::centering_height(cols());
        const detail::BlockShift<S, T> high(a_, high_.span(), {}, height, memory);
        Tensor<double> sums = workspace<double>(memory, 1, cols() + 1);  // the last: of squares
        Tensor<double> ones = workspace<double>(memory, 1, high.height());
        S::fill(ones.matrix(), 1.0);
        detail::sum_over_blocks<S>(
            sums.matrix(), rows(), high.height(), memory, [&](Index first, Index count, MatrixView<double> sum) {
                detail::WideBlock<T> block(a_, count, memory);
                high.apply(block.rows(count), a_.row_block(first, count), scale());
                const auto values = std::as_const(block).rows(count);
                S::multiply(sum.col_block(0, cols()), 1.0, std::as_const(ones).matrix().col_block(0, count), values,
                            1.0, memory);
                sum(0, cols()) += S::dot(values, values);
            });
        const auto count = static_cast<double>(rows());
        squared_norm_ = sums.span().back();
        for (Index j = 0; j < cols(); ++j) {
            const double rest = sums.data()[j] / count;
            low_.data()[j] = rest;
            squared_norm_ -= rest * rest * count;
        }
        // What two doubles leave of equal rows is rounding, and so is a norm that is negative.
        const double rounding = 1e-10 * epsilon<double> * std::ldexp(largest, -exponent_);
        if (!(squared_norm_ > rounding * rounding * count)) {
            squared_norm_ = 0.0;
        }
        // Beside a double mean of float data the rest is nothing.
        const std::span<const double> low = sizeof(T) < sizeof(double) ? std::span<const double>{} : low_.span();
        return {a_, high_.span(), low, height, memory};
    }

    ConstMatrixView<T> a_;
    int exponent_;
    double squared_norm_ = 0.0;
    Tensor<double> high_;
    Tensor<double> low_;
    detail::BlockShift<S, T> shift_;
};

}  // namespace wasi::linalg
