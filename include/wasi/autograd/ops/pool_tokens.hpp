#pragma once
#include <utility>

#include "wasi/autograd/tape.hpp"

namespace wasi::autograd {

/// Which tokens are read of a sample.
struct TokenPool {
    Index leading = 1;     ///< the first so many, side by side
    Index mean_from = -1;  ///< and, behind them, the mean of the tokens from this one on; negative: no mean
};

/// (B,N,D) becomes (B, k D): the first `leading` tokens and the mean of those from `mean_from` on, side by side. Saves
/// nothing. B N D flops. Throws shape_error where there are no such tokens.
template <Scalar T, class S>
[[nodiscard]] Variable<T> pool_tokens(const Context<T, S>& context, const Variable<T>& x, TokenPool pool)
{
    const bool mean = pool.mean_from >= 0;
    require<shape_error>(x.shape().order() == 3 && pool.leading >= 0 && pool.leading <= x.shape()[1] &&
                             (mean ? pool.mean_from < x.shape()[1] : pool.leading > 0),
                         "pool_tokens: ", pool.leading, " leading tokens and a mean from ", pool.mean_from, " on of ",
                         shape_text(x.shape()));
    const Index batch = x.shape()[0];
    const Index tokens = x.shape()[1];
    const Index dim = x.shape()[2];
    const Index lead = pool.leading * dim;
    const Index averaged = tokens - pool.mean_from;
    Tensor<T> y = context.make(Shape{batch, lead + (mean ? dim : 0)});
    if (lead > 0) {
        S::copy(y.matrix().col_block(0, lead), x.value().template view<3>().rows_by(1).col_block(0, lead));
    }
    if (mean) {
        Tensor<T> sum = workspace<T>(context.memory, 1, dim);
        for (Index b = 0; b < batch; ++b) {
            S::column_sums(sum.span(), x.value().template view<3>().slice(b).row_block(pool.mean_from, averaged),
                           context.memory);
            S::add_scaled(y.matrix().row_block(b, 1).col_block(lead, dim), T(0), T(1) / static_cast<T>(averaged),
                          std::as_const(sum).matrix());
        }
    }
    if (context.tape == nullptr || !x.wants_gradient()) {
        return Variable<T>(std::move(y));
    }
    return context.tape->record(
        std::move(y), {},
        [slot = x.slot(), batch, tokens, dim, lead, mean, averaged, pool](SharedTensor<T> dy, auto& pass) {
            Tensor<T> dx(pass.memory(), Tag{Use::gradient, 0}, Shape{batch, tokens, dim});
            S::fill(dx.matrix(), T(0));
            const auto upstream = std::as_const(*dy).matrix();
            if (lead > 0) {
                S::copy(dx.template view<3>().rows_by(1).col_block(0, lead), upstream.col_block(0, lead));
            }
            if (mean) {
                Tensor<T> share = workspace<T>(pass.memory(), 1, dim);
                for (Index b = 0; b < batch; ++b) {
                    S::add_scaled(share.matrix(), T(0), T(1) / static_cast<T>(averaged),
                                  upstream.row_block(b, 1).col_block(lead, dim));
                    S::add_to_rows(dx.template view<3>().slice(b).row_block(pool.mean_from, averaged),
                                   std::as_const(share).span());
                }
            }
            pass.add(slot, std::move(dx));
        });
}

}  // namespace wasi::autograd
