#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
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
    return rule.choose({values, total, from.reference, noise, from.n, from.others});
}

/// How many to keep of values that are right to `floor`, each. A rule that could let one value of that size go and
/// wants some of them all the same wants them because they are many; so it gets them. Any other is told that they are
/// rounding. The rule is asked about the values themselves last.
[[nodiscard]] inline Index count_to_keep(const linalg::RankRule& rule, std::span<const double> values, double floor,
                                         const Unfolding& from)
{
    const Index strict = ask(rule, values, 0.0, from);
    const Index usual = ask(rule, values, floor, from);
    if (strict == usual || values.size() < 2) {
        return usual;
    }
    std::vector<double> one(values.size(), 0.0);
    one[0] = std::max(values[0], floor);
    one[1] = floor;
    Unfolding alone = from;
    alone.beyond = 0.0;
    return ask(rule, one, 0.0, alone) == 1 ? strict : usual;
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
/// Energy{e}, t² for Tolerance{t}. Found by asking, since a rule may be a combination of others. Nothing for rules that
/// promise no error (a fixed rank, Gavish-Donoho, a callable that counts) or were cut short by one.
[[nodiscard]] inline std::optional<double> allowed_share(const linalg::RankRule& rule, Index n, Index others,
                                                         Index kept)
{
    if (rule.fixed() || rule.needs_all_values()) {
        return std::nullopt;
    }
    const auto size = static_cast<std::size_t>(std::max<Index>(2, std::min(n, others)));
    const Index least = static_cast<Index>(size);
    std::vector<double> values(size, 0.0);
    // Whether the second of the two values 1 and `second`, times `scale`, has to be kept.
    const auto keeps = [&](double second, double scale = 1.0) {
        values[0] = scale;
        values[1] = second * scale;
        return ask(rule, values, 0.0, {std::max(n, least), std::max(others, least), scale * scale, 0.0}) > 1;
    };
    constexpr double nothing = 1e-150;
    if (keeps(0.0) || !keeps(1.0)) {
        return std::nullopt;
    }
    double below = nothing;
    double above = 1.0;
    if (keeps(nothing)) {
        below = 0.0;
    }
    while (below > 0.0 && above > below * (1.0 + 1e-15)) {
        const double middle = std::sqrt(below) * std::sqrt(above);
        if (middle <= below || middle >= above) {
            break;
        }
        (keeps(middle) ? above : below) = middle;
    }
    // A share stays a share at another size; a threshold does not.
    if (below > 0.0 && (keeps(0.999 * below, 1024.0) || !keeps(std::min(1.0, 1.001 * above), 1.0 / 1024.0))) {
        return std::nullopt;
    }
    std::fill(values.begin(), values.end(), 1.0);
    const Index cap = ask(rule, values, 0.0, {std::max(n, least), std::max(others, least), 1e-300, 0.0});
    if (cap < least && kept >= cap) {
        return std::nullopt;
    }
    return below * below;
}

}  // namespace wasi::tensor::detail
