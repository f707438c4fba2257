#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <variant>

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

/// What a rule may look at. `total` is the sum of all squared singular values, also of those that are not listed;
/// `reference` is the energy that fractions are taken of (the whole tensor's, when modes are truncated one after
/// another).
struct Spectrum {
    std::span<const double> values;  // descending
    double total;
    double reference;
    double noise = 0.0;  // values at or below this are rounding, not data; energy 1 does not keep them
};

/// How many singular values to keep: a fixed number, an energy, a tolerance, or any callable Index(const Spectrum&).
/// Rules are asked by algorithms; the answer is clamped to [1, number of values] by `choose` (0 for an empty spectrum).
/// Throws argument_error for a rank below 1, an energy outside (0, 1], a tolerance outside [0, 1).
class RankRule {
public:
    template <std::integral I>
    RankRule(I rank)  // NOLINT(google-explicit-constructor): {.rank = 64} is the common case
        : RankRule(FixedRank{static_cast<Index>(rank)})
    {
    }
    RankRule(FixedRank rule) : rule_(rule)  // NOLINT(google-explicit-constructor)
    {
        require<argument_error>(rule.rank >= 1, "rank must be at least 1, got ", rule.rank);
    }
    RankRule(Energy rule) : rule_(rule)  // NOLINT(google-explicit-constructor)
    {
        require<argument_error>(rule.fraction > 0.0 && rule.fraction <= 1.0, "energy must be in (0, 1], got ",
                                rule.fraction);
    }
    RankRule(Tolerance rule) : rule_(rule)  // NOLINT(google-explicit-constructor)
    {
        require<argument_error>(rule.relative >= 0.0 && rule.relative < 1.0, "tolerance must be in [0, 1), got ",
                                rule.relative);
    }
    template <class F>
    requires std::is_invocable_r_v<Index, const F&, const Spectrum&> RankRule(
        F rule)  // NOLINT(google-explicit-constructor)
        : rule_(std::function<Index(const Spectrum&)>(std::move(rule)))
    {
    }

    /// The rank, when it is known before any spectrum is.
    [[nodiscard]] std::optional<Index> fixed() const
    {
        const auto* rule = std::get_if<FixedRank>(&rule_);
        return rule == nullptr ? std::nullopt : std::optional<Index>(rule->rank);
    }

    [[nodiscard]] Index choose(const Spectrum& spectrum) const
    {
        const auto available = static_cast<Index>(spectrum.values.size());
        const Index wanted = std::visit([&](const auto& rule) { return ask(rule, spectrum); }, rule_);
        return std::min(std::max<Index>(wanted, 1), available);
    }

private:
    static Index ask(const FixedRank& rule, const Spectrum&) { return rule.rank; }
    static Index ask(const Energy& rule, const Spectrum& spectrum)
    {
        return fewest(spectrum, (1.0 - rule.fraction) * spectrum.reference);
    }
    static Index ask(const Tolerance& rule, const Spectrum& spectrum)
    {
        return fewest(spectrum, rule.relative * rule.relative * spectrum.reference);
    }
    static Index ask(const std::function<Index(const Spectrum&)>& rule, const Spectrum& spectrum)
    {
        return rule(spectrum);
    }

    /// The fewest values to keep so that the discarded energy is at most `allowed`. Summed from the small end, where a
    /// difference of large sums would drown it.
    static Index fewest(const Spectrum& spectrum, double allowed)
    {
        double listed = 0.0;
        for (const double value : spectrum.values) {
            listed += value * value;
        }
        // What is not listed is part of the tail; a rounding residue of the two sums is not.
        const double unlisted = spectrum.total - listed;
        double tail = unlisted > 1e-12 * spectrum.total ? unlisted : 0.0;
        auto rank = static_cast<Index>(spectrum.values.size());
        while (rank > 0) {
            const double value = spectrum.values[static_cast<std::size_t>(rank - 1)];
            if (tail + value * value > allowed && value > spectrum.noise) {
                break;
            }
            tail += value * value;
            --rank;
        }
        return rank;
    }

    std::variant<FixedRank, Energy, Tolerance, std::function<Index(const Spectrum&)>> rule_;
};

}  // namespace wasi::linalg
