#pragma once
#include <algorithm>
#include <concepts>
#include <limits>
#include <utility>

#include "wasi/linalg/row_accumulator.hpp"

namespace wasi::linalg {

struct StreamingSvdOptions {
    /// How many triplets are kept of all that has arrived: a number, or a rule that is asked after every batch, of the
    /// energy of the whole so far, with what was discarded before.
    RankRule rank = Energy{0.99};
    Index max_rank = std::numeric_limits<Index>::max();
    /// Batches come as rows below one another, or as columns side by side.
    Stack arriving = Stack::rows;
    /// In (0, 1]: what is there is multiplied by it when a batch comes. 1 accumulates everything alike.
    double forgetting = 1.0;
    /// Triplets carried beyond the rank: a later batch may bring one of them forward. None would make the error depend
    /// more on the order of the batches; they cost what a rank so much larger costs.
    Index extra = 10;
    /// Whether singular vectors of the side that grows are kept too (U for rows): (count, rank) numbers more, turned at
    /// every batch. Off: memory does not grow with the stream.
    bool growing_side = false;
    /// The rule is for right vectors; where these are of a growing side that is not kept, it is applied to the others.
    Signs signs = Signs::largest_right_positive;
};

/// The truncated SVD of a matrix whose rows (or columns) arrive in batches, of any sizes, each looked at once: with A'
/// = U diag(s) Vᵀ of what has come so far, the SVD of [lambda diag(s) Vᵀ; batch], truncated. After any number of
/// batches it is the truncated SVD of
///   [lambda^(b-1) A_1; ...; lambda A_{b-1}; A_b],
/// to rounding as long as nothing was discarded, and otherwise with the error that info() states: exact, since what is
/// discarded is orthogonal to what is kept. It accumulates, where SubspaceTracker follows: see docs/tracking.md. A
/// batch (p,n) costs about (w + p)² n flops, w = rank + extra, and memory (w + p) n; it holds w (n + 1) numbers. State
/// can be taken out and given back, and two streams can be merged. Deterministic, same bits for any number of threads.
/// Thread safety: one object, one thread at a time. Sources: Brand 2006; Levy and Lindenbaum 2000 (forgetting); Iwen
/// and Ong 2016.
template <Scalar T, class S = EigenStorage>
requires StorageFor<S, T>
class StreamingSvd {
public:
    /// Throws argument_error for options out of range.
    explicit StreamingSvd(StreamingSvdOptions options, Memory& memory = plain_memory())
        : options_(std::move(options)),
          memory_(&memory),
          sum_({options_.rank, options_.max_rank, options_.extra, options_.growing_side,
                options_.arriving == Stack::columns, options_.signs},
               "StreamingSvd", memory)
    {
        require<argument_error>(options_.forgetting > 0.0 && options_.forgetting <= 1.0,
                                "StreamingSvd: forgetting must be in (0, 1], got ", options_.forgetting);
    }
    /// Goes on from a state, with the options it was made with (or others). Throws shape_error where its sizes do not
    /// fit, argument_error where its numbers are not finite.
    StreamingSvd(StreamingSvdOptions options, const StreamingState<T>& state, Memory& memory = plain_memory())
        : StreamingSvd(std::move(options), memory)
    {
        sum_.restore(state, "StreamingSvd");
    }

    /// One batch. Throws shape_error on an empty one and when its columns (rows, where columns arrive) are not as many
    /// as before, argument_error on NaN or infinity; nothing has changed then.
    const StreamingInfo& add(ConstMatrixView<T> batch)
    {
        const ConstMatrixView<T> a = by_rows() ? batch : batch.transposed();
        require<shape_error>(a.size() > 0, "StreamingSvd: empty batch ", shape_text(batch.shape()));
        require<shape_error>(sum_.empty() || a.cols == sum_.extent(), "StreamingSvd: a batch ",
                             shape_text(batch.shape()), " after batches with ", sum_.extent(),
                             by_rows() ? " columns" : " rows");
        const double largest = S::largest(a);
        require<argument_error>(std::isfinite(largest), "StreamingSvd: a batch ", shape_text(batch.shape()),
                                " holds NaN or infinity");
        sum_.absorb(a.cols, a.rows, a.rows, largest, options_.forgetting,
                    [&](MatrixView<T> rows, int exponent) { detail::scale_into<S, T>(rows, a, exponent); });
        return sum_.info();
    }
    /// The same for a user's matrix.
    template <MatrixLike A>
    requires std::same_as<typename Family<A>::Scalar, T>
    const StreamingInfo& add(const A& a)
    {
        Family<A>::with_view(a, [&](auto view) { add(ConstMatrixView<T>(view)); });
        return sum_.info();
    }

    /// What another stream has seen, below (beside) what this one has; no forgetting. Throws shape_error when the sides
    /// that stay differ, argument_error when one keeps the growing side and the other does not.
    const StreamingInfo& merge(const StreamingSvd& other)
    {
        if (other.sum_.empty()) {
            return sum_.info();
        }
        require<shape_error>(sum_.empty() || sum_.extent() == other.sum_.extent(),
                             "StreamingSvd::merge: ", sum_.extent(), " and ", other.sum_.extent(),
                             by_rows() ? " columns" : " rows");
        require<argument_error>(
            options_.arriving == other.options_.arriving && options_.growing_side == other.options_.growing_side,
            "StreamingSvd::merge: the streams grow, or keep what grows, in different ways");
        sum_.absorb(other.sum_, 0, 0.0, 1.0, [](MatrixView<T>, int) {});
        return sum_.info();
    }

    [[nodiscard]] const StreamingInfo& info() const { return sum_.info(); }

    /// Singular vectors (n, rank) of the side that stays, V for rows and U for columns; empty before the first batch.
    [[nodiscard]] ConstMatrixView<T> vectors() const
    {
        return sum_.empty() ? ConstMatrixView<T>{} : sum_.vectors().col_block(0, sum_.info().rank);
    }

    /// The SVD as booked tensors; the growing side has no rows unless it is kept. `info` is that of the stream.
    [[nodiscard]] SvdFactors<T> factors() const
    {
        const Index rank = sum_.info().rank;
        const auto copy = [&](ConstMatrixView<T> from) {
            Tensor<T> result = workspace<T>(*memory_, from.rows, rank);
            S::copy(result.matrix(), from.col_block(0, rank));
            return result;
        };
        const ConstMatrixView<T> none{nullptr, 0, rank, rank, 1};
        Tensor<T> stays = copy(sum_.empty() ? none : sum_.vectors());
        Tensor<T> grows = copy(sum_.empty() || !options_.growing_side ? none : sum_.growing());
        SvdFactors<T> result{std::move(grows), host_row<T>(*memory_, rank), std::move(stays), {}};
        for (Index j = 0; j < rank; ++j) {
            result.s.data()[j] =
                static_cast<T>(std::ldexp(sum_.values()[static_cast<std::size_t>(j)], sum_.exponent()));
        }
        if (!by_rows()) {
            std::swap(result.u, result.v);
        }
        const StreamingInfo& stream = sum_.info();
        result.info.status = stream.status;
        result.info.rank = rank;
        result.info.captured_energy = stream.captured_energy;
        result.info.residual_estimate = stream.residual_estimate;
        result.info.residual_bound = stream.residual_bound;
        result.info.passes = 1;
        return result;
    }
    /// The same in a user's types.
    template <MatrixLike M>
    requires std::same_as<typename Family<M>::Scalar, T>
    [[nodiscard]] auto svd_as() const { return as_family<M>(factors()); }

    /// Everything, to go on from later: equal states go on with equal bits.
    [[nodiscard]] StreamingState<T> state() const { return sum_.state(); }

private:
    [[nodiscard]] bool by_rows() const { return options_.arriving == Stack::rows; }

    StreamingSvdOptions options_;
    Memory* memory_;
    detail::RowAccumulator<S, T> sum_;
};

}  // namespace wasi::linalg
