#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <utility>
#include <vector>

#include "wasi/linalg/centered_matrix.hpp"
#include "wasi/linalg/pca_parts.hpp"
#include "wasi/linalg/row_accumulator.hpp"

namespace wasi::linalg {

struct IncrementalPcaOptions {
    /// How many components, as for pca: a rule is asked after every batch, of the variance of the whole so far.
    RankRule rank = Energy{0.99};
    Index max_rank = std::numeric_limits<Index>::max();
    /// In (0, 1]: rows that are there are multiplied by it, their deviations from the mean and their part in the mean
    /// by its square, when a batch comes. 1 counts every row alike.
    double forgetting = 1.0;
    /// Components carried beyond the rank, which a later batch may bring forward.
    Index extra = 10;
    bool whiten = false;  ///< as for pca
    Signs signs = Signs::largest_right_positive;
};

/// Everything that an IncrementalPca knows, as plain numbers.
template <Scalar T>
struct IncrementalPcaState {
    StreamingState<T> scatter;
    std::vector<double> mean_high;  ///< (n); the mean is the sum of the two
    std::vector<double> mean_low;
    double weight = 0.0;           ///< sum of the rows' weights: their number without forgetting
    double squared_weights = 0.0;  ///< sum of the squared weights

    friend bool operator==(const IncrementalPcaState&, const IncrementalPcaState&) = default;
};

/// Principal components of rows that arrive in batches, of any sizes, each looked at once: after any number of them
/// those of pca of all rows, to rounding as long as nothing was discarded, and otherwise with the error in variance
/// that info() states. With C = diag(s) Vᵀ of what has come (w rows by weight, mean μ) and a batch of p rows with mean
/// ν and centred rows B, the next C is the truncated SVD of
///   [lambda C; B; sqrt(w p / (w + p)) (ν - μ)ᵀ],   w <- lambda² w,
/// and the mean moves by p / (w + p) (ν - μ), in double as two numbers, so that a mean far above the spread costs no
/// digits. A batch (p,n) costs about (k + p)² n flops, memory (k + p) n; it holds k (n + 1) + 2 n numbers, k = rank +
/// extra. State, merging, threads as StreamingSvd. Sources: Ross, Lim, Lin, Yang 2008; Chan, Golub, LeVeque 1983.
template <Scalar T, class S = EigenStorage>
requires StorageFor<S, T> && StorageFor<S, double>
class IncrementalPca {
public:
    /// Throws argument_error for options out of range.
    explicit IncrementalPca(IncrementalPcaOptions options, Memory& memory = plain_memory())
        : options_(std::move(options)),
          memory_(&memory),
          scatter_({options_.rank, options_.max_rank, options_.extra, false, false, options_.signs}, "IncrementalPca",
                   memory)
    {
        require<argument_error>(options_.forgetting > 0.0 && options_.forgetting <= 1.0,
                                "IncrementalPca: forgetting must be in (0, 1], got ", options_.forgetting);
    }
    /// Goes on from a state. Throws shape_error where its sizes do not fit, argument_error where its numbers are not
    /// finite.
    IncrementalPca(IncrementalPcaOptions options, const IncrementalPcaState<T>& state, Memory& memory = plain_memory())
        : IncrementalPca(std::move(options), memory)
    {
        const auto n = static_cast<std::size_t>(state.scatter.extent);
        require<shape_error>(state.mean_high.size() == n && state.mean_low.size() == n,
                             "IncrementalPca: a state of extent ", n, " with a mean of ", state.mean_high.size(),
                             " and ", state.mean_low.size(), " elements");
        bool finite = std::isfinite(state.weight) && std::isfinite(state.squared_weights);
        for (std::size_t j = 0; j < n; ++j) {
            finite = finite && std::isfinite(state.mean_high[j]) && std::isfinite(state.mean_low[j]);
        }
        require<argument_error>(finite, "IncrementalPca: a state holds NaN or infinity");
        scatter_.restore(state.scatter, "IncrementalPca");
        high_ = state.mean_high;
        low_ = state.mean_low;
        weight_ = state.weight;
        squared_weights_ = state.squared_weights;
    }

    /// One batch, one row or more. Throws shape_error on an empty one and when its columns are not as many as before,
    /// argument_error on NaN or infinity; nothing has changed then.
    const StreamingInfo& add(ConstMatrixView<T> batch)
    {
        require<shape_error>(batch.size() > 0, "IncrementalPca: empty batch ", shape_text(batch.shape()));
        require<shape_error>(scatter_.empty() || batch.cols == scatter_.extent(), "IncrementalPca: a batch ",
                             shape_text(batch.shape()), " after batches with ", scatter_.extent(), " columns");
        const double largest = S::largest(batch);
        require<argument_error>(std::isfinite(largest), "IncrementalPca: a batch ", shape_text(batch.shape()),
                                " holds NaN or infinity");
        const CenteredMatrix<S, T> centered(batch, largest, *memory_);
        const Mean arrived{unscaled(centered.mean_high(), centered.exponent()),
                           unscaled(centered.mean_low(), centered.exponent()), static_cast<double>(batch.rows),
                           static_cast<double>(batch.rows)};
        const double keep = options_.forgetting * options_.forgetting;
        const Shift shift = shift_to(arrived, keep);
        // The batch centred, and the row that two means make of two.
        const Index rows = batch.rows + (shift.row.empty() ? 0 : 1);
        const double spread = std::min(2.0 * largest, std::numeric_limits<double>::max());
        scatter_.absorb(batch.cols, rows, batch.rows, std::max(spread, shift.largest), options_.forgetting,
                        [&](MatrixView<T> to, int exponent) {
                            const auto block = to.row_block(0, batch.rows);
                            centered.copy_to(block, *memory_);
                            detail::scale_into<S, T>(block, block, exponent - centered.exponent());
                            put_shift(to, batch.rows, shift, exponent);
                        });
        accept(shift);
        return scatter_.info();
    }
    /// The same for a user's matrix.
    template <MatrixLike A>
    requires std::same_as<typename Family<A>::Scalar, T>
    const StreamingInfo& add(const A& a)
    {
        Family<A>::with_view(a, [&](auto view) { add(ConstMatrixView<T>(view)); });
        return scatter_.info();
    }

    /// The rows that another one has seen, as if they had come here; no forgetting. Throws shape_error when the columns
    /// differ.
    const StreamingInfo& merge(const IncrementalPca& other)
    {
        if (other.scatter_.empty()) {
            return scatter_.info();
        }
        require<shape_error>(scatter_.empty() || scatter_.extent() == other.scatter_.extent(),
                             "IncrementalPca::merge: ", scatter_.extent(), " and ", other.scatter_.extent(),
                             " columns");
        const Shift shift = shift_to({other.high_, other.low_, other.weight_, other.squared_weights_}, 1.0);
        scatter_.absorb(other.scatter_, shift.row.empty() ? 0 : 1, shift.largest, 1.0,
                        [&](MatrixView<T> to, int exponent) { put_shift(to, 0, shift, exponent); });
        accept(shift);
        return scatter_.info();
    }

    /// Energies are those of the centred (weighted) rows: shares of the variance.
    [[nodiscard]] const StreamingInfo& info() const { return scatter_.info(); }

    /// Mean, components, variances as pca gives them, without scores. Variances are over m - 1, with forgetting over w
    /// - (sum of squared weights) / w. Throws argument_error before two rows have come.
    [[nodiscard]] PcaFactors<T> factors() const
    {
        require<argument_error>(scatter_.info().count >= 2, "IncrementalPca: a variance needs two rows, ",
                                scatter_.info().count, " came");
        const Index rank = scatter_.info().rank;
        detail::PcaParts<T> parts{workspace<T>(*memory_, scatter_.extent(), rank), {}, {}, {}, Solver::dense};
        S::copy(parts.components.matrix(), scatter_.vectors().col_block(0, rank));
        parts.values.assign(scatter_.values().begin(), scatter_.values().begin() + rank);
        const StreamingInfo& info = scatter_.info();
        parts.info.status = info.status;
        parts.info.rank = rank;
        parts.info.captured_energy = info.captured_energy;
        parts.info.residual_estimate = std::ldexp(info.residual_estimate, -scatter_.exponent());
        parts.info.residual_bound = std::ldexp(info.residual_bound, -scatter_.exponent());
        parts.info.passes = 1;
        PcaOptions options;
        options.whiten = options_.whiten;
        options.scores = false;
        options.signs = options_.signs;
        const double freedom = weight_ - squared_weights_ / weight_;
        const int exponent = scatter_.exponent();
        return detail::describe<S, T, T>(std::move(parts), Extents{info.count, scatter_.extent()}, scatter_.total(),
                                         unscaled(high_, -exponent), unscaled(low_, -exponent), exponent,
                                         std::max(freedom, std::numeric_limits<double>::min()), options, *memory_);
    }
    /// The same in a user's types: Pca<Matrix, Vector>, with `transform` and `inverse_transform`, and no scores.
    template <MatrixLike M>
    requires std::same_as<typename Family<M>::Scalar, T>
    [[nodiscard]] auto pca_as() const { return as_family<M>(factors()); }

    /// Everything, to go on from later: equal states go on with equal bits.
    [[nodiscard]] IncrementalPcaState<T> state() const
    {
        return {scatter_.state(), high_, low_, weight_, squared_weights_};
    }

private:
    struct Mean {
        std::vector<double> high;
        std::vector<double> low;
        double weight;
        double squared_weights;
    };
    /// What a second mean does: the mean of both, and the row that it adds to the centred rows of both.
    struct Shift {
        Mean mean;
        std::vector<double> row;  // empty for the first
        double largest = 0.0;
    };
    /// The size of what factors describe; nothing is multiplied.
    struct Extents {
        Index height;
        Index width;
        [[nodiscard]] Index rows() const { return height; }
        [[nodiscard]] Index cols() const { return width; }
        void apply(MatrixView<T>, ConstMatrixView<T>, Memory&) const {}
    };

    [[nodiscard]] static std::vector<double> unscaled(std::span<const double> from, int exponent)
    {
        std::vector<double> result(from.begin(), from.end());
        for (double& value : result) {
            value = std::ldexp(value, exponent);
        }
        return result;
    }

    /// `keep` is what is left of the weight of the rows that are there.
    [[nodiscard]] Shift shift_to(const Mean& arrived, double keep) const
    {
        if (scatter_.empty()) {
            return {arrived, {}};
        }
        const double before = keep * weight_;
        const double all = before + arrived.weight;
        const double factor = std::sqrt(before) * std::sqrt(arrived.weight / all);
        Shift shift{{high_, low_, all, keep * keep * squared_weights_ + arrived.squared_weights}, {}};
        shift.row.resize(high_.size());
        for (std::size_t j = 0; j < high_.size(); ++j) {
            const double gap = (arrived.high[j] - high_[j]) + (arrived.low[j] - low_[j]);
            shift.row[j] = factor * gap;
            shift.largest = std::max(shift.largest, std::abs(shift.row[j]));
            // high + low exactly, as far as two doubles hold it (Dekker's sum of a large and a small number).
            const double low = low_[j] + gap * (arrived.weight / all);
            const double high = high_[j] + low;
            const double large = std::abs(high_[j]) >= std::abs(low) ? high_[j] : low;
            const double small = std::abs(high_[j]) >= std::abs(low) ? low : high_[j];
            shift.mean.high[j] = high;
            shift.mean.low[j] = small - (high - large);
        }
        return shift;
    }

    static void put_shift(MatrixView<T> to, Index row, const Shift& shift, int exponent)
    {
        for (std::size_t j = 0; j < shift.row.size(); ++j) {
            to(row, static_cast<Index>(j)) = static_cast<T>(std::ldexp(shift.row[j], -exponent));
        }
    }

    void accept(const Shift& shift)
    {
        high_ = shift.mean.high;
        low_ = shift.mean.low;
        weight_ = shift.mean.weight;
        squared_weights_ = shift.mean.squared_weights;
    }

    IncrementalPcaOptions options_;
    Memory* memory_;
    detail::RowAccumulator<S, T> scatter_;
    std::vector<double> high_;
    std::vector<double> low_;
    double weight_ = 0.0;
    double squared_weights_ = 0.0;
};

}  // namespace wasi::linalg
