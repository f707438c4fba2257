#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <vector>

#include "support/naive_elements.hpp"
#include "support/naive_packing.hpp"
#include "wasi/core/memory.hpp"

namespace wasi_tests {

/// The row kernels of the naive storage.
struct NaiveRowKernels : NaiveElements {
    template <wasi::Scalar T>
    static void add_to_rows(View<T> y, InRow<T> v)
    {
        expect_plain(y);
        naive::expect(static_cast<Index>(v.size()) == y.cols, "add_to_rows: shapes");
        for_each(y, [&](Index i, Index j) { y(i, j) += at(v, j); });
    }
    template <wasi::Scalar T>
    static void column_sums(std::span<T> sum, In<T> y, wasi::Memory&)
    {
        expect_plain(y);
        naive::expect(static_cast<Index>(sum.size()) == y.cols, "column_sums: shapes");
        naive::poison(sum);
        for (Index j = 0; j < y.cols; ++j) {
            Wide<T> total = 0;
            for (Index i = 0; i < y.rows; ++i) {
                total += y(i, j);
            }
            at(sum, j) = static_cast<T>(total);
        }
    }
    template <wasi::Scalar T>
    static void multiply_elements(View<T> y, In<T> x)
    {
        expect_plain(y, x);
        for_each(y, [&](Index i, Index j) { y(i, j) *= x(i, j); });
    }
    template <wasi::Scalar T>
    static void scale_columns(View<T> y, InRow<T> v)
    {
        expect_plain(y);
        naive::expect(static_cast<Index>(v.size()) == y.cols, "scale_columns: shapes");
        for_each(y, [&](Index i, Index j) { y(i, j) *= at(v, j); });
    }
    template <wasi::Scalar T>
    static void divide_by_root(View<T> y, In<T> x)
    {
        expect_plain(y, x);
        for_each(y, [&](Index i, Index j) { y(i, j) /= std::sqrt(x(i, j)); });
    }
    template <wasi::Scalar T>
    static void quick_gelu(View<T> y, In<T> x)
    {
        using W = Wide<T>;
        expect_plain(y, x);
        overwrite(
            y, [](W value) { return value / (W(1) + std::exp(W(-1.702L) * value)); }, x);
    }
    template <wasi::Scalar T>
    static void quick_gelu_backward(View<T> dx, In<T> dy, In<T> x)
    {
        using W = Wide<T>;
        expect_plain(dx, dy);
        expect_plain(dx, x);
        const auto slope = [](W value) {
            const W share = W(1) / (W(1) + std::exp(W(-1.702L) * value));
            return share * (W(1) + W(1.702L) * value * (W(1) - share));
        };
        overwrite(
            dx, [&](W upstream, W value) { return upstream * slope(value); }, dy, x);
    }
    template <wasi::Scalar T>
    static void gelu(View<T> y, In<T> x)
    {
        expect_plain(y, x);
        overwrite(
            y, [](Wide<T> value) { return value * normal_distribution(value); }, x);
    }
    template <wasi::Scalar T>
    static void gelu_backward(View<T> dx, In<T> dy, In<T> x)
    {
        using W = Wide<T>;
        expect_plain(dx, dy);
        expect_plain(dx, x);
        const W height = W(1) / std::sqrt(W(2) * std::numbers::pi_v<W>);
        const auto slope = [height](W value) {
            return normal_distribution(value) + value * height * std::exp(-value * value / W(2));
        };
        overwrite(
            dx, [&](W upstream, W value) { return upstream * slope(value); }, dy, x);
    }
    template <wasi::Scalar T>
    static void relu(View<T> y, In<T> x)
    {
        using W = Wide<T>;
        expect_plain(y, x);
        overwrite(
            y, [](W value) { return value > W(0) ? value : W(0); }, x);
    }
    template <wasi::Scalar T>
    static void relu_backward(View<T> dx, In<T> dy, In<T> x)
    {
        using W = Wide<T>;
        expect_plain(dx, dy);
        expect_plain(dx, x);
        overwrite(
            dx, [](W upstream, W value) { return value > W(0) ? upstream : W(0); }, dy, x);
    }
    template <wasi::Scalar T>
    static void softmax(View<T> y, Value<T> scale)
    {
        expect_plain(y);
        for (Index i = 0; i < y.rows; ++i) {
            const auto probability = softmax_of_row<T>(y, i, scale);
            for (Index j = 0; j < y.cols; ++j) {
                y(i, j) = static_cast<T>(probability[static_cast<std::size_t>(j)]);
            }
        }
    }
    template <wasi::Scalar T>
    static void softmax_backward(View<T> dy, In<T> p, Value<T> scale)
    {
        using W = Wide<T>;
        expect_plain(dy, p);
        for (Index i = 0; i < dy.rows; ++i) {
            W mean = 0;
            for (Index j = 0; j < dy.cols; ++j) {
                mean += W(p(i, j)) * W(dy(i, j));
            }
            for (Index j = 0; j < dy.cols; ++j) {
                dy(i, j) = static_cast<T>(W(scale) * W(p(i, j)) * (W(dy(i, j)) - mean));
            }
        }
    }
    template <wasi::Scalar T>
    static void layer_norm(View<T> y, OutRow<T> mean, OutRow<T> inverse_deviation, In<T> x, InRow<T> gain,
                           InRow<T> bias, Value<T> small)
    {
        using W = Wide<T>;
        expect_plain(y, x);
        expect_rows_and_cols<T>(x, mean, inverse_deviation, gain, bias);
        const auto cols = static_cast<W>(x.cols);
        naive::poison(mean);
        naive::poison(inverse_deviation);
        for (Index i = 0; i < x.rows; ++i) {
            W centre = 0;
            W variance = 0;
            for (Index j = 0; j < x.cols; ++j) {
                centre += W(x(i, j)) / cols;
            }
            for (Index j = 0; j < x.cols; ++j) {
                variance += (W(x(i, j)) - centre) * (W(x(i, j)) - centre) / cols;
            }
            const W inverse = W(1) / std::sqrt(variance + W(small));
            at(mean, i) = static_cast<T>(centre);
            at(inverse_deviation, i) = static_cast<T>(inverse);
            for (Index j = 0; j < x.cols; ++j) {
                y(i, j) = static_cast<T>((W(x(i, j)) - centre) * inverse * W(at(gain, j)) + W(at(bias, j)));
            }
        }
    }
    template <wasi::Scalar T>
    static void layer_norm_backward(View<T> dx, OutRow<T> dgain, OutRow<T> dbias, In<T> dy, In<T> x, InRow<T> mean,
                                    InRow<T> inverse_deviation, InRow<T> gain, wasi::Memory&)
    {
        using W = Wide<T>;
        expect_plain(dx, dy);
        expect_plain(dx, x);
        expect_rows_and_cols<T>(x, mean, inverse_deviation, gain, gain);
        naive::expect(dgain.size() == gain.size() && dbias.size() == gain.size(), "layer_norm_backward: shapes");
        const auto cols = static_cast<W>(x.cols);
        naive::poison(dgain);
        naive::poison(dbias);
        std::vector<W> gain_sum(gain.size());
        std::vector<W> bias_sum(gain.size());
        for (Index i = 0; i < x.rows; ++i) {
            const auto normalised = [&](Index j) {
                return (W(x(i, j)) - W(at(mean, i))) * W(at(inverse_deviation, i));
            };
            std::vector<W> out(gain.size());
            W mean_out = 0;
            W mean_product = 0;
            for (Index j = 0; j < x.cols; ++j) {
                gain_sum[static_cast<std::size_t>(j)] += W(dy(i, j)) * normalised(j);
                bias_sum[static_cast<std::size_t>(j)] += W(dy(i, j));
                mean_out += W(dy(i, j)) * W(at(gain, j)) / cols;
                mean_product += W(dy(i, j)) * W(at(gain, j)) * normalised(j) / cols;
            }
            for (Index j = 0; j < x.cols; ++j) {
                out[static_cast<std::size_t>(j)] =
                    W(at(inverse_deviation, i)) *
                    (W(dy(i, j)) * W(at(gain, j)) - mean_out - normalised(j) * mean_product);
            }
            for (Index j = 0; j < x.cols; ++j) {
                dx(i, j) = static_cast<T>(out[static_cast<std::size_t>(j)]);
            }
        }
        for (Index j = 0; j < x.cols; ++j) {
            at(dgain, j) = static_cast<T>(gain_sum[static_cast<std::size_t>(j)]);
            at(dbias, j) = static_cast<T>(bias_sum[static_cast<std::size_t>(j)]);
        }
    }
    /// dx may not be x: a fast storage writes it while it still reads x.
    template <wasi::Scalar T>
    [[nodiscard]] static double cross_entropy(View<T> dx, In<T> x, std::span<const std::int64_t> labels)
    {
        using W = Wide<T>;
        expect_plain(dx, x);
        naive::expect(static_cast<Index>(labels.size()) == x.rows, "cross_entropy: shapes");
        naive::poison(dx);
        W loss = 0;
        for (Index i = 0; i < x.rows; ++i) {
            const auto label = static_cast<Index>(labels[static_cast<std::size_t>(i)]);
            naive::expect(label >= 0 && label < x.cols, "cross_entropy: label");
            const auto probability = softmax_of_row<T>(x, i, T(1));
            // -log p(label), from the most probable class: p(label) itself may vanish.
            Index best = 0;
            for (Index j = 1; j < x.cols; ++j) {
                best = x(i, j) > x(i, best) ? j : best;
            }
            loss += W(x(i, best)) - W(x(i, label)) - std::log(probability[static_cast<std::size_t>(best)]);
            for (Index j = 0; j < x.cols; ++j) {
                const W target = j == label ? W(1) : W(0);
                dx(i, j) = static_cast<T>((probability[static_cast<std::size_t>(j)] - target) / static_cast<W>(x.rows));
            }
        }
        return static_cast<double>(loss / static_cast<W>(x.rows));
    }

    template <class T>
    static void pack(wasi::PackedView to, wasi::MatrixView<T> from,
                     const std::optional<wasi::RandomKey>& key = std::nullopt)
    {
        expect_plain(wasi::ConstMatrixView<std::remove_const_t<T>>(from));
        naive::expect(to.codes.size() == to.packing.code_bytes(from.size()) &&
                          to.scales.size() == to.packing.scale_count(from.size()),
                      "pack: shapes");
        naive::pack_numbers(to, std::vector<double>(from.data, from.data + from.size()), key);
    }
    template <wasi::Scalar T>
    static void unpack(View<T> to, wasi::ConstPackedView from)
    {
        expect_plain(to);
        naive::expect(from.codes.size() == from.packing.code_bytes(to.size()) &&
                          from.scales.size() == from.packing.scale_count(to.size()),
                      "unpack: shapes");
        for_each(to,
                 [&](Index i, Index j) { to(i, j) = static_cast<T>(naive::unpacked_number(from, i * to.cols + j)); });
    }

protected:
    /// Row kernels take contiguous row-major matrices.
    template <class T>
    static void expect_plain(View<T> y)
    {
        naive::expect(y.is_row_major() && y.is_contiguous(), "row kernel: not row-major and contiguous");
    }
    template <class T>
    static void expect_plain(View<T> y, In<std::remove_const_t<T>> x)
    {
        expect_plain(y);
        expect_plain(x);
        naive::expect(y.shape() == x.shape(), "row kernel: shapes");
    }
    template <class T>
    static void expect_rows_and_cols(In<T> x, InRow<T> row1, InRow<T> row2, InRow<T> col1, InRow<T> col2)
    {
        const auto is = [](std::span<const T> values, Index count) {
            return static_cast<Index>(values.size()) == count;
        };
        naive::expect(is(row1, x.rows) && is(row2, x.rows) && is(col1, x.cols) && is(col2, x.cols),
                      "layer_norm: shapes");
    }

    /// Phi(x), from the tail that does not cancel.
    template <class W>
    [[nodiscard]] static W normal_distribution(W x)
    {
        return std::erfc(-x / std::numbers::sqrt2_v<W>) / W(2);
    }

    template <class T>
    [[nodiscard]] static std::vector<Wide<T>> softmax_of_row(In<T> x, Index i, T scale)
    {
        using W = Wide<T>;
        W largest = -std::numeric_limits<W>::infinity();
        for (Index j = 0; j < x.cols; ++j) {
            largest = std::max(largest, W(scale) * W(x(i, j)));
        }
        std::vector<W> result(static_cast<std::size_t>(x.cols));
        W sum = 0;
        for (Index j = 0; j < x.cols; ++j) {
            auto& value = result[static_cast<std::size_t>(j)];
            value = std::exp(W(scale) * W(x(i, j)) - largest);
            sum += value;
        }
        for (auto& value : result) {
            value /= sum;
        }
        return result;
    }
};

}  // namespace wasi_tests
