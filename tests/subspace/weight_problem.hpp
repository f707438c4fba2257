#pragma once
#include <cmath>
#include <cstdint>
#include <utility>

#include "support/matrices.hpp"
#include "wasi/storage/eigen.hpp"
#include "wasi/subspace/weight_subspace.hpp"

/// A weight with a known spectrum and a gradient P Qᵀ, and dense references for its steps.
namespace wasi_tests {

using wasi::EigenStorage;
using wasi::Tensor;
namespace linalg = wasi::linalg;

template <class T>
using Subspace = wasi::subspace::WeightSubspace<T, EigenStorage>;

/// W (O,I) with singular values j^-decay, and a gradient P Qᵀ with orthonormal Q.
template <class T>
struct Problem {
    Index outputs, inputs, gradient_rank;
    Tensor<T> w, p, q;

    Problem(Index o, Index i, Index r, double decay = 0.5, std::uint64_t seed = 1)
        : outputs(o), inputs(i), gradient_rank(r)
    {
        auto& memory = wasi::plain_memory();
        const Index k = std::min(o, i);
        auto u = tensor(random_matrix<T>(o, k, seed));
        auto v = tensor(random_matrix<T>(i, k, seed + 1));
        (void)EigenStorage::orthonormalize(u.matrix(), memory);
        (void)EigenStorage::orthonormalize(v.matrix(), memory);
        for (Index a = 0; a < o; ++a) {
            for (Index j = 0; j < k; ++j) {
                u.matrix()(a, j) *= static_cast<T>(std::pow(static_cast<double>(j + 1), -decay));
            }
        }
        w = Tensor<T>(memory, {}, {o, i});
        EigenStorage::multiply(w.matrix(), T(1), u.matrix(), v.matrix().transposed(), T(0), memory);
        p = tensor(random_matrix<T>(o, r, seed + 2));
        q = tensor(random_matrix<T>(i, r, seed + 3));
        (void)EigenStorage::orthonormalize(q.matrix(), memory);
        // ||dW|| = ||W||: then a step eta moves W by the share eta.
        const double scale = frobenius_norm(w.matrix()) / frobenius_norm(p.matrix());
        EigenStorage::add_scaled(p.matrix(), T(0), static_cast<T>(scale), std::as_const(p).matrix());
    }

    [[nodiscard]] static Tensor<T> tensor(const Matrix<T>& m)
    {
        Tensor<T> result(wasi::plain_memory(), {}, {m.view().rows, m.view().cols});
        EigenStorage::copy(result.matrix(), m.view());
        return result;
    }
    [[nodiscard]] linalg::Factored<T> gradient() const { return {p.matrix(), q.matrix(), true}; }
    [[nodiscard]] Subspace<T> start(Index rank) const
    {
        return Subspace<T>::start(w.matrix(), linalg::FixedRank{rank}, wasi::plain_memory(), {});
    }
};

/// W+ = alpha L R - eta P Qᵀ, dense, in double.
template <class T>
[[nodiscard]] Tensor<double> dense_step(const Subspace<T>& subspace, double eta, double shrink,
                                        const linalg::Factored<T>& gradient)
{
    auto& memory = wasi::plain_memory();
    Tensor<double> result(memory, {}, {subspace.outputs(), subspace.inputs()});
    for (Index o = 0; o < subspace.outputs(); ++o) {
        for (Index i = 0; i < subspace.inputs(); ++i) {
            double held = 0.0;
            for (Index k = 0; k < subspace.rank(); ++k) {
                held += static_cast<double>(subspace.left()(o, k)) * static_cast<double>(subspace.right()(k, i));
            }
            double step = 0.0;
            for (Index k = 0; k < gradient.rank(); ++k) {
                step += static_cast<double>(gradient.p(o, k)) * static_cast<double>(gradient.q(i, k));
            }
            result.matrix()(o, i) = (1.0 - shrink) * held - eta * step;
        }
    }
    return result;
}

/// The best approximation of rank k, dense.
[[nodiscard]] inline Tensor<double> best(const Tensor<double>& w, Index rank)
{
    auto& memory = wasi::plain_memory();
    const auto svd = linalg::truncated_svd<EigenStorage, double>(w.matrix(), {.rank = linalg::FixedRank{rank}}, memory);
    Tensor<double> scaled = wasi::clone<wasi::EigenStorage>(svd.u, wasi::Tag{});
    for (Index i = 0; i < scaled.matrix().rows; ++i) {
        for (Index k = 0; k < scaled.matrix().cols; ++k) {
            scaled.matrix()(i, k) *= svd.s.data()[k];
        }
    }
    Tensor<double> result(memory, {}, w.shape());
    EigenStorage::multiply(result.matrix(), 1.0, scaled.matrix(), svd.v.matrix().transposed(), 0.0, memory);
    return result;
}

template <class A, class B>
[[nodiscard]] double distance(const A& a, const B& b)
{
    double sum = 0.0;
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            const double gap = static_cast<double>(a(i, j)) - static_cast<double>(b(i, j));
            sum += gap * gap;
        }
    }
    return std::sqrt(sum);
}

template <class T>
[[nodiscard]] Tensor<T> dense(const Subspace<T>& subspace)
{
    return subspace.dense(wasi::plain_memory(), {});
}

/// ||R+ - L+ᵀ W+||, which is rounding when R is paired with the new L.
template <class T>
[[nodiscard]] double pairing_error(const Subspace<T>& after, const Tensor<double>& w_plus)
{
    Matrix<double> paired(after.rank(), after.inputs());
    for (Index k = 0; k < after.rank(); ++k) {
        for (Index i = 0; i < after.inputs(); ++i) {
            double sum = 0.0;
            for (Index o = 0; o < after.outputs(); ++o) {
                sum += static_cast<double>(after.left()(o, k)) * w_plus.matrix()(o, i);
            }
            paired(k, i) = sum;
        }
    }
    return distance(std::as_const(paired).view(), after.right());
}

}  // namespace wasi_tests
