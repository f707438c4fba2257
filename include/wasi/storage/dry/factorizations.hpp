#pragma once
#include <algorithm>
#include <array>
#include <span>
#include <type_traits>
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/dry/run.hpp"
#include "wasi/storage/eigen/pieces.hpp"

namespace wasi::dry {

/// Products, orthonormal bases, singular values and eigenvalues: the workspaces and flops of EigenStorage's.
template <DryAnswers answers>
struct Factorizations {
    template <Scalar T>
    static void multiply(MatrixView<T> c, Value<T>, In<T> a, In<T>, Value<T>, Memory& memory)
    {
        const Index k = a.cols;
        memory.count_flops(2.0 * number(c.rows) * number(c.cols) * number(k));
        // EigenStorage computes a column-major C as Cᵀ = Bᵀ Aᵀ.
        const auto [m, n] = c.is_row_major() ? std::array{c.rows, c.cols} : std::array{c.cols, c.rows};
        const auto tiles = eigen::product_tiles(m, n, k);
        detail::tell_unbooked(memory, detail::packed_bytes<T>(memory, m, n, k));
        if (tiles.depth_chunks > 1) {
            detail::pass_through<T>(memory, tiles.depth_chunks * m * n);
        }
    }

    /// Householder: a column-major copy, the unit matrix and Q.
    template <Scalar T>
    [[nodiscard]] static Index orthonormalize(MatrixView<T> a, Memory& memory)
    {
        if (a.cols == 0) {
            return 0;
        }
        const double m = number(a.rows);
        const double n = number(a.cols);
        memory.count_flops(4.0 * m * n * n - 4.0 / 3.0 * n * n * n);
        detail::tell_unbooked(memory, 128.0 * static_cast<double>(sizeof(T)) * (m + n));
        const Tensor<T> copied = workspace<T>(memory, a.cols, a.rows);
        const Tensor<T> identity = workspace<T>(memory, a.cols, a.cols);
        const Tensor<T> q = workspace<T>(memory, a.cols, a.rows);
        return a.cols;
    }

    /// `usual`: the two passes of CholeskyQR2. `worst`: five passes, and A as it was.
    template <Scalar T>
    [[nodiscard]] static Index cholesky_orthonormalize(MatrixView<T> a, Memory& memory)
    {
        const Index n = a.cols;
        if (n == 0) {
            return 0;
        }
        Tensor<T> q = workspace<T>(memory, 0, 0);
        const Tensor<T> inverse = workspace<T>(memory, n, n);
        Tensor<double> square = workspace<double>(memory, n, n);
        constexpr int passes = answers == DryAnswers::usual ? 2 : 5;
        for (int pass = 0; pass < passes; ++pass) {
            gram<T>(square.matrix(), 0.0, a, memory);
            detail::tell_unbooked(memory, detail::squares_in_double(6.0, n));
            memory.count_flops(number(n) * number(n) * number(n));
            const auto multiply_upper = [&](MatrixView<T> to) {
                for (Index first = 0; first < n; first += eigen::triangle_block) {
                    const Index cols = std::min(eigen::triangle_block, n - first);
                    multiply<T>(to.col_block(first, cols), T(1), a.col_block(0, first + cols),
                                inverse.matrix().block(0, first, first + cols, cols), T(0), memory);
                }
            };
            if (answers == DryAnswers::usual && pass > 0) {
                multiply_upper(a);
                return n;
            }
            Tensor<T> next = workspace<T>(memory, a.rows, n);
            multiply_upper(next.matrix());
            q = std::move(next);
        }
        return -1;
    }

    template <class T>
    static void gram(MatrixView<double>, double, MatrixView<T> a, Memory& memory)
    {
        const Index n = a.cols;
        memory.count_flops(number(a.rows) * number(n) * number(n + 1));
        detail::tell_unbooked(memory, 8.0 * detail::squares_in_double(4.0, std::min(n, eigen::gram_tile + 32)) +
                                          detail::packed_bytes<double>(memory, n, n, a.rows));
        if (const Index pieces = eigen::gram_pieces(a.rows, n); pieces > 0) {
            detail::pass_through<double>(memory, pieces * n * n);
        }
    }

    template <class T>
    [[nodiscard]] static bool svd(MatrixView<T> a, Out<std::remove_const_t<T>>, OutRow<std::remove_const_t<T>> s,
                                  Out<std::remove_const_t<T>>, Memory& memory)
    {
        using Real = std::remove_const_t<T>;
        const auto [m, n] = std::array{std::max(a.rows, a.cols), std::min(a.rows, a.cols)};
        if (n == 0) {
            return true;
        }
        memory.count_flops(6.0 * number(m) * number(n) * number(n) + 20.0 * number(n) * number(n) * number(n));
        detail::tell_unbooked(
            memory, detail::squares_in_double(14.0, n) + 128.0 * static_cast<double>(sizeof(Real)) * number(m + n));
        const Tensor<Real> copied = workspace<Real>(memory, n, m);
        const Tensor<Real> q = workspace<Real>(memory, n, m);
        std::fill(s.begin(), s.begin() + n, Real(1));
        return true;
    }

    template <Scalar T>
    [[nodiscard]] static bool eigh(MatrixView<T> a, OutRow<T> w, Memory& memory)
    {
        const double n = number(a.rows);
        memory.count_flops(9.0 * n * n * n);
        detail::tell_unbooked(memory, detail::squares_in_double(4.0, a.rows));
        std::fill(w.begin(), w.begin() + a.rows, T(1));
        return true;
    }

    template <class Real = double>
    [[nodiscard]] static Index eigh_leading(MatrixView<Real> a, OutRow<Real> w, const ChooseCount& choose,
                                            Memory& memory)
    {
        const Index n = a.rows;
        if (n == 0) {
            return 0;
        }
        std::fill(w.begin(), w.begin() + n, Real(1));
        if (answers == DryAnswers::worst && n > 1) {
            w[static_cast<std::size_t>(n - 1)] = Real(0);
        }
        detail::tell_unbooked(memory, detail::squares_in_double(4.0, n));
        const double order = number(n);
        const Index count = std::clamp<Index>(choose(w), 0, n);
        if (n > 32) {
            memory.count_flops(4.0 / 3.0 * order * order * order);
            if (count == 0) {
                return 0;
            }
            if (10 * count <= 9 * n) {
                memory.count_flops(2.0 * order * order * number(count) + 4.0 * order * number(count) * number(count));
                return count;
            }
        }
        memory.count_flops(9.0 * order * order * order);
        return count;
    }

    /// `worst` refuses systems in double, which are those that callers can do without (subspace::rank_r_update).
    template <Scalar T>
    [[nodiscard]] static bool solve_spd(MatrixView<T> a, Out<T> b, Memory& memory)
    {
        const double n = number(a.rows);
        memory.count_flops(n * n * n / 3.0 + 2.0 * n * n * number(b.cols));
        const Tensor<T> copied = workspace<T>(memory, b.cols, b.rows);
        return answers == DryAnswers::usual || sizeof(T) < sizeof(double);
    }
    template <Scalar T>
    [[nodiscard]] static bool cholesky(MatrixView<T> a, Memory& memory)
    {
        const double n = number(a.rows);
        memory.count_flops(n * n * n / 3.0);
        return true;
    }
};

}  // namespace wasi::dry
