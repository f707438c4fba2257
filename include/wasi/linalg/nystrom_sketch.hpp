#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/storage/scale.hpp"

namespace wasi::linalg {

// clang-format off

/// A symmetric map that is known by its products: rows(), cols(), and apply(y, x, memory), Y = A X. See LinearOperator.
template <class Operator, class T>
concept SymmetricOperator = requires(const Operator& a, MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) {
    { a.rows() } -> std::convertible_to<Index>;
    { a.cols() } -> std::convertible_to<Index>;
    { a.apply(y, x, memory) };
};
// clang-format on

namespace detail {

/// A growing sketch Y = A Ω with orthonormal Ω, and the approximation that it gives.
template <class S, Scalar T, class Operator>
class NystromSketch {
public:
    /// `of_operator`: the size of A's elements is not known, and is taken from the first products.
    NystromSketch(const Operator& a, bool of_operator, RandomKey key, Memory& memory)
        : a_(&a), of_operator_(of_operator), key_(key), memory_(&memory), size_(a.rows())
    {
    }

    [[nodiscard]] bool of_operator() const { return of_operator_; }
    [[nodiscard]] double factor() const { return power_of_two(exponent_); }

    /// Y = A X over 2^exponent, the exponent that of the first products.
    void apply(MatrixView<T> y, ConstMatrixView<T> x)
    {
        a_->apply(y, x, *memory_);
        const double largest = S::largest(ConstMatrixView<T>(y));
        require<argument_error>(std::isfinite(largest), "nystrom: A applied to finite vectors gave NaN or infinity");
        if (width_ == 0 && of_operator_) {
            exponent_ = scale_exponent<T>(largest);
        }
        if (exponent_ != 0) {
            S::add_scaled(y, T(0), static_cast<T>(power_of_two(-exponent_)), ConstMatrixView<T>(y));
        }
    }

    void widen(Index width)
    {
        Tensor<T> omega = workspace<T>(*memory_, size_, width);
        Tensor<T> image = workspace<T>(*memory_, size_, width);
        const auto fresh = omega.matrix().col_block(width_, width - width_);
        S::fill_normal(fresh, key_.derive(width));
        const auto old = omega.matrix().col_block(0, width_);
        if (width_ > 0) {
            S::copy(old, std::as_const(omega_).matrix());
            S::copy(image.matrix().col_block(0, width_), std::as_const(image_).matrix());
        }
        for (int sweep = 0; sweep < 2; ++sweep) {  // twice is enough
            if (width_ > 0) {
                Tensor<T> overlap = workspace<T>(*memory_, width_, fresh.cols);
                S::multiply(overlap.matrix(), T(1), ConstMatrixView<T>(old.transposed()), ConstMatrixView<T>(fresh),
                            T(0), *memory_);
                S::multiply(fresh, T(-1), ConstMatrixView<T>(old), std::as_const(overlap).matrix(), T(1), *memory_);
            }
            (void)orthonormalize_columns<S, T>(fresh, *memory_);
        }
        Tensor<T> products = workspace<T>(*memory_, size_, fresh.cols);
        Tensor<T> directions = workspace<T>(*memory_, size_, fresh.cols);
        S::copy(directions.matrix(), ConstMatrixView<T>(fresh));
        apply(products.matrix(), std::as_const(directions).matrix());
        S::copy(image.matrix().col_block(width_, fresh.cols), std::as_const(products).matrix());
        omega_ = std::move(omega);
        image_ = std::move(image);
        width_ = width;
    }

    /// U (n,l) and s (l) of Y (ΩᵀY)⁻¹ Yᵀ, with A + shift 1 for A while it is formed (Tropp, Yurtsever, Udell, Cevher
    /// 2017, algorithm 3; the root of ΩᵀY by its eigenvectors in place of Cholesky). False when an iteration inside did
    /// not converge; the numbers are not to be trusted then.
    [[nodiscard]] bool factor(Tensor<T>& vectors, std::vector<double>& values)
    {
        const double size = std::sqrt(S::dot(std::as_const(image_).matrix(), image_.matrix()));
        const double shift = static_cast<double>(epsilon<T>) * size;
        Tensor<T> core = workspace<T>(*memory_, width_, width_);
        S::multiply(core.matrix(), T(1), ConstMatrixView<T>(omega_.matrix().transposed()),
                    std::as_const(image_).matrix(), T(0), *memory_);
        const double clear = 100.0 * std::sqrt(static_cast<double>(size_)) * static_cast<double>(epsilon<T>) * size;
        make_symmetric(core.matrix(), shift, clear);
        Tensor<T> squares = host_row<T>(*memory_, width_);
        if (!S::eigh(core.matrix(), squares.span(), *memory_)) {
            vectors = clone<S>(omega_, Tag{});
            values.assign(static_cast<std::size_t>(width_), 0.0);
            return false;
        }
        const double least = static_cast<double>(squares.span().back()) - shift;
        require<argument_error>(least >= -clear, "nystrom: A is not positive semidefinite: <Ax,x> = ", least * factor(),
                                " for a vector of length 1, where ||A Ω||_F is ", size * factor());
        Tensor<T> shifted = workspace<T>(*memory_, size_, width_);
        S::copy(shifted.matrix(), std::as_const(image_).matrix());
        S::add_scaled(shifted.matrix(), T(1), static_cast<T>(shift), std::as_const(omega_).matrix());
        for (Index j = 0; j < width_; ++j) {
            const auto square = static_cast<double>(squares.data()[j]);
            const auto column = core.matrix().col_block(j, 1);
            const T root = square > 0.5 * shift ? static_cast<T>(1.0 / std::sqrt(square)) : T(0);
            S::add_scaled(column, T(0), root, ConstMatrixView<T>(column));
        }
        Tensor<T> half = workspace<T>(*memory_, size_, width_);
        S::multiply(half.matrix(), T(1), std::as_const(shifted).matrix(), std::as_const(core).matrix(), T(0), *memory_);
        SvdFactors<T> svd = thin_svd<S, T>(std::as_const(half).matrix(), *memory_);
        values.clear();
        for (const T value : svd.s.span()) {
            const auto wide = static_cast<double>(value);
            values.push_back(std::max(0.0, wide * wide - shift));
        }
        vectors = std::move(svd.u);
        return svd.info.status == Status::ok;
    }

private:
    /// (C + Cᵀ) / 2 + shift 1, after one look at whether C, which is ΩᵀA Ω, is symmetric.
    void make_symmetric(MatrixView<T> core, double shift, double clear) const
    {
        Tensor<T> turned = workspace<T>(*memory_, core.rows, core.cols);
        S::copy(turned.matrix(), ConstMatrixView<T>(core.transposed()));
        double worst = 0.0;
        std::pair<Index, Index> at{0, 0};
        for (Index i = 0; i < core.rows; ++i) {
            for (Index j = 0; j < i; ++j) {
                const double gap = std::abs(static_cast<double>(core(i, j)) - static_cast<double>(core(j, i)));
                if (gap > worst) {
                    worst = gap;
                    at = {i, j};
                }
            }
        }
        require<argument_error>(
            worst <= clear,
            "nystrom: A is not symmetric: <Ax,y> = ", static_cast<double>(core(at.second, at.first)) * factor(),
            " and <x,Ay> = ", static_cast<double>(core(at.first, at.second)) * factor(), " for vectors of length 1");
        S::add_scaled(core, T(0.5), T(0.5), std::as_const(turned).matrix());
        for (Index i = 0; i < core.rows; ++i) {
            core(i, i) += static_cast<T>(shift);
        }
    }

    const Operator* a_;
    bool of_operator_;
    RandomKey key_;
    Memory* memory_;
    Index size_;
    Index width_ = 0;
    int exponent_ = 0;
    Tensor<T> omega_;  // (n, width)
    Tensor<T> image_;  // (n, width)
};

}  // namespace detail

}  // namespace wasi::linalg
