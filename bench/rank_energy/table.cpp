// The measurements as text: for other programs and for the terminal.
#include <cmath>
#include <cstdio>
#include <limits>

#include <wasi/core/text_stream.hpp>

#include "page/page_numbers.hpp"
#include "report.hpp"

namespace wasi_bench {
namespace {

[[nodiscard]] std::string joined(const std::vector<wasi::Index>& ranks)
{
    std::string text;
    for (const wasi::Index rank : ranks) {
        text += (text.empty() ? "" : "x") + std::to_string(rank);
    }
    return text;
}

/// A field in quotes where it needs them: a tensor may be called anything.
[[nodiscard]] std::string field(const std::string& text)
{
    if (text.find_first_of(",\"\n\r") == std::string::npos) {
        return text;
    }
    std::string quoted = "\"";
    for (const char c : text) {
        quoted += c == '"' ? "\"\"" : std::string(1, c);
    }
    return quoted + "\"";
}

}  // namespace

std::string csv(const Setting& setting, const std::vector<Measurement>& measurements)
{
    wasi::TextStream out;
    out.precision(std::numeric_limits<double>::max_digits10);
    out << "source,shape,route,taken,rule,asked,rank,ranks,captured_energy,relative_error,optimal_error,bytes,"
           "dense_bytes,median_seconds,repeats\n";
    for (const Measurement& m : measurements) {
        out << field(setting.source) << ',' << setting.shape << ',' << m.route << ',' << m.taken << ',' << m.rule << ','
            << m.asked << ',' << m.largest_rank() << ',' << joined(m.ranks) << ',' << m.captured_energy << ','
            << m.relative_error << ',';
        if (std::isfinite(m.optimal_error)) {
            out << m.optimal_error;
        }
        out << ',' << m.bytes << ',' << setting.dense_bytes << ',' << m.seconds << ',' << setting.repeats << '\n';
    }
    return out.str();
}

std::string table_heading()
{
    return "route      | asked        | ranks         |  energy | rel. error |  optimal | bytes           |   median\n"
           "-----------+--------------+---------------+---------+------------+----------+-----------------+---------\n";
}

std::string table_row(const Measurement& m, double dense_bytes)
{
    using namespace page;
    const std::string asked =
        m.rule + " " + (m.rule == "rank" ? std::to_string(std::llround(m.asked)) : significant(m.asked, 3));
    const std::string optimal = std::isfinite(m.optimal_error) ? significant(m.optimal_error, 3) : "";
    char row[256];
    // A space that does not break has two bytes: widths of bytes and times are one more than what is seen.
    std::snprintf(row, sizeof row, "%-10s | %-12s | %-13s | %6.2f%% | %10s | %8s | %9s %5.0f%% | %9s%s\n",
                  m.route.c_str(), asked.c_str(), joined(m.ranks).c_str(), 100.0 * m.captured_energy,
                  significant(m.relative_error, 3).c_str(), optimal.c_str(), bytes_text(m.bytes).c_str(),
                  100.0 * m.bytes / dense_bytes, seconds_text(m.seconds).c_str(),
                  m.taken == m.route ? "" : ("  by the " + m.taken + " route").c_str());
    return row;
}

}  // namespace wasi_bench
