#include "page/chart_axis.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "page/page_numbers.hpp"

namespace page {
namespace {

/// Larger than any loss worth drawing, and far from where differences overflow.
constexpr double largest_shown = 1e100;

/// The round number (1, 2 or 5 times a power of ten) that is at least `value` > 0.
double round_up(double value)
{
    const double power = std::pow(10.0, std::floor(std::log10(value)));
    for (const double factor : {1.0, 2.0, 5.0}) {
        if (factor * power >= value * (1.0 - 1e-9)) {
            return factor * power;
        }
    }
    return 10.0 * power;
}

/// The round number that is at most `value` > 0.
double round_down(double value)
{
    const double power = std::pow(10.0, std::floor(std::log10(value) + 1e-9));
    for (const double factor : {5.0, 2.0}) {
        if (factor * power <= value * (1.0 + 1e-9)) {
            return factor * power;
        }
    }
    return power;
}

std::string short_form(double value)
{
    std::string text = significant(value, 2);
    const std::size_t mark = text.find(".0e");
    return mark == std::string::npos ? text : text.erase(mark, 2);
}

/// `value`, a multiple of `step`, without digits that every tick would share.
std::string tick_text(double value, double step)
{
    if (std::abs(value) < 1e-9 * step) {
        return "0";
    }
    if (step < 0.9e-4) {
        return short_form(value);
    }
    if (step >= 1e5) {
        return significant(value, 3);
    }
    if (step >= 1.0) {
        return count_text(static_cast<wasi::Index>(std::llround(value)));
    }
    return fixed_text(value, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
}

}  // namespace

Axis Axis::linear(double low, double high, int target, bool rounded)
{
    if (!std::isfinite(low) || !std::isfinite(high) || std::max(std::abs(low), std::abs(high)) > largest_shown) {
        low = 0.0;
        high = 1.0;
    }
    if (high < low) {
        std::swap(low, high);
    }
    if (high - low <= 1e-12 * std::max(std::abs(low), std::abs(high))) {
        const double margin = low == 0.0 ? 0.5 : 0.5 * std::abs(low);
        Axis around(low - margin, high + margin, false);
        if (!rounded) {  // one value: name it and nothing else
            around.ticks_.push_back({0.5, significant(low)});
            return around;
        }
        low = around.low_;
        high = around.high_;
    }
    const double step = round_up((high - low) / static_cast<double>(std::max(target, 1)));
    if (rounded) {
        low = step * std::floor(low / step + 1e-9);
        high = step * std::ceil(high / step - 1e-9);
    }
    Axis axis(low, high, false);
    const double first = std::ceil(low / step - 1e-9);
    for (double i = first; i * step <= high + 1e-9 * step; i += 1.0) {
        axis.ticks_.push_back({axis.fraction(i * step), tick_text(i * step, step)});
    }
    return axis;
}

Axis Axis::logarithmic(double low, double high)
{
    if (!(low > 0.0) || !(high >= low) || high > largest_shown) {
        return linear(low, high, 5, true);
    }
    Axis axis(round_down(low), high > low ? round_up(high) : 2.0 * high, true);
    const int first = static_cast<int>(std::floor(std::log10(axis.low_) + 1e-9));
    const int last = static_cast<int>(std::floor(std::log10(axis.high_) + 1e-9));
    const int decades = last - first + 1;
    const int stride = std::max(1, decades / 6);
    for (int decade = first; decade <= last; decade += stride) {
        for (const double factor : {1.0, 2.0, 5.0}) {
            const double value = factor * std::pow(10.0, decade);
            const bool inside = value >= axis.low_ * (1.0 - 1e-9) && value <= axis.high_ * (1.0 + 1e-9);
            if (inside && (factor == 1.0 || decades <= 3)) {
                axis.ticks_.push_back({axis.fraction(value), significant(value, 1)});
            }
        }
    }
    return axis;
}

bool Axis::shows(double value) const
{
    return std::isfinite(value) && std::abs(value) <= largest_shown && (!logarithmic_ || value > 0.0);
}

double Axis::fraction(double value) const
{
    const double part =
        logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return std::clamp(part, 0.0, 1.0);
}

}  // namespace page
