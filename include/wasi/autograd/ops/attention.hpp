#pragma once
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "wasi/autograd/saved.hpp"
#include "wasi/core/parallel.hpp"

namespace wasi::autograd {

/// What becomes of attention's probabilities (B,H,N,N) between the passes: kept, or made again from queries and keys in
/// the backward pass, the same bits for 2 B N² D flops more.
enum class Probabilities { keep, recompute };

namespace detail {

/// Attention of packed rows by sample and head.
template <Scalar T, class S>
struct Heads {
    Index count;  ///< heads a sample
    Index width;  ///< features a head
    Index tokens;
    T scale;

    Heads(const Shape& packed, Index heads)
        : count(heads), width(packed[2] / 3 / heads), tokens(packed[1]), scale(T(1) / std::sqrt(static_cast<T>(width)))
    {
    }

    /// Queries (which = 0), keys (1) or values (2) of a head in the rows of one sample.
    template <class View>
    [[nodiscard]] View part(View rows, Index head, Index which) const
    {
        return rows.col_block((which * count + head) * width, width);
    }
    /// Numbers from one (N,N) block to the next: each starts at a 64-byte boundary, because the order in which a row is
    /// added up may depend on where it lies.
    [[nodiscard]] Index stride() const { return (tokens * tokens + 15) / 16 * 16; }
    /// Block number `piece` of many.
    template <class Elements>
    [[nodiscard]] MatrixView<Elements> square(Elements* data, Index piece) const
    {
        return MatrixView<Elements>::row_major(data + piece * stride(), tokens, tokens);
    }
    /// p = softmax(Q Kᵀ scale) of one sample and head.
    void probabilities(MatrixView<T> p, ConstMatrixView<T> rows, Index head, Memory& memory) const
    {
        S::multiply(p, T(1), part(rows, head, 0), part(rows, head, 1).transposed(), T(0), memory);
        S::softmax(p, scale);
    }
};

/// body(piece, place) for the pieces of all samples and heads, on several threads. `place` numbers a slot that no two
/// pieces use at the same time: one a group of pieces, so many that threads have enough to do, so few that a block of
/// workspace for each is little.
template <class Body>
void for_pieces_in_groups(Index pieces, Index groups, Body&& body)
{
    parallel_for(groups, [&](Index group) {
        for (Index piece = group * pieces / groups; piece < (group + 1) * pieces / groups; ++piece) {
            body(piece, group);
        }
    });
}

inline constexpr Index attention_groups = 16;

}  // namespace detail

/// Multi-head self-attention of packed queries, keys and values (B, N, 3D), q first, heads of width d = D/H side by
/// side: for each sample and head, P = softmax(Q Kᵀ / sqrt(d)), Y = P V (Vaswani et al. 2017). Result (B,N,D). Saves
/// the packed input, and the probabilities (B,H,N,N) unless they are to be made again. Threaded over samples and heads:
/// the products are too small to be cut. Throws shape_error unless the last extent is 3 H d. 4 B N² D flops forward,
/// 8 B N² D backward, 2 B N² D more where probabilities are made again.
template <Scalar T, class S>
[[nodiscard]] Variable<T> attention(const Context<T, S>& context, const Variable<T>& packed, Index heads,
                                    Probabilities kept = Probabilities::keep)
{
    require<shape_error>(packed.shape().order() == 3 && heads >= 1 && packed.shape()[2] % (3 * heads) == 0,
                         "attention: packed input ", shape_text(packed.shape()),
                         " does not split into queries, keys and values of ", heads, " heads");
    const detail::Heads<T, S> head_of(packed.shape(), heads);
    const Index batch = packed.shape()[0];
    const Index tokens = head_of.tokens;
    const Index pieces = batch * heads;
    const bool record = context.tape != nullptr && packed.wants_gradient();
    const bool keep = record && kept == Probabilities::keep;
    const Index groups = keep ? pieces : std::min(pieces, detail::attention_groups);
    Tensor<T> y = context.make(Shape{batch, tokens, packed.shape()[2] / 3});
    Tensor<T> probabilities = context.make(Shape{groups, head_of.stride()});
    const auto in = packed.value().template view<3>();
    detail::for_pieces_in_groups(pieces, groups, [&](Index piece, Index place) {
        const Index head = piece % heads;
        const auto rows = in.slice(piece / heads);
        const auto p = head_of.square(probabilities.data(), place);
        head_of.probabilities(p, rows, head, context.memory);
        S::multiply(y.template view<3>().slice(piece / heads).col_block(head * head_of.width, head_of.width), T(1), p,
                    head_of.part(rows, head, 2), T(0), context.memory);
    });
    if (!record) {
        return Variable<T>(std::move(y));
    }
    Saved<T, S> saved_probabilities;
    if (keep) {
        const Index used = tokens * tokens;  // what lies between two blocks must not spoil a group of 8-bit numbers
        S::fill(probabilities.matrix().col_block(used, probabilities.shape()[1] - used), T(0));
        saved_probabilities = Saved<T, S>(context, Variable<T>(std::move(probabilities)));
    } else {
        probabilities.reset();
    }
    return context.tape->record(
        std::move(y), {},
        [saved = Saved<T, S>(context, packed), slot = packed.slot(),
         saved_probabilities = std::move(saved_probabilities), head_of](SharedTensor<T> dy, auto& pass) {
            Memory& memory = pass.memory();
            const SharedTensor<T> input = saved.get(memory);
            const SharedTensor<T> p_kept = saved_probabilities.empty() ? nullptr : saved_probabilities.get(memory);
            const auto source = std::as_const(*input).template view<3>();
            const auto upstream = std::as_const(*dy).template view<3>();
            const Index all = source.shape[0] * head_of.count;
            const Index places = std::min(all, detail::attention_groups);
            Tensor<T> dpacked(memory, Tag{Use::gradient, 0}, saved.shape());
            Tensor<T> dscores(memory, Tag{}, Shape{places, head_of.stride()});
            Tensor<T> p_again;
            if (!p_kept) {
                p_again = Tensor<T>(memory, Tag{}, dscores.shape());
            }
            detail::for_pieces_in_groups(all, places, [&](Index piece, Index place) {
                const Index head = piece % head_of.count;
                const auto rows = source.slice(piece / head_of.count);
                const auto drows = dpacked.template view<3>().slice(piece / head_of.count);
                const auto dout = upstream.slice(piece / head_of.count).col_block(head * head_of.width, head_of.width);
                const auto ds = head_of.square(dscores.data(), place);
                if (!p_kept) {
                    head_of.probabilities(head_of.square(p_again.data(), place), rows, head, memory);
                }
                const ConstMatrixView<T> p = p_kept ? head_of.square(std::as_const(*p_kept).data(), piece)
                                                    : head_of.square(std::as_const(p_again).data(), place);
                const auto part = [&](auto of, Index which) { return head_of.part(of, head, which); };
                S::multiply(part(drows, 2), T(1), p.transposed(), dout, T(0), memory);  // dV = Pᵀ dY
                S::multiply(ds, T(1), dout, part(rows, 2).transposed(), T(0), memory);  // dP = dY Vᵀ
                S::softmax_backward(ds, p, head_of.scale);
                S::multiply(part(drows, 0), T(1), ds, part(rows, 1), T(0), memory);               // dQ = dS K
                S::multiply(part(drows, 1), T(1), ds.transposed(), part(rows, 0), T(0), memory);  // dK = dSᵀ Q
            });
            pass.add(slot, std::move(dpacked));
        });
}

}  // namespace wasi::autograd
