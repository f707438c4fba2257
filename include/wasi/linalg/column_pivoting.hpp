#pragma once
#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/linalg/reflections.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg::detail {

/// Householder QR with column pivoting, A P = Q R, one direction after another for as long as the caller likes
/// (Businger, Golub 1965). By panels of which half is a matrix product: of the trailing columns only the products with
/// the new reflection are taken, and the panel is applied to them at its end (Quintana-Ortí, Sun, Bischof 1998). Norms
/// of what is left of the columns are downdated, and taken anew before cancellation has eaten half of their digits
/// (Drmač, Bujanović 2008, LAPACK working note 176); a panel ends there. A lies by columns, so that all loops run along
/// memory. The elements of A must be of ordinary size.
template <class S, Scalar T>
class PivotedReflections {
public:
    PivotedReflections(ConstMatrixView<T> a, Memory& memory)
        : memory_(&memory),
          rows_(a.rows),
          cols_(a.cols),
          lines_(workspace<T>(memory, a.cols, a.rows)),
          order_(static_cast<std::size_t>(a.cols)),
          norms_(order_.size()),
          exact_norms_(order_.size())
    {
        S::copy(lines_.matrix().transposed(), a);
        std::iota(order_.begin(), order_.end(), Index{0});
        refresh_norms(false);
        for (const double norm : norms_) {
            squared_norm_ += norm * norm;
        }
    }

    [[nodiscard]] Index taken() const { return static_cast<Index>(taus_.size()); }
    [[nodiscard]] double squared_norm() const { return squared_norm_; }  ///< ||A||_F²
    /// Column order()[j] of A is column j of A P.
    [[nodiscard]] std::span<const Index> order() const { return order_; }
    /// The lengths of the rows of R so far: what each direction took.
    [[nodiscard]] std::span<const double> row_lengths() const { return row_lengths_; }
    [[nodiscard]] double diagonal(Index k) const { return static_cast<double>(lines_.data()[k * rows_ + k]); }
    /// ||A P - Q R||_F from the norms of what is left of the columns.
    [[nodiscard]] double rest() const
    {
        double sum = 0.0;
        for (auto j = static_cast<std::size_t>(taken()); j < norms_.size(); ++j) {
            sum += norms_[j] * norms_[j];
        }
        return std::sqrt(sum);
    }

    /// Takes directions until done(rest) or `limit` of them are taken. `done` is asked again about freshly computed
    /// norms before it is believed.
    template <class Done>
    void advance(Index limit, Done&& done)
    {
        bool fresh = false;
        while (taken() < limit) {
            if (taken() > 0 && done(rest())) {
                if (fresh) {
                    return;
                }
                refresh_norms(false);
                fresh = true;
                continue;
            }
            panel(std::min(panel_width, limit - taken()), done);
            fresh = false;
        }
    }

    /// Q (m,k), k directions: the reflections applied to the leading columns of the identity, block after block.
    void make_q(MatrixView<T> q) const
    {
        const Index k = q.cols;
        Tensor<T> columns = workspace<T>(*memory_, k, rows_);  // Qᵀ
        S::fill(columns.matrix(), T(0));
        S::fill(columns.matrix().diagonal(), T(1));
        for (Index last = k; last > 0;) {
            const Index first = (last - 1) / panel_width * panel_width;
            apply_reflections<S, T>(columns.matrix().block(first, first, k - first, rows_ - first),
                                    lines_.matrix().block(first, first, last - first, rows_ - first),
                                    std::span<const T>(taus_).subspan(static_cast<std::size_t>(first)), *memory_);
            last = first;
        }
        S::copy(q, std::as_const(columns).matrix().transposed());
    }

    /// R (k,n), upper trapezoidal, in the order of the pivots.
    void make_r(MatrixView<T> r) const
    {
        S::copy(r, lines_.matrix().transposed().row_block(0, r.rows));
        for (Index j = 0; j < std::min(r.rows, r.cols); ++j) {
            for (Index i = j + 1; i < r.rows; ++i) {
                r(i, j) = T(0);
            }
        }
    }

private:
    static constexpr Index panel_width = 32;

    [[nodiscard]] T* line(Index j) { return lines_.data() + j * rows_; }
    [[nodiscard]] const T* line(Index j) const { return lines_.data() + j * rows_; }

    /// Columns [first, cols) in pieces of about 2^17 elements: less does not pay for waking threads at every column.
    template <class Body>
    void for_columns(Index first, Index height, Body&& body) const
    {
        const Index width = std::max<Index>(1, (Index{1} << 17) / std::max<Index>(height, 1));
        const Index count = cols_ - first;
        parallel_for((count + width - 1) / width, [&](Index piece) {
            const Index end = std::min(first + (piece + 1) * width, cols_);
            for (Index j = first + piece * width; j < end; ++j) {
                body(j);
            }
        });
    }

    /// Norms of what is left of the columns, computed afresh: all, or those that have lost their digits.
    void refresh_norms(bool only_lost)
    {
        const Index k = taken();
        for_columns(k, rows_ - k, [&](Index j) {
            const auto at = static_cast<std::size_t>(j);
            if (!only_lost || norms_[at] < 0.0) {
                norms_[at] = std::sqrt(square_of_line(line(j) + k, rows_ - k));
                exact_norms_[at] = norms_[at];
            }
        });
    }

    void swap_columns(Index a, Index b, MatrixView<T> products, Index known)
    {
        if (a == b) {
            return;
        }
        std::swap_ranges(line(a), line(a) + rows_, line(b));
        std::swap_ranges(&products(a, 0), &products(a, 0) + known, &products(b, 0));
        std::swap(order_[static_cast<std::size_t>(a)], order_[static_cast<std::size_t>(b)]);
        std::swap(norms_[static_cast<std::size_t>(a)], norms_[static_cast<std::size_t>(b)]);
        std::swap(exact_norms_[static_cast<std::size_t>(a)], exact_norms_[static_cast<std::size_t>(b)]);
    }

    /// Up to `width` directions. With V the reflections of the panel, the trailing columns are A - V Fᵀ; F is
    /// `products`.
    template <class Done>
    void panel(Index width, Done&& done)
    {
        const Index first = taken();
        Tensor<T> booked = workspace<T>(*memory_, cols_, width);
        const MatrixView<T> products = booked.matrix();
        std::vector<T> along(static_cast<std::size_t>(width));    // row k of V
        std::vector<T> overlap(static_cast<std::size_t>(width));  // Vᵀ v
        std::vector<double> squares(static_cast<std::size_t>(cols_));
        const double lost = std::sqrt(static_cast<double>(epsilon<T>));
        Index p = 0;
        for (bool end = false; !end && p < width; ++p) {
            const Index k = first + p;
            const auto largest = std::max_element(norms_.begin() + k, norms_.end());
            swap_columns(static_cast<Index>(largest - norms_.begin()), k, products, p);
            const Index height = rows_ - k;
            T* const pivot = line(k) + k;
            for (Index i = 0; i < p; ++i) {
                const T factor = products(k, i);
                const T* const v = line(first + i) + k;
                for (Index row = 0; row < height; ++row) {
                    pivot[row] -= factor * v[row];
                }
            }
            const auto reflection = make_reflection(pivot, height);
            const T tau = reflection.first;
            for (Index i = 0; i < p; ++i) {
                along[static_cast<std::size_t>(i)] = line(first + i)[k];
                overlap[static_cast<std::size_t>(i)] = dot_of_lines(line(first + i) + k, pivot, height);
            }
            for_columns(k + 1, height, [&](Index j) {
                T* const f = &products(j, 0);
                T product = dot_of_lines(line(j) + k, pivot, height);
                T entry = line(j)[k];
                for (Index i = 0; i < p; ++i) {
                    product -= overlap[static_cast<std::size_t>(i)] * f[i];
                    entry -= along[static_cast<std::size_t>(i)] * f[i];
                }
                f[p] = tau * product;
                entry -= f[p];
                line(j)[k] = entry;
                squares[static_cast<std::size_t>(j)] = static_cast<double>(entry) * static_cast<double>(entry);
            });
            pivot[0] = reflection.second;
            taus_.push_back(tau);
            memory_->count_flops(2.0 * static_cast<double>(height) * static_cast<double>(cols_ - k + 2 * p));
            end = downdate(k, squares, lost) || done(rest());
        }
        const Index next = first + p;
        if (next < rows_ && next < cols_) {
            S::multiply(lines_.matrix().block(next, next, cols_ - next, rows_ - next), T(-1),
                        ConstMatrixView<T>(products.block(next, 0, cols_ - next, p)),
                        ConstMatrixView<T>(lines_.matrix().block(first, next, p, rows_ - next)), T(1), *memory_);
        }
        refresh_norms(true);
    }

    /// Takes row k of R off the norms. True when one has lost half its digits to cancellation (it is -1 then).
    [[nodiscard]] bool downdate(Index k, std::span<const double> squares, double lost)
    {
        const T corner = line(k)[k];
        double row = static_cast<double>(corner) * static_cast<double>(corner);
        bool any = false;
        for (auto j = static_cast<std::size_t>(k) + 1; j < norms_.size(); ++j) {
            row += squares[j];
            if (!(norms_[j] > 0.0)) {
                continue;
            }
            const double left = std::max(0.0, 1.0 - squares[j] / (norms_[j] * norms_[j]));
            const double ratio = norms_[j] / exact_norms_[j];
            if (left * ratio * ratio <= lost) {
                norms_[j] = -1.0;
                any = true;
            } else {
                norms_[j] *= std::sqrt(left);
            }
        }
        row_lengths_.push_back(std::sqrt(row));
        return any;
    }

    Memory* memory_;
    Index rows_;
    Index cols_;
    Tensor<T> lines_;  // (n, m): line j is column j of A P; below the diagonal the reflections, on and above it R
    std::vector<Index> order_;
    std::vector<double> norms_;
    std::vector<double> exact_norms_;  // as last computed
    std::vector<T> taus_;
    std::vector<double> row_lengths_;
    double squared_norm_ = 0.0;
};

}  // namespace wasi::linalg::detail
