#pragma once
#include <string>
#include <vector>

namespace page {

/// A place on an axis and what is written there.
struct Tick {
    double fraction;  ///< 0 at the low end of the axis, 1 at the high end
    std::string text;
};

/// One axis of a chart: maps values to fractions of its length and chooses round numbers to write beside it.
/// Thread safety: immutable.
class Axis {
public:
    /// From `low` to `high` evenly, with about `target` ticks. A rounded axis goes on to the next tick at both ends.
    /// A range that is empty or not finite becomes one around its value, or 0..1.
    [[nodiscard]] static Axis linear(double low, double high, int target, bool rounded);

    /// From `low` to `high` > 0 by the logarithm, with ticks at 1, 2 and 5 times powers of ten, or at powers of ten
    /// alone.
    [[nodiscard]] static Axis logarithmic(double low, double high);

    /// Whether `value` has a place here: finite, of a sensible size, and positive on a logarithmic axis.
    [[nodiscard]] bool shows(double value) const;

    /// Where `value` lies, held within 0..1. Only for values that the axis shows.
    [[nodiscard]] double fraction(double value) const;

    [[nodiscard]] const std::vector<Tick>& ticks() const { return ticks_; }

private:
    Axis(double low, double high, bool logarithmic) : low_(low), high_(high), logarithmic_(logarithmic) {}

    double low_;
    double high_;
    bool logarithmic_;
    std::vector<Tick> ticks_;
};

}  // namespace page
