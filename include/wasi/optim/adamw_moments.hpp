#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "wasi/optim/optimizer.hpp"
#include "wasi/storage/packed_tensor.hpp"

namespace wasi::optim {

enum class MomentFormat : std::uint8_t {
    full,  ///< as the weights are
    int8,  ///< dynamic codes of 8 bits in groups of 256 (Dettmers et al. 2022, arXiv 2110.02861; storage/packing.hpp)
};

/// How the moments of AdamW are kept.
struct MomentOptions {
    MomentFormat format = MomentFormat::full;
    Index least = 4096;  ///< parameters of fewer numbers, such as biases and norms, are kept in full
};

/// The two moments of AdamW of one parameter, m and v, in full or in 8 bits. In 8 bits they are decoded, moved and
/// rounded again piece by piece: 2 + 8/256 bytes a number in place of 8 (of floats), and a workspace of 512 KiB. What a
/// step makes of the weights is of the moments before they are rounded. Rounding is to the nearest code, but
/// a second moment that is not 0 does not become 0: published codes let it, where it is below 1.6e-7 of the largest of
/// its group, and the next step of that weight is then 1/sqrt(1 - b2), 30 times, too long.
template <Scalar T, class S>
class AdamWMoments {
public:
    static constexpr Index group = 256;

    [[nodiscard]] bool empty() const { return first_.empty() && packed_first_.empty(); }
    [[nodiscard]] bool packed() const { return !packed_first_.empty(); }
    /// Bytes of both.
    [[nodiscard]] std::size_t bytes() const
    {
        return packed() ? packed_first_.bytes() + packed_second_.bytes() : first_.bytes() + second_.bytes();
    }

    /// Both 0, for a matrix.
    void make(Memory& memory, Tag tag, Index rows, Index cols, const MomentOptions& options)
    {
        if (options.format == MomentFormat::full || rows * cols < options.least) {
            first_ = Tensor<T>(memory, tag, Shape{rows, cols});
            second_ = Tensor<T>(memory, tag, Shape{rows, cols});
            // 0, by the storage: a dry run must not touch the pages of so much state.
            S::fill(first_.matrix(), T(0));
            S::fill(second_.matrix(), T(0));
            return;
        }
        packed_first_ = PackedTensor(memory, tag, {rows, cols}, {Precision::int8, group, Codes::dynamic});
        packed_second_ = PackedTensor(memory, tag, {rows, cols}, {Precision::int8, group, Codes::dynamic_positive});
        Tensor<T> zeros = workspace<T>(memory, 1, std::min(piece, rows * cols));
        S::fill(zeros.matrix(), T(0));
        for_pieces(rows * cols, [&](Index first, Index count) {
            const auto some = zeros.matrix().col_block(0, count);
            S::pack(packed_first_.part(first, count), some);
            S::pack(packed_second_.part(first, count), some);
        });
    }

    /// One step on w (rows,cols) with the gradient g, both row-major and contiguous.
    void step(MatrixView<T> w, ConstMatrixView<T> g, const AdamWStep<T>& step, Memory& memory)
    {
        if (!packed()) {
            S::adamw_step(w, first_.matrix(), second_.matrix(), g, step);
            return;
        }
        require<shape_error>(packed_first_.shape().size() == w.size() && packed_second_.shape().size() == w.size(),
                             "AdamWMoments: moments ", shape_text(packed_first_.shape()), " of weights ",
                             shape_text(w.shape()));
        require<shape_error>(w.is_row_major() && w.is_contiguous() && g.is_row_major() && g.is_contiguous(),
                             "AdamWMoments: moments in 8 bits want weights and gradients row by row");
        Tensor<T> both = workspace<T>(memory, 2, std::min(piece, w.size()));
        for_pieces(w.size(), [&](Index first, Index count) {
            // In rows, over which storages share their work.
            const Index cols = count % group == 0 ? group : count;
            const auto piece_of = [&]<class Number>(Number* data) {
                return MatrixView<Number>::row_major(data, count / cols, cols);
            };
            const auto m = piece_of(both.data());
            const auto v = piece_of(both.data() + both.shape()[1]);
            S::unpack(m, std::as_const(packed_first_).part(first, count));
            S::unpack(v, std::as_const(packed_second_).part(first, count));
            S::adamw_step(piece_of(w.data + first), m, v, piece_of(g.data + first), step);
            S::pack(packed_first_.part(first, count), m);
            S::pack(packed_second_.part(first, count), v);
        });
    }

    /// change(m, v) on both in full, row by row; they are rounded again after it. In 8 bits this takes both in full.
    template <class Change>
    void in_full(Memory& memory, const Change& change)
    {
        if (!packed()) {
            change(first_.matrix(), second_.matrix());
            return;
        }
        const Index rows = packed_first_.shape()[0];
        const Index cols = packed_first_.shape()[1];
        Tensor<T> m = workspace<T>(memory, rows, cols);
        Tensor<T> v = workspace<T>(memory, rows, cols);
        S::unpack(m.matrix(), std::as_const(packed_first_).view());
        S::unpack(v.matrix(), std::as_const(packed_second_).view());
        change(m.matrix(), v.matrix());
        S::pack(packed_first_.view(), m.matrix());
        S::pack(packed_second_.view(), v.matrix());
    }

    void state(State& visitor, Memory& memory, Tag tag)
    {
        const auto visit = [&](std::string_view name, PackedTensor& packed, Tensor<T>& full, Codes codes) {
            visitor.packed(name, packed, memory, tag);
            if (packed.empty()) {
                visitor.tensor(name, full, memory, tag);
                return;
            }
            require<io_error>(packed.packing() == Packing{Precision::int8, group, codes}, "AdamWMoments: the moment ",
                              name, " is packed in another way");
            full.reset();
        };
        visit(".first_moment", packed_first_, first_, Codes::dynamic);
        visit(".second_moment", packed_second_, second_, Codes::dynamic_positive);
        require<io_error>(packed_first_.empty() == packed_second_.empty(),
                          "AdamWMoments: one moment is in 8 bits and the other is not");
    }

private:
    static constexpr Index piece = Index{1} << 16;  // numbers, whole groups; both moments of it stay in cache

    template <class Body>
    static void for_pieces(Index count, const Body& body)
    {
        for (Index first = 0; first < count; first += piece) {
            body(first, std::min(piece, count - first));
        }
    }

    Tensor<T> first_;
    Tensor<T> second_;
    PackedTensor packed_first_;
    PackedTensor packed_second_;
};

}  // namespace wasi::optim
