#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "wasi/linalg/svd_merge.hpp"

namespace wasi::linalg {

/// How a stream stands.
struct StreamingInfo {
    Status status = Status::ok;  ///< rank_limit: the rule wants more than max_rank; rule_not_met: what was discarded
                                 ///< before, or rounding, is more than it allows
    Index rank = 0;
    double captured_energy = 1.0;  ///< sum of the kept s² over ||A||_F² of the (weighted) whole; 1 for zeros
    /// ||A - U diag(s) Vᵀ||_F of the (weighted) whole, but for rounding: what is discarded in each step is orthogonal
    /// to all that is kept and to what was discarded before, so the squares add up. And s_j² <= s_j(A)² <= s_j² +
    /// this².
    double residual_estimate = 0.0;
    /// The same and what rounding has added, the steps' errors taken as independent: at most this far from the whole.
    double residual_bound = 0.0;
    Index batches = 0;
    Index count = 0;  ///< rows (columns) that have arrived

    friend bool operator==(const StreamingInfo&, const StreamingInfo&) = default;
};

/// Everything that a stream knows, as plain numbers: write it where you like and go on from it later, with the same
/// bits.
template <Scalar T>
struct StreamingState {
    Index extent = 0;            ///< of the side that stays
    std::vector<T> vectors;      ///< (extent, width) row-major: singular vectors of that side
    std::vector<double> values;  ///< (width), in units of 2^exponent
    std::vector<T> growing;      ///< (count, width) row-major; empty unless it is kept
    int exponent = 0;
    double total = 0.0;     ///< energies in units of 4^exponent: all that has arrived
    double lost = 0.0;      ///< what was discarded
    double rounding = 0.0;  ///< estimate of what rounding has added to the error, squared
    StreamingInfo info;

    friend bool operator==(const StreamingState&, const StreamingState&) = default;
};

namespace detail {

/// to = 2^-exponent from; in two steps, for exponents of which one factor would leave the type.
template <class S, Scalar T>
void scale_into(MatrixView<T> to, ConstMatrixView<T> from, int exponent)
{
    const int half = exponent / 2;
    S::add_scaled(to, T(0), static_cast<T>(std::ldexp(1.0, -half)), from);
    if (exponent != half) {
        S::add_scaled(to, T(0), static_cast<T>(std::ldexp(1.0, half - exponent)), ConstMatrixView<T>(to));
    }
}

struct AccumulatorOptions {
    RankRule rank;
    Index max_rank;
    Index extra;
    bool growing;
    bool sign_of_growing;  // signs follow the growing side (where that is V) instead of the one that stays
    Signs signs;
};

/// The leading triplets of rows that arrive in batches: the sum behind StreamingSvd and IncrementalPca.
template <class S, Scalar T>
requires StorageFor<S, T>
class RowAccumulator {
public:
    RowAccumulator(AccumulatorOptions options, std::string_view who, Memory& memory)
        : options_(std::move(options)), memory_(&memory)
    {
        require<argument_error>(options_.max_rank >= 1, who, ": max_rank is ", options_.max_rank);
        require<argument_error>(options_.extra >= 0, who, ": extra is ", options_.extra);
        require<argument_error>(!options_.rank.needs_all_values(), who,
                                ": a rule that needs every singular value cannot be asked of a few");
    }

    [[nodiscard]] const StreamingInfo& info() const { return info_; }
    [[nodiscard]] Index extent() const { return vectors_.empty() ? 0 : vectors_.shape()[0]; }
    [[nodiscard]] bool empty() const { return vectors_.empty(); }
    [[nodiscard]] int exponent() const { return exponent_; }
    [[nodiscard]] double total() const { return total_; }
    /// All triplets that are carried, extra ones too.
    [[nodiscard]] ConstMatrixView<T> vectors() const { return vectors_.matrix(); }
    [[nodiscard]] ConstMatrixView<T> growing() const { return growing_.matrix(); }
    [[nodiscard]] std::span<const double> values() const { return values_; }

    /// `added` rows below what is there times `weight`. fill(rows, exponent) writes them, times 2^-exponent; `largest`
    /// is their largest element. The first `counted` of them are data, and rows of the growing side.
    template <class Fill>
    void absorb(Index n, Index added, Index counted, double largest, double weight, const Fill& fill)
    {
        step(n, added, counted, std::ldexp(largest, -exponent_), weight, fill, nullptr);
        ++info_.batches;
    }

    /// Another stream's matrix below this one's times `weight`, and `extra_rows` that fill(rows, exponent) writes.
    template <class Fill>
    void absorb(const RowAccumulator& other, Index extra_rows, double largest, double weight, const Fill& fill)
    {
        const auto width = static_cast<Index>(other.values_.size());
        const double of_other = std::ldexp(other.values_.empty() ? 0.0 : other.values_[0], other.exponent_ - exponent_);
        step(
            other.extent(), width + extra_rows, other.info_.count, std::max(of_other, std::ldexp(largest, -exponent_)),
            weight,
            [&](MatrixView<T> rows, int exponent) {
                put_triplets<S, T>(rows.row_block(0, width), other.values_, other.vectors(),
                                   std::ldexp(1.0, other.exponent_ - exponent));
                fill(rows.row_block(width, extra_rows), exponent);
            },
            &other);
        info_.batches += other.info_.batches;
    }

    [[nodiscard]] StreamingState<T> state() const
    {
        return {extent(),  {vectors_.span().begin(), vectors_.span().end()},
                values_,   {growing_.span().begin(), growing_.span().end()},
                exponent_, total_,
                lost_,     rounding_,
                info_};
    }

    /// Goes on from a state. Throws shape_error where its sizes do not fit, argument_error where numbers are not
    /// finite.
    void restore(const StreamingState<T>& state, std::string_view who)
    {
        const auto width = static_cast<Index>(state.values.size());
        const auto has = [&](const std::vector<T>& elements, Index rows) {
            return static_cast<Index>(elements.size()) == rows * width;
        };
        const Index rows = options_.growing ? state.info.count : 0;
        require<shape_error>(state.extent >= 0 && state.info.count >= 0 && has(state.vectors, state.extent) &&
                                 has(state.growing, rows) && state.info.rank <= width,
                             who, ": a state of extent ", state.extent, ", ", width, " values, rank ", state.info.rank,
                             ", ", state.vectors.size(), " elements of the side that stays and ", state.growing.size(),
                             " of the one that grows");
        require<argument_error>(std::isfinite(state.total) && std::isfinite(state.lost) &&
                                    std::isfinite(state.rounding) && all_numbers(state.vectors) &&
                                    all_numbers(state.values) && all_numbers(state.growing),
                                who, ": a state holds NaN or infinity");
        vectors_ = width == 0 ? Tensor<T>() : copied(state.vectors, state.extent, width);
        growing_ = options_.growing && width > 0 ? copied(state.growing, rows, width) : Tensor<T>();
        values_ = state.values;
        exponent_ = state.exponent;
        total_ = state.total;
        lost_ = state.lost;
        rounding_ = state.rounding;
        info_ = state.info;
    }

private:
    template <class Numbers>
    [[nodiscard]] static bool all_numbers(const Numbers& numbers)
    {
        return std::all_of(numbers.begin(), numbers.end(), [](auto x) { return std::isfinite(x); });
    }
    [[nodiscard]] Tensor<T> copied(const std::vector<T>& from, Index rows, Index cols)
    {
        Tensor<T> result = workspace<T>(*memory_, rows, cols);
        std::copy(from.begin(), from.end(), result.data());
        return result;
    }

    /// `largest` is in present units.
    template <class Fill>
    void step(Index n, Index added, Index counted, double largest, double weight, const Fill& fill,
              const RowAccumulator* other)
    {
        // Units follow the data: the same answer at every scale, squares never leave double.
        const auto width = static_cast<Index>(values_.size());
        const int more = scale_exponent<T>(std::max(largest, width > 0 ? weight * values_[0] : 0.0));
        const int exponent = exponent_ + more;
        const auto aged = [&](double energy) { return std::ldexp(weight * weight * energy, -2 * more); };
        Tensor<T> k = workspace<T>(*memory_, width + added, n);
        if (width > 0) {
            put_triplets<S, T>(k.matrix().row_block(0, width), values_, vectors(), std::ldexp(weight, -more));
        }
        const auto fresh = k.matrix().row_block(width, added);
        fill(fresh, exponent);
        double total = aged(total_) + S::dot(ConstMatrixView<T>(fresh), fresh);
        double lost = aged(lost_);
        const double of_step = step_rounding<T>(k.matrix().rows, total);
        double rounding = aged(rounding_) + of_step * of_step;
        if (other != nullptr) {  // what the other stream has lost is lost here too
            const int shift = 2 * (other->exponent_ - exponent);
            total += std::ldexp(other->lost_, shift);
            lost += std::ldexp(other->lost_, shift);
            rounding += std::ldexp(other->rounding_, shift);
        }
        const Index rows = info_.count + counted;
        auto stacked = decompose_stack<S, T>(std::as_const(k).matrix(), total, lost, std::sqrt(rounding), rows,
                                             options_.rank, options_.max_rank, options_.extra, *memory_);
        k.reset();
        const Index kept = stacked.factors.s.size();
        Tensor<T> growing = grown(std::as_const(stacked.factors.u).matrix(), width, counted, other);
        if (options_.signs == Signs::largest_right_positive) {
            const MatrixView<T> none{nullptr, 0, kept, kept, 1};
            if (options_.growing && options_.sign_of_growing) {
                settle_signs<S, T>(stacked.factors.v.matrix(), growing.matrix(), *memory_);
            } else {
                settle_signs<S, T>(options_.growing ? growing.matrix() : none, stacked.factors.v.matrix(), *memory_);
            }
        }
        vectors_ = std::move(stacked.factors.v);
        growing_ = std::move(growing);
        values_ = std::move(stacked.values);
        exponent_ = exponent;
        total_ = total;
        lost_ = lost + stacked.discarded;
        rounding_ = rounding;
        double left = lost_;
        for (std::size_t j = values_.size(); j > static_cast<std::size_t>(stacked.rank); --j) {
            left += values_[j - 1] * values_[j - 1];
        }
        info_.status = stacked.status;
        info_.rank = stacked.rank;
        info_.captured_energy = total_ > 0.0 ? 1.0 - std::min(1.0, left / total_) : 1.0;
        info_.residual_estimate = std::ldexp(std::sqrt(left), exponent_);
        info_.residual_bound = std::ldexp(std::sqrt(left) + std::sqrt(rounding_), exponent_);
        info_.count = rows;
    }

    /// The growing side after a step that turns [old triplets; new rows] by `turn`.
    [[nodiscard]] Tensor<T> grown(ConstMatrixView<T> turn, Index width, Index counted, const RowAccumulator* other)
    {
        if (!options_.growing) {
            return {};
        }
        Tensor<T> result = workspace<T>(*memory_, info_.count + counted, turn.cols);
        if (width > 0) {
            S::multiply(result.matrix().row_block(0, info_.count), T(1), growing(), turn.row_block(0, width), T(0),
                        *memory_);
        }
        const auto fresh = result.matrix().row_block(info_.count, counted);
        if (other == nullptr) {
            S::copy(fresh, turn.row_block(width, counted));
        } else {
            S::multiply(fresh, T(1), other->growing(), turn.row_block(width, static_cast<Index>(other->values_.size())),
                        T(0), *memory_);
        }
        return result;
    }

    AccumulatorOptions options_;
    Memory* memory_;
    Tensor<T> vectors_;
    Tensor<T> growing_;
    std::vector<double> values_;
    int exponent_ = 0;
    double total_ = 0.0;
    double lost_ = 0.0;
    double rounding_ = 0.0;
    StreamingInfo info_;
};

}  // namespace detail

}  // namespace wasi::linalg
