#pragma once
#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "wasi/linalg/principal_angles.hpp"
#include "wasi/linalg/product_svd.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/measure/subspace_record.hpp"
#include "wasi/storage/state.hpp"

/// How far subspaces have moved.
namespace wasi::measure {

/// ||Uᵀ V||_F² over the smaller number of columns; both have orthonormal columns. 2 n p q flops.
template <class S, Scalar T>
[[nodiscard]] double subspace_overlap(ConstMatrixView<T> u, ConstMatrixView<T> v, Memory& memory)
{
    Tensor<T> cosines = workspace<T>(memory, u.cols, v.cols);
    S::multiply(cosines.matrix(), T(1), u.transposed(), v, T(0), memory);
    const auto c = std::as_const(cosines).matrix();
    return std::min(1.0, S::dot(c, c) / static_cast<double>(std::max<Index>(std::min(u.cols, v.cols), 1)));
}

/// ||X V||² / total for orthonormal V.
template <class S, Scalar T>
[[nodiscard]] double share_inside(ConstMatrixView<T> x, ConstMatrixView<T> v, double total, Memory& memory)
{
    Tensor<T> along = workspace<T>(memory, x.rows, v.cols);
    S::multiply(along.matrix(), T(1), x, v, T(0), memory);
    return std::min(1.0, S::dot(std::as_const(along).matrix(), std::as_const(along).matrix()) / total);
}

/// The basis of a subspace at the start and now.
template <Scalar T, class S>
class WatchedBasis {
public:
    /// 0 before the first.
    [[nodiscard]] Index rank() const { return start_.empty() ? 0 : start_.shape()[1]; }
    [[nodiscard]] ConstMatrixView<T> start() const { return start_.matrix(); }
    [[nodiscard]] ConstMatrixView<T> now() const { return now_.matrix(); }

    /// Takes an orthonormal basis (n,K); the first is the start.
    SubspaceDrift move_to(Tensor<T> basis, Memory& memory)
    {
        SubspaceDrift drift;
        if (start_.empty()) {
            start_ = clone<S>(basis, Tag{Use::workspace, 0});
            now_ = std::move(basis);
            return drift;
        }
        const auto b = std::as_const(basis).matrix();
        drift.overlap = subspace_overlap<S, T>(start(), b, memory);
        drift.overlap_last = subspace_overlap<S, T>(now(), b, memory);
        drift.largest_angle =
            std::asin(linalg::sine_of_largest_angle<S, T>(start(), b, memory)) * 180.0 / std::numbers::pi;
        now_ = std::move(basis);
        return drift;
    }

    void state(State& state, std::string_view name, Memory& memory)
    {
        state.tensor(std::string(name) + ".start", start_, memory, Tag{Use::workspace, 0});
        state.tensor(std::string(name) + ".now", now_, memory, Tag{Use::workspace, 0});
    }

private:
    Tensor<T> start_;
    Tensor<T> now_;
};

/// Share of ||W||² inside U0 (..) V0ᵀ, the subspaces of the start, for W = U diag(s) Vᵀ as it is now.
template <class S, Scalar T>
[[nodiscard]] double held_between(const WatchedBasis<T, S>& left, const WatchedBasis<T, S>& right, std::span<const T> s,
                                  Memory& memory)
{
    double total = 0.0;
    for (const T value : s) {
        total += static_cast<double>(value) * static_cast<double>(value);
    }
    if (!(total > 0.0)) {
        return 1.0;
    }
    Tensor<T> there = workspace<T>(memory, 1, std::ssize(s));
    memory.write(there.data(), s.data(), there.bytes());
    Tensor<T> a = workspace<T>(memory, left.start().cols, left.now().cols);
    S::multiply(a.matrix(), T(1), left.start().transposed(), left.now(), T(0), memory);
    S::scale_columns(a.matrix(), std::as_const(there).span());
    Tensor<T> b = workspace<T>(memory, right.now().cols, right.start().cols);
    S::multiply(b.matrix(), T(1), right.now().transposed(), right.start(), T(0), memory);
    Tensor<T> inside = workspace<T>(memory, left.start().cols, right.start().cols);
    S::multiply(inside.matrix(), T(1), std::as_const(a).matrix(), std::as_const(b).matrix(), T(0), memory);
    return std::min(1.0, S::dot(std::as_const(inside).matrix(), std::as_const(inside).matrix()) / total);
}

}  // namespace wasi::measure
