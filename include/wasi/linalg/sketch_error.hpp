#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "wasi/linalg/randomized_svd_options.hpp"
#include "wasi/linalg/range_finder.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/residual.hpp"
#include "wasi/linalg/svd_factors.hpp"

/// What a sketch has of A, how well that is known, and what rank rules are told of it.
namespace wasi::linalg::detail {

/// A rule on an operator is judged by a bound that fails with this probability.
inline constexpr double bound_failure = 1e-6;

/// What the rule would ask for at least: the values beyond those of the sketch are not above its last one, so the most
/// favourable spectrum goes on with that one until the energy is used up.
[[nodiscard]] inline Index least_rank(const RankRule& rule, Spectrum spectrum)
{
    std::vector<double> hopeful(spectrum.values.begin(), spectrum.values.end());
    double left = spectrum.beyond;
    const double last = hopeful.back();
    while (last > 0.0 && left > 0.0 && static_cast<Index>(hopeful.size()) < std::min(spectrum.rows, spectrum.cols)) {
        hopeful.push_back(std::min(last, std::sqrt(left)));
        left -= last * last;
    }
    spectrum.values = hopeful;
    spectrum.beyond = std::max(left, 0.0);
    return rule.choose(spectrum);
}

/// How many random vectors ride along with the first pass.
template <class Operator>
[[nodiscard]] Index probe_count(const RandomizedSvdOptions& options)
{
    if constexpr (has_matrix<Operator>) {
        return options.probes == as_needed ? 8 : options.probes;
    } else {
        // Rules need the estimate, and the adjoint is looked at with the same vectors.
        return options.probes == as_needed ? 16 : std::max<Index>(options.probes, 2);
    }
}

/// What a sketch has of A, and how well that is known.
struct Seen {
    double energy = 0.0;    ///< ||QᵀA||²
    double estimate = 0.0;  ///< of ||A - QQᵀA||², from the probes
    double beyond = 0.0;    ///< the same as rules are to take it: a bound, or exact
    double total = 0.0;     ///< ||A||²
    bool exact = false;     ///< `beyond` is ||A||² - ||QᵀA||², large enough to be a number
};

/// `squared_norm`: ||A||² at the exponent `norm_exponent`, not positive where it is unknown. `share`: what the rule
/// allows of it.
template <class S, Scalar T, class Operator>
[[nodiscard]] Seen look_at(const GuardedOperator<S, T, Operator>& a, const RangeFinder<S, T, Operator>& finder,
                           double squared_norm, int norm_exponent, std::optional<double> share)
{
    Seen seen;
    seen.energy = S::dot(finder.projected(), finder.projected());
    seen.estimate = finder.residual_squared();
    const double factor = finder.probes() > 0 ? norm_bound_factor(finder.probes(), bound_failure) : 1.0;
    // Both energies are rounded, B = QᵀA in T among them, and Q is orthonormal to rounding only: their difference is
    // off by `slack` of the whole, and no rule may live on it where it is not far larger.
    constexpr double slack = 64.0 * static_cast<double>(epsilon<T>);
    constexpr double blind = sizeof(T) < sizeof(double) ? 4e-3 : 1e-9;
    const double known = std::ldexp(squared_norm, 2 * (norm_exponent - a.exponent()));
    if (std::isnormal(known) && known > 0.0) {
        seen.total = known;
        const double rest = known - seen.energy;
        if constexpr (!has_matrix<Operator>) {
            require<argument_error>(rest >= -1e-3 * known && rest <= 1e-3 * known + 2.0 * factor * seen.estimate,
                                    a.who(), ": squared_norm() is ", squared_norm, ", products with A say ",
                                    squared_norm * ((seen.energy + seen.estimate) / known));
        }
        seen.exact = rest > blind * known || (share && *share > 8.0 * blind);
        seen.beyond = seen.exact             ? std::max(rest, 0.0) + slack * known
                      : has_matrix<Operator> ? 2.0 * seen.estimate
                                             : factor * seen.estimate;
    } else {
        seen.beyond = factor * seen.estimate;
        seen.total = seen.energy + seen.beyond;
    }
    return seen;
}

/// What a rank rule is told of a sketch with these singular values.
template <Scalar T, class Guarded>
[[nodiscard]] Spectrum spectrum_of(const Guarded& a, const Seen& seen, std::span<const double> values)
{
    return {values,      seen.total, seen.total,  rounding_floor<T>(a.rows(), a.cols(), values),
            a.rows(),    a.cols(),   seen.beyond, factor_rounding<T> * std::sqrt(seen.total),
            a.exponent()};
}

/// Into `info`, whose residual_estimate is that of the discarded values so far: estimate and bound of all that is left.
template <Scalar T>
void estimate_residual(SvdInfo& info, const Seen& seen, Index probes)
{
    const double tail = info.residual_estimate;
    const bool estimated = probes > 0;
    info.residual_estimate = estimated ? std::sqrt(seen.estimate + tail * tail) : -1.0;
    const double factor = estimated ? norm_bound_factor(probes, bound_failure) : 1.0;
    const double unseen = seen.exact ? seen.beyond : factor * seen.estimate;
    info.residual_bound =
        seen.exact || estimated ? std::sqrt(unseen + tail * tail) + factor_rounding<T> * std::sqrt(seen.total) : -1.0;
    info.bound_failure = seen.exact ? 0.0 : bound_failure;
}

}  // namespace wasi::linalg::detail
