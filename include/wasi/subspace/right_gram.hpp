#pragma once
#include <cmath>
#include <utility>

#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/storage/state.hpp"

namespace wasi::subspace {

namespace detail {

/// A (m,n) in double, as a workspace.
template <class S, Scalar T>
[[nodiscard]] Tensor<double> widened(ConstMatrixView<T> a, Memory& memory)
{
    Tensor<double> wide = workspace<double>(memory, a.rows, a.cols);
    S::convert(wide.matrix(), a);
    return wide;
}

/// A (m,n) in the precision of the factors, as a workspace.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> narrowed(ConstMatrixView<double> a, Memory& memory)
{
    Tensor<T> narrow = workspace<T>(memory, a.rows, a.cols);
    S::convert(narrow.matrix(), a);
    return narrow;
}

/// C = beta C + X Yᵀ + Y Xᵀ for C (n,n), X and Y (n,k): one product of depth 2k.
template <class S>
void add_symmetric_pair(MatrixView<double> c, double beta, ConstMatrixView<double> x, ConstMatrixView<double> y,
                        Memory& memory)
{
    const Index k = x.cols;
    Tensor<double> both = workspace<double>(memory, x.rows, 2 * k);     // X beside Y
    Tensor<double> swapped = workspace<double>(memory, x.rows, 2 * k);  // Y beside X
    S::copy(both.matrix().col_block(0, k), x);
    S::copy(both.matrix().col_block(k, k), y);
    S::copy(swapped.matrix().col_block(0, k), y);
    S::copy(swapped.matrix().col_block(k, k), x);
    S::multiply(c, 1.0, both.matrix(), swapped.matrix().transposed(), beta, memory);
}

}  // namespace detail

/// M = R Rᵀ (K,K) of the right factor R (K,I), held in double: the squares of a condition above 1e4 are out of float's
/// reach, and its Cholesky factorisation fails there. Rank-r steps update M at O(K² r) (see rank_r_update); rounding of
/// a float R, which M does not see, makes it drift, so after `lifetime` steps it is computed again. Where the squares
/// of a double R would leave double, M is (2^k R) (2^k R)ᵀ, and `shift` tells k. K² doubles, booked as given and only
/// while there is one. Thread safety: one object, one thread at a time.
template <Scalar T, class S>
requires StorageFor<S, T> && StorageFor<S, double>
class RightGram {
public:
    /// Steps after which M is computed again: K² I flops shared among so many.
    static constexpr Index lifetime = 64;

    RightGram(Memory& memory, Tag tag) : memory_(&memory), tag_(tag) {}

    /// False before `compute` and after `forget`.
    [[nodiscard]] bool known() const { return !matrix_.empty(); }
    [[nodiscard]] ConstMatrixView<double> matrix() const { return matrix_.matrix(); }
    /// The k of M = (2^k R) (2^k R)ᵀ; 0 for an R of ordinary size and for every float R.
    [[nodiscard]] int shift() const { return shift_; }
    /// Steps since M was computed from R.
    [[nodiscard]] Index age() const { return age_; }
    [[nodiscard]] std::size_t bytes() const { return matrix_.empty() ? 0 : matrix_.bytes(); }

    /// M = R Rᵀ, at the scale that R needs. K² I flops in double.
    void compute(ConstMatrixView<T> right)
    {
        compute(right, 0);
        if constexpr (sizeof(T) == sizeof(double)) {
            double trace = 0.0;
            for (Index j = 0; j < right.rows; ++j) {
                trace += matrix_.matrix()(j, j);
            }
            const int k = linalg::detail::is_ordinary<T>(trace * trace)
                              ? 0
                              : linalg::detail::ordinary_shift<T>(S::largest(right));
            if (k != 0) {
                compute(right, k);
            }
        }
    }

    /// M = (2^k R) (2^k R)ᵀ.
    void compute(ConstMatrixView<T> right, int k)
    {
        if (!known()) {
            matrix_ = Tensor<double>(*memory_, tag_, Shape{right.rows, right.rows});
        }
        if (k == 0) {
            S::gram(matrix_.matrix(), 0.0, right.transposed(), *memory_);
        } else {
            const linalg::detail::ScaledCopy<S, T> scaled(right, k, *memory_);
            S::gram(matrix_.matrix(), 0.0, scaled.matrix().transposed(), *memory_);
        }
        age_ = 0;
        shift_ = k;
    }

    /// Takes M of the next step.
    void advance(ConstMatrixView<double> next)
    {
        S::copy(matrix_.matrix(), next);
        ++age_;
    }

    /// R changed in another way: M is void, and its memory free.
    void forget() { matrix_.reset(); }

    /// M, its scale and its age; nothing where it is void.
    void state(State& visitor)
    {
        visitor.tensor("gram", matrix_, *memory_, tag_);
        Index shift = shift_;
        visitor.number("gram_shift", shift);
        shift_ = static_cast<int>(shift);
        visitor.number("gram_age", age_);
    }

    /// How far an eigenvalue of M, of trace `trace`, may be off: rounding of M itself, and of a float R over the steps
    /// since M was computed, whose errors have random signs.
    [[nodiscard]] double uncertainty(double trace) const
    {
        const double steps = std::sqrt(static_cast<double>(age_));
        return trace * (4.0 * epsilon<double> +
                        0.5 * steps * static_cast<double>(epsilon<T>) / static_cast<double>(matrix_.shape()[0]));
    }

private:
    Memory* memory_;
    Tag tag_;
    Tensor<double> matrix_;  // (K,K)
    Index age_ = 0;
    int shift_ = 0;
};

}  // namespace wasi::subspace
