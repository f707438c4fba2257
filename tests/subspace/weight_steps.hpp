#pragma once
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "subspace/weight_problem.hpp"

/// Single steps of a weight subspace along a gradient P Qᵀ, to be taken in either form and in either precision.
namespace wasi_tests {

using wasi::subspace::UpdateForm;

template <class T>
[[nodiscard]] Tensor<T> filled(Index rows, Index cols, std::uint64_t seed, bool orthonormal = false)
{
    Tensor<T> result(wasi::plain_memory(), {}, {rows, cols});
    EigenStorage::fill_normal(result.matrix(), wasi::RandomKey(seed));
    if (orthonormal) {
        (void)EigenStorage::orthonormalize(result.matrix(), wasi::plain_memory());
    }
    return result;
}

template <class To, class From>
[[nodiscard]] Tensor<To> as(ConstMatrixView<From> a)
{
    Tensor<To> result(wasi::plain_memory(), {}, {a.rows, a.cols});
    EigenStorage::convert(result.matrix(), a);
    return result;
}

template <class T>
void scale_rows(Tensor<T>& r, const std::function<double(Index)>& factor)
{
    for (Index k = 0; k < r.matrix().rows; ++k) {
        for (Index i = 0; i < r.matrix().cols; ++i) {
            r.matrix()(k, i) *= static_cast<T>(factor(k));
        }
    }
}

/// L, R, P, Q of one step, and the step.
template <class T>
struct Step {
    std::string name;
    Tensor<T> left, right, p, q;
    double eta = 0.1;
    double shrink = 1e-3;
    bool q_orthonormal = true;

    [[nodiscard]] Subspace<T> subspace() const
    {
        return Subspace<T>::from_factors(wasi::clone<wasi::EigenStorage>(left, wasi::Tag{}),
                                         wasi::clone<wasi::EigenStorage>(right, wasi::Tag{}));
    }
    [[nodiscard]] linalg::Factored<T> gradient() const { return {p.matrix(), q.matrix(), q_orthonormal}; }
    [[nodiscard]] Subspace<T> after(UpdateForm form) const
    {
        auto result = subspace();
        result.update(static_cast<T>(eta), static_cast<T>(shrink), gradient(), form);
        return result;
    }
    /// The same step in double, from the same factors.
    [[nodiscard]] Step<double> in_double() const
    {
        return {name,
                as<double, T>(left.matrix()),
                as<double, T>(right.matrix()),
                as<double, T>(p.matrix()),
                as<double, T>(q.matrix()),
                static_cast<double>(static_cast<T>(eta)),
                static_cast<double>(static_cast<T>(shrink)),
                q_orthonormal};
    }
    /// The smallest singular value of A = (1 - shrink) R - eta LᵀP Qᵀ: the subspace turns by one over it.
    [[nodiscard]] double smallest_value() const
    {
        const auto before = in_double();
        const auto w_plus = dense_step(before.subspace(), before.eta, before.shrink, before.gradient());
        Tensor<double> a(wasi::plain_memory(), {}, {right.matrix().rows, right.matrix().cols});
        EigenStorage::multiply(a.matrix(), 1.0, before.left.matrix().transposed(), w_plus.matrix(), 0.0,
                               wasi::plain_memory());
        const auto svd = linalg::thin_svd<EigenStorage, double>(std::as_const(a).matrix(), wasi::plain_memory());
        return svd.s.data()[svd.s.size() - 1];
    }
};

template <class T>
[[nodiscard]] Step<T> generic(std::string name, Index outputs, Index inputs, Index rank, Index r)
{
    Step<T> step{std::move(name), filled<T>(outputs, rank, 1, true), filled<T>(rank, inputs, 2),
                 filled<T>(outputs, r, 3), filled<T>(inputs, r, 4, true)};
    scale_rows(step.right, [](Index k) { return 1.0 / std::sqrt(static_cast<double>(k + 1)); });
    return step;
}

}  // namespace wasi_tests
