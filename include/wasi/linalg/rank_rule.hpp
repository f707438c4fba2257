#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi::linalg {

/// Keep exactly this many singular values (fewer where the matrix is smaller).
struct FixedRank {
    Index rank;
};

/// Keep the fewest singular values whose squares make up the fraction `fraction` of the sum of all squares. "Energy"
/// always means this spectral energy, ||A||_F². In (0, 1]; 1 keeps every value above zero.
struct Energy {
    double fraction;
};

/// Keep the fewest singular values such that the rest is at most `relative` times ||A||_F. In [0, 1).
struct Tolerance {
    double relative;
};

/// The optimal hard threshold of Gavish and Donoho (2014) for a low-rank matrix in white noise: keep the singular
/// values above lambda(beta) sqrt(longer side) noise, beta the shorter over the longer side. With the noise's standard
/// deviation unknown (0), it is estimated from the median singular value, which needs all of them, so the dense route.
struct GavishDonoho {
    double noise = 0.0;
};

/// What a rule may look at. `total` is the sum of all squared singular values, also of those that are not listed;
/// `reference` is the energy that fractions are taken of (the whole tensor's, when modes are truncated one after
/// another).
struct Spectrum {
    std::span<const double> values;  // descending
    double total;
    double reference;
    double noise = 0.0;  // values at or below this are rounding, not data; energy 1 does not keep them
    Index rows = 0;      // of the matrix; 0 where the values are not those of one matrix
    Index cols = 0;
    /// The energy of the values that are not listed, where it is known better than as total - sum of squares: that
    /// difference of large sums says nothing below 1e-8 of the total. Negative: unknown, the difference is taken.
    double beyond = -1.0;
    /// The error, in norm, that the factors have besides what is discarded: the rounding of their elements.
    double rounding = 0.0;
    /// All of the above are of 2^-exponent times the matrix: not 0 only for numbers whose squares would leave double.
    int exponent = 0;

    [[nodiscard]] double unlisted() const
    {
        if (beyond >= 0.0) {
            return beyond;
        }
        if (!values.empty() && static_cast<Index>(values.size()) == std::min(rows, cols)) {
            return 0.0;
        }
        double listed = 0.0;
        for (const double value : values) {
            listed += value * value;
        }
        // A rounding residue of the two sums is no tail.
        const double rest = total - listed;
        return rest > static_cast<double>(values.size() + 1) * 4.0 * epsilon<double> * total ? rest : 0.0;
    }
};

namespace detail {

/// lambda(beta) of Gavish and Donoho (2014), equation 11.
[[nodiscard]] inline double hard_threshold(double beta)
{
    return std::sqrt(2.0 * (beta + 1.0) + 8.0 * beta / ((beta + 1.0) + std::sqrt(beta * beta + 14.0 * beta + 1.0)));
}

/// The median of the Marchenko-Pastur law with ratio beta: eigenvalues of pure noise of variance 1, scaled by the
/// longer side. By bisection; the density is integrated in t with x = low + (high - low) sin²(t), where it is smooth.
[[nodiscard]] inline double noise_median(double beta)
{
    const double root = std::sqrt(beta);
    const double low = (1.0 - root) * (1.0 - root);
    const double width = 4.0 * root;
    const auto below = [&](double angle) {  // the law's mass below low + width sin²(angle)
        constexpr int steps = 400;          // Simpson
        const double h = angle / steps;
        double sum = 0.0;
        for (int i = 0; i <= steps; ++i) {
            const double t = h * i;
            const double sine = std::sin(t);
            const double cosine = std::cos(t);
            const double x = low + width * sine * sine;
            // sqrt((high - x)(x - low)) dx / (2 pi beta x)
            const double value =
                x > 0.0 ? width * width * sine * sine * cosine * cosine / (3.14159265358979323846 * beta * x)
                        : width * cosine * cosine / (3.14159265358979323846 * beta);
            sum += value * (i == 0 || i == steps ? 1.0 : i % 2 == 1 ? 4.0 : 2.0);
        }
        return sum * h / 3.0;
    };
    double left = 0.0;
    double right = 1.57079632679489661923;
    for (int i = 0; i < 60; ++i) {
        const double middle = 0.5 * (left + right);
        (below(middle) < 0.5 ? left : right) = middle;
    }
    const double sine = std::sin(left);
    return low + width * sine * sine;
}

}  // namespace detail

/// How many singular values to keep: a fixed number, an energy, a tolerance, the Gavish-Donoho threshold, the first of
/// several (first_of), or any callable Index(const Spectrum&).
/// Rules are asked by algorithms; the answer is clamped to [1, number of values] by `choose` (0 for an empty spectrum).
/// Throws argument_error for a rank below 1, an energy outside (0, 1], a tolerance outside [0, 1).
class RankRule {
public:
    // NOLINTBEGIN(google-explicit-constructor): {.rank = 64} and {.rank = Energy{0.9}} are what this class is for
    template <std::integral I>
    RankRule(I rank) : RankRule(FixedRank{static_cast<Index>(rank)})
    {
    }
    template <std::floating_point F>
    RankRule(F) : RankRule(FixedRank{1})
    {
        static_assert(!std::floating_point<F>,
                      "wasi: a rank is an integer; for a share of the energy write Energy{0.9}, for a relative error "
                      "Tolerance{1e-3}");
    }
    RankRule(FixedRank rule) : rule_(rule)
    {
        require<argument_error>(rule.rank >= 1, "rank must be at least 1, got ", rule.rank);
    }
    RankRule(Energy rule) : rule_(rule)
    {
        require<argument_error>(rule.fraction > 0.0 && rule.fraction <= 1.0, "energy must be in (0, 1], got ",
                                rule.fraction);
    }
    RankRule(Tolerance rule) : rule_(rule)
    {
        require<argument_error>(rule.relative >= 0.0 && rule.relative < 1.0, "tolerance must be in [0, 1), got ",
                                rule.relative);
    }
    RankRule(GavishDonoho rule) : rule_(rule)
    {
        require<argument_error>(rule.noise >= 0.0 && std::isfinite(rule.noise),
                                "Gavish-Donoho: noise must be 0 (unknown) or positive, got ", rule.noise);
    }
    template <class F>
    requires std::is_invocable_r_v<Index, const F&, const Spectrum&> RankRule(F rule)
        : rule_(std::function<Index(const Spectrum&)>(std::move(rule)))
    {
    }
    // NOLINTEND(google-explicit-constructor)

    /// The rank, when it is known before any spectrum is.
    [[nodiscard]] std::optional<Index> fixed() const
    {
        const auto* rule = std::get_if<FixedRank>(&rule_);
        return rule == nullptr ? std::nullopt : std::optional<Index>(rule->rank);
    }

    /// Whether the rule can answer only when every singular value is listed.
    [[nodiscard]] bool needs_all_values() const
    {
        const auto* rule = std::get_if<GavishDonoho>(&rule_);
        const auto* both = std::get_if<Both>(&rule_);
        return (rule != nullptr && rule->noise == 0.0) ||
               (both != nullptr && ((*both)[0].needs_all_values() || (*both)[1].needs_all_values()));
    }

    /// The share of the energy that may be discarded; none for rules that promise no error. Of first_of the smaller
    /// one.
    [[nodiscard]] std::optional<double> allowed_share() const
    {
        if (const auto* energy = std::get_if<Energy>(&rule_)) {
            return 1.0 - energy->fraction;
        }
        if (const auto* tolerance = std::get_if<Tolerance>(&rule_)) {
            return tolerance->relative * tolerance->relative;
        }
        if (const auto* both = std::get_if<Both>(&rule_)) {
            const auto first = (*both)[0].allowed_share();
            const auto second = (*both)[1].allowed_share();
            return first && second ? std::min(*first, *second) : (first ? first : second);
        }
        return std::nullopt;
    }

    /// Whether an approximation of rank `rank` with this squared error does what the rule says: its energy or tolerance
    /// is met (a fraction of 1 and a tolerance of 0 ask for every value above rounding); of first_of either one. Always
    /// true for rules that promise no error.
    [[nodiscard]] bool met(double squared_error, Index rank, const Spectrum& spectrum) const
    {
        if (const auto* fixed = std::get_if<FixedRank>(&rule_)) {
            return rank >= std::min(fixed->rank, static_cast<Index>(spectrum.values.size()));
        }
        if (const auto* both = std::get_if<Both>(&rule_)) {
            return (*both)[0].met(squared_error, rank, spectrum) || (*both)[1].met(squared_error, rank, spectrum);
        }
        const auto share = allowed_share();
        if (!share) {
            return true;
        }
        const double rounding = spectrum.noise * static_cast<double>(spectrum.values.size()) + spectrum.rounding;
        return squared_error <= (*share > 0.0 ? *share * spectrum.reference : rounding * rounding);
    }

    friend RankRule first_of(RankRule first, RankRule second);

    [[nodiscard]] Index choose(const Spectrum& spectrum) const
    {
        const auto available = static_cast<Index>(spectrum.values.size());
        const Index wanted = std::visit([&](const auto& rule) { return ask(rule, spectrum); }, rule_);
        return std::min(std::max<Index>(wanted, 1), available);
    }

private:
    using Both = std::vector<RankRule>;  // the two of first_of

    static Index ask(const Both& rules, const Spectrum& spectrum)
    {
        return std::min(rules[0].choose(spectrum), rules[1].choose(spectrum));
    }
    static Index ask(const FixedRank& rule, const Spectrum&) { return rule.rank; }
    static Index ask(const Energy& rule, const Spectrum& spectrum)
    {
        return fewest(spectrum, (1.0 - rule.fraction) * spectrum.reference);
    }
    static Index ask(const Tolerance& rule, const Spectrum& spectrum)
    {
        return fewest(spectrum, rule.relative * rule.relative * spectrum.reference);
    }
    static Index ask(const GavishDonoho& rule, const Spectrum& spectrum)
    {
        const auto [shorter, longer] = std::minmax(spectrum.rows, spectrum.cols);
        require<argument_error>(shorter > 0, "Gavish-Donoho: the rule is for the singular values of a matrix");
        const double beta = static_cast<double>(shorter) / static_cast<double>(longer);
        double threshold = detail::hard_threshold(beta);
        if (rule.noise > 0.0) {
            threshold *= std::sqrt(static_cast<double>(longer)) * std::ldexp(rule.noise, -spectrum.exponent);
        } else {
            require<argument_error>(static_cast<Index>(spectrum.values.size()) == shorter,
                                    "Gavish-Donoho: the noise is unknown and only ", spectrum.values.size(), " of ",
                                    shorter, " singular values are at hand");
            const auto size = spectrum.values.size();
            const double median = 0.5 * (spectrum.values[(size - 1) / 2] + spectrum.values[size / 2]);
            threshold *= median / std::sqrt(detail::noise_median(beta));
        }
        return std::count_if(spectrum.values.begin(), spectrum.values.end(),
                             [&](double value) { return value > threshold; });
    }
    static Index ask(const std::function<Index(const Spectrum&)>& rule, const Spectrum& spectrum)
    {
        return rule(spectrum);
    }

    /// The fewest values to keep so that the error, with what the factors' rounding adds, is at most sqrt(allowed).
    /// Summed from the small end, where a difference of large sums would drown it.
    static Index fewest(const Spectrum& spectrum, double allowed)
    {
        const double most = std::sqrt(allowed) - spectrum.rounding;
        double tail = spectrum.unlisted();
        auto rank = static_cast<Index>(spectrum.values.size());
        while (rank > 0) {
            const double value = spectrum.values[static_cast<std::size_t>(rank - 1)];
            if (value > spectrum.noise && !(std::sqrt(tail + value * value) <= most)) {
                break;
            }
            tail += value * value;
            --rank;
        }
        return rank;
    }

    std::variant<FixedRank, Energy, Tolerance, GavishDonoho, Both, std::function<Index(const Spectrum&)>> rule_;
};

/// The rule that keeps the fewer of what `first` and `second` ask for: it stops at whichever is met first.
[[nodiscard]] inline RankRule first_of(RankRule first, RankRule second)
{
    RankRule result(FixedRank{1});
    result.rule_ = RankRule::Both{std::move(first), std::move(second)};
    return result;
}

}  // namespace wasi::linalg
