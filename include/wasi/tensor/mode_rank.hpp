#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "wasi/linalg/rank_rule.hpp"

/// How many singular values of a mode to keep, when these are known to some accuracy only; and what a rule allows.
namespace wasi::tensor::detail {

/// The matrix whose values a rule is asked about, an unfolding (n, others).
struct Unfolding {
    Index n = 0;
    Index others = 0;
    double reference = 0.0;  ///< the energy that fractions are of: the whole tensor's
    double beyond = 0.0;     ///< energy of the mode that is lost already and stands in no value
};

/// What the rule says to these values; those at or below `noise` are not data.
[[nodiscard]] inline Index ask(const linalg::RankRule& rule, std::span<const double> values, double noise,
                               const Unfolding& from)
{
    double total = from.beyond;
    for (const double value : values) {
        total += value * value;
    }
    return rule.choose({values, total, from.reference, noise, from.n, from.others, from.beyond});
}

/// How many to keep of values that are right to `floor`, each. A rule that could let one value of that size go and
/// wants some of them all the same wants them because they are many; so it gets them. Any other is told that they are
/// rounding. The rule is asked about the values with their floor last.
[[nodiscard]] inline Index count_to_keep(const linalg::RankRule& rule, std::span<const double> values, double floor,
                                         const Unfolding& from)
{
    const Index strict = ask(rule, values, 0.0, from);
    const Index usual = ask(rule, values, floor, from);
    return rule.allowed_share().value_or(0.0) * from.reference >= floor * floor ? std::max(strict, usual) : usual;
}

/// Whether the leading `count` eigenvectors of a Gram matrix are good enough, its squares right to `delta`, each.
/// Vectors of a value s are off by about epsilon s_1² / s² and leave epsilon s_1² / s of it behind: nothing beside a
/// tail that the squares can tell, or where all that is kept is large; and nothing is left behind where all is kept.
[[nodiscard]] inline bool vectors_by_squares(std::span<const double> squares, Index count, double delta)
{
    const auto kept = static_cast<std::size_t>(count);
    if (count == 0 || kept == squares.size() || !(delta > 0.0) || squares[kept - 1] >= 0.01 * squares[0]) {
        return true;
    }
    double tail = 0.0;
    for (const double square : squares.subspan(kept)) {
        tail += std::max(0.0, square);
    }
    return squares[kept - 1] > 100.0 * delta && tail > 100.0 * delta;
}

/// How many to keep when the *squares* are right to `delta`, each; nothing when that does not decide it: the rule would
/// answer differently at the two ends, or the vectors would not be good enough.
[[nodiscard]] inline std::optional<Index> count_by_squares(const linalg::RankRule& rule,
                                                           std::span<const double> squares, double delta,
                                                           std::span<double> values, const Unfolding& from)
{
    const auto take = [&](double shift) {
        std::transform(squares.begin(), squares.end(), values.begin(),
                       [&](double square) { return std::sqrt(std::max(0.0, std::max(0.0, square) + shift)); });
    };
    take(-delta);
    const Index fewest = ask(rule, values, 0.0, from);
    take(delta);
    const Index most = ask(rule, values, 0.0, from);
    take(0.0);
    static_cast<void>(ask(rule, values, std::sqrt(delta), from));  // for rules that listen
    return fewest == most && vectors_by_squares(squares, most, delta) ? std::optional<Index>(most) : std::nullopt;
}

/// The share of the energy that a rule lets go in a mode (n, others) that it keeps `kept` values of: 1 - e for
/// Energy{e}, t² for Tolerance{t}. Nothing for rules that promise no error (a fixed rank, Gavish-Donoho, a callable) or
/// were cut short by one.
[[nodiscard]] inline std::optional<double> allowed_share(const linalg::RankRule& rule, Index n, Index others,
                                                         Index kept)
{
    const std::vector<double> values(static_cast<std::size_t>(std::min(n, others)));
    linalg::Spectrum spectrum{values, 0.0, 0.0, 0.0, n, others};
    spectrum.reference = 1.0;
    const auto allows = [&](double share) { return rule.met(share, kept, spectrum); };
    const auto share = rule.allowed_share();
    if (!share || allows(std::numeric_limits<double>::infinity())) {  // what any error meets binds none
        return std::nullopt;
    }
    double below = *share;
    double above = 1.0;
    // Of two rules it is the looser that binds; a single one allows nothing more.
    for (int step = 0; step < 100 && allows(below * (1.0 + 1e-12) + 1e-300); ++step) {
        const double middle = 0.5 * (below + above);
        (allows(middle) ? below : above) = middle;
    }
    return below;
}

}  // namespace wasi::tensor::detail
