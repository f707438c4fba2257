#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "support/naive_factorizations.hpp"
#include "support/naive_row_kernels.hpp"
#include "wasi/core/memory.hpp"
#include "wasi/storage/concept.hpp"

namespace wasi_tests {

/// The specification of the storage primitives as a program: plain loops, sums in wider arithmetic. It is strict where
/// a fast storage cannot afford to be. A result that is to be overwritten is filled with NaN first, so an algorithm
/// that relies on old contents fails; shapes and layouts that the concept demands are checked (std::logic_error).
/// Elementwise primitives may work in place (an input that is exactly the output); any other overlap of input and
/// output yields NaN.
struct NaiveStorage : NaiveRowKernels {
    template <wasi::Scalar T>
    static void multiply(View<T> c, Value<T> alpha, In<T> a, In<T> b, Value<T> beta, wasi::Memory& memory)
    {
        using W = Wide<T>;
        naive::expect(a.rows == c.rows && b.cols == c.cols && a.cols == b.rows, "multiply: shapes");
        memory.count_flops(2.0 * static_cast<double>(c.size()) * static_cast<double>(a.cols));
        naive::Columns<W> before(c);
        naive::poison(c);  // whatever beta: an A or B that overlaps C is found out
        std::vector<W> sums;
        for (Index i = 0; i < c.rows; ++i) {
            sums.assign(static_cast<std::size_t>(c.cols), W(0));
            for (Index p = 0; p < a.cols; ++p) {
                const W left = a(i, p);
                for (Index j = 0; j < c.cols; ++j) {
                    sums[static_cast<std::size_t>(j)] += left * static_cast<W>(b(p, j));
                }
            }
            for (Index j = 0; j < c.cols; ++j) {
                const W product = static_cast<W>(alpha) * sums[static_cast<std::size_t>(j)];
                c(i, j) = static_cast<T>(beta == T(0) ? product : product + static_cast<W>(beta) * before(i, j));
            }
        }
    }
    template <wasi::Scalar T>
    [[nodiscard]] static Index orthonormalize(View<T> a, wasi::Memory& memory)
    {
        const auto m = static_cast<double>(a.rows);
        const auto n = static_cast<double>(a.cols);
        if (a.cols > 0) {
            memory.count_flops(4.0 * m * n * n - 4.0 / 3.0 * n * n * n);
        }
        return naive::orthonormalize(a);
    }
    template <wasi::Scalar T>
    [[nodiscard]] static Index cholesky_orthonormalize(View<T> a, wasi::Memory& memory)
    {
        const auto n = static_cast<double>(a.cols);
        memory.count_flops(4.0 * static_cast<double>(a.rows) * n * n);
        if (!all_finite(a)) {
            return -1;
        }
        // Columns of length 1: independence has nothing to do with scale.
        std::vector<T> before;
        for_each(a, [&](Index i, Index j) { before.push_back(a(i, j)); });
        const auto element = [&](Index i, Index j) {
            return Wide<T>(before[static_cast<std::size_t>(i * a.cols + j)]);
        };
        const auto restore = [&] {
            for_each(a, [&](Index i, Index j) { a(i, j) = static_cast<T>(element(i, j)); });
            return Index{-1};
        };
        for (Index j = 0; j < a.cols; ++j) {
            Wide<T> square = 0;
            for (Index i = 0; i < a.rows; ++i) {
                square += element(i, j) * element(i, j);
            }
            for (Index i = 0; i < a.rows && square > Wide<T>(0); ++i) {
                a(i, j) = static_cast<T>(element(i, j) / std::sqrt(square));
            }
        }
        if (naive::orthonormalize(a) < a.cols) {
            return restore();
        }
        std::vector<Wide<T>> diagonal(static_cast<std::size_t>(a.cols), Wide<T>(0));  // R_jj = q_j . a_j, made positive
        for (Index j = 0; j < a.cols; ++j) {
            auto& value = diagonal[static_cast<std::size_t>(j)];
            for (Index i = 0; i < a.rows; ++i) {
                value += Wide<T>(a(i, j)) * element(i, j);
            }
            for (Index i = 0; i < a.rows && value < Wide<T>(0); ++i) {
                a(i, j) = -a(i, j);
            }
            value = std::abs(value);
        }
        const Wide<T> largest = diagonal.empty() ? Wide<T>(0) : *std::max_element(diagonal.begin(), diagonal.end());
        const Wide<T> threshold = static_cast<Wide<T>>(std::max(a.rows, a.cols)) * wasi::epsilon<T> * largest;
        return std::count_if(diagonal.begin(), diagonal.end(), [=](Wide<T> value) { return value > threshold; });
    }
    template <class T>
    static void gram(View<double> g, double beta, View<T> a, wasi::Memory& memory)
    {
        naive::expect(g.rows == a.cols && g.cols == a.cols, "gram: shapes");
        memory.count_flops(static_cast<double>(a.rows) * static_cast<double>(a.cols) * static_cast<double>(a.cols + 1));
        for_each(g, [&](Index i, Index j) {
            long double sum = 0;
            for (Index p = 0; p < a.rows; ++p) {
                sum += static_cast<long double>(a(p, i)) * static_cast<long double>(a(p, j));
            }
            g(i, j) = static_cast<double>(beta == 0.0 ? sum : sum + static_cast<long double>(beta) * g(i, j));
        });
    }
    [[nodiscard]] static Index eigh_leading(View<double> a, std::span<double> w, const wasi::ChooseCount& choose,
                                            wasi::Memory& memory)
    {
        if (!eigh<double>(a, w, memory)) {
            return -1;
        }
        const Index count = std::clamp<Index>(choose(w), 0, a.cols);
        naive::poison(a.col_block(count, a.cols - count));
        return count;
    }
    template <class T>
    [[nodiscard]] static bool svd(View<T> a, Out<std::remove_const_t<T>> u, OutRow<std::remove_const_t<T>> s,
                                  Out<std::remove_const_t<T>> v, wasi::Memory& memory)
    {
        const auto m = static_cast<double>(std::max(a.rows, a.cols));
        const auto n = static_cast<double>(std::min(a.rows, a.cols));
        memory.count_flops(6.0 * m * n * n + 20.0 * n * n * n);
        return naive::svd<std::remove_const_t<T>>(a, u, s, v);
    }
    template <wasi::Scalar T>
    [[nodiscard]] static bool eigh(View<T> a, OutRow<T> w, wasi::Memory& memory)
    {
        const auto n = static_cast<double>(a.rows);
        memory.count_flops(9.0 * n * n * n);
        return naive::eigh<T>(a, w);
    }
    template <wasi::Scalar T>
    [[nodiscard]] static bool solve_spd(View<T> a, Out<T> b, wasi::Memory& memory)
    {
        const auto n = static_cast<double>(a.rows);
        memory.count_flops(n * n * n / 3.0 + 2.0 * n * n * static_cast<double>(b.cols));
        return naive::solve_spd<T>(a, b);
    }
    template <wasi::Scalar T>
    [[nodiscard]] static bool cholesky(View<T> a, wasi::Memory& memory)
    {
        const auto n = static_cast<double>(a.rows);
        memory.count_flops(n * n * n / 3.0);
        return naive::cholesky<T>(a);
    }
    template <wasi::Scalar T>
    static void copy(View<T> to, In<T> from)
    {
        overwrite(
            to, [](Wide<T> x) { return x; }, from);
    }
    template <wasi::Scalar To, class From>
    static void convert(View<To> to, View<From> from)
    {
        naive::expect(to.shape() == from.shape(), "convert: shapes");
        for_each(to, [&](Index i, Index j) { to(i, j) = static_cast<To>(from(i, j)); });
    }
    template <wasi::Scalar T>
    static void add_scaled(View<T> y, Value<T> beta, Value<T> alpha, In<T> x)
    {
        using W = Wide<T>;
        if (beta == T(0)) {
            overwrite(
                y, [alpha](W value) { return W(alpha) * value; }, x);
            return;
        }
        naive::expect(y.shape() == x.shape(), "add_scaled: shapes");
        for_each(y, [&](Index i, Index j) { y(i, j) = static_cast<T>(W(beta) * W(y(i, j)) + W(alpha) * W(x(i, j))); });
    }
    template <class T>
    [[nodiscard]] static double dot(View<T> a, In<std::remove_const_t<T>> b)
    {
        naive::expect(a.shape() == b.shape(), "dot: shapes");
        long double sum = 0;
        for_each(
            a, [&](Index i, Index j) { sum += static_cast<long double>(a(i, j)) * static_cast<long double>(b(i, j)); });
        return static_cast<double>(sum);
    }
    template <class T>
    [[nodiscard]] static bool all_finite(View<T> a)
    {
        bool finite = true;
        for_each(a, [&](Index i, Index j) { finite = finite && std::isfinite(a(i, j)); });
        return finite;
    }
    template <class T>
    [[nodiscard]] static double largest(View<T> a)
    {
        double found = 0.0;
        for_each(a, [&](Index i, Index j) { found = std::max(found, std::abs(static_cast<double>(a(i, j)))); });
        return all_finite(a) ? found : std::numeric_limits<double>::infinity();
    }
    template <wasi::Scalar T>
    static void fill(View<T> y, Value<T> value)
    {
        for_each(y, [&](Index i, Index j) { y(i, j) = value; });
    }
    template <wasi::Scalar T>
    static void add_constant(View<T> y, Value<T> value)
    {
        for_each(y, [&](Index i, Index j) { y(i, j) += value; });
    }
    template <wasi::Scalar T>
    static void fill_normal(View<T> a, wasi::RandomKey key)
    {
        for_each(a, [&](Index i, Index j) {
            a(i, j) = static_cast<T>(key.normal(static_cast<std::uint64_t>(i * a.cols + j)));
        });
    }
    template <wasi::Scalar T>
    static void adamw_step(View<T> w, Out<T> m, Out<T> v, In<T> g, const wasi::AdamWStep<T>& step)
    {
        using W = Wide<T>;
        expect_plain(w, m);
        expect_plain(w, v);
        expect_plain(w, g);
        for_each(w, [&](Index i, Index j) {
            const W gradient = W(step.scale) * W(g(i, j));
            const W mean = W(step.beta1) * W(m(i, j)) + (W(1) - W(step.beta1)) * gradient;
            const W square = W(step.beta2) * W(v(i, j)) + (W(1) - W(step.beta2)) * gradient * gradient;
            const W length = std::sqrt(square) * W(step.second_correction) + W(step.epsilon);
            m(i, j) = static_cast<T>(mean);
            v(i, j) = static_cast<T>(square);
            w(i, j) = static_cast<T>((W(1) - W(step.shrink)) * W(w(i, j)) - W(step.corrected_rate) * mean / length);
        });
    }
};

static_assert(wasi::OptimizerStorageFor<NaiveStorage, float> && wasi::OptimizerStorageFor<NaiveStorage, double>);

}  // namespace wasi_tests
