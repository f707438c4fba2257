#include "plan/method_table.hpp"

#include <algorithm>
#include <cstdio>

#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

[[nodiscard]] std::string size(std::size_t bytes)
{
    return page::bytes_text(static_cast<double>(bytes));
}

[[nodiscard]] std::string error_text(double error)
{
    return page::significant(error, 2);
}

[[nodiscard]] double error_of(const MethodRow& row)
{
    return row.output_error + row.gradient_error;
}

[[nodiscard]] std::string what_it_is(const MethodRow& row)
{
    return row.method + (row.setting.empty() ? "" : " (" + row.setting + ")");
}

[[nodiscard]] std::string verdict(const MethodRow& row, std::size_t budget)
{
    return row.fits ? "fits" : size(row.process - budget) + " too much";
}

[[nodiscard]] std::string padded(std::string text, std::size_t width)
{
    text.resize(std::max(text.size(), width), ' ');
    return text;
}

}  // namespace

std::string MethodTable::reason() const
{
    if (rows.empty()) {
        return measured;
    }
    const MethodRow& best = rows[chosen];
    std::string text;
    for (const MethodRow& row : rows) {
        if (!row.fits && error_text(error_of(row)) != error_text(error_of(best)) && error_of(row) < error_of(best)) {
            text += what_it_is(row) + " would err less (" + error_text(error_of(row)) + ") but needs " +
                    size(row.process) + ", " + verdict(row, budget) + ". ";
        }
    }
    if (error_of(best) == 0.0) {
        text += what_it_is(best) + " fits and errs nothing";
    } else {
        text += "Of what fits, " + what_it_is(best) + " errs least: " + error_text(error_of(best)) + ", of which " +
                error_text(best.output_error) + " is of the features and " + error_text(best.gradient_error) +
                " of the gradient";
    }
    const MethodRow* next = nullptr;
    for (const MethodRow& row : rows) {
        if (row.fits && &row != &best && (next == nullptr || error_of(row) < error_of(*next))) {
            next = &row;
        }
    }
    if (next == nullptr) {
        return text + ". Nothing else fits.";
    }
    if (error_text(error_of(*next)) == error_text(error_of(best))) {
        return text + "; " + what_it_is(*next) + " errs as little and takes " +
               page::significant(next->work / best.work, 2) + " times its time.";
    }
    return text + "; next would be " + what_it_is(*next) + " with " + error_text(error_of(*next)) + ".";
}

std::string MethodTable::text() const
{
    std::string text = "Methods within " + size(budget) + ". " + measured + "\n";
    if (rows.empty()) {
        return text;
    }
    std::size_t names = 6;
    std::size_t settings = 8;
    for (const MethodRow& row : rows) {
        names = std::max(names, row.method.size());
        settings = std::max(settings, row.setting.size());
    }
    const auto line = [&](const std::string& mark, const std::string& name, const std::string& setting,
                          const std::array<std::string, 6>& cells) {
        std::array<char, 400> written{};
        std::snprintf(written.data(), written.size(), "  %s %s  %s %12s %9s %9s %6s  %-18s %s\n", mark.c_str(),
                      padded(name, names).c_str(), padded(setting, settings).c_str(), cells[0].c_str(),
                      cells[1].c_str(), cells[2].c_str(), cells[3].c_str(), cells[4].c_str(), cells[5].c_str());
        text += written.data();
    };
    line(" ", "method", "settings", {"process", "features", "gradient", "micro", "", "blocks keep"});
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const MethodRow& row = rows[i];
        line(i == chosen ? ">" : " ", row.method, row.setting,
             {size(row.process), error_text(row.output_error), error_text(row.gradient_error),
              std::to_string(row.micro_batches), verdict(row, budget), row.keep});
    }
    return text + "  " + reason() + "\n  The same by hand: " + command + "\n";
}

std::string MethodTable::csv() const
{
    std::string text =
        "method,setting,blocks_keep,micro_batches,process_bytes,output_error,gradient_error,fits,chosen\n";
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const MethodRow& row = rows[i];
        std::array<char, 300> line{};
        std::snprintf(line.data(), line.size(), "\"%s\",\"%s\",\"%s\",%td,%zu,%.6g,%.6g,%d,%d\n", row.method.c_str(),
                      row.setting.c_str(), row.keep.c_str(), row.micro_batches, row.process, row.output_error,
                      row.gradient_error, row.fits ? 1 : 0, i == chosen ? 1 : 0);
        text += line.data();
    }
    return text;
}

std::string MethodTable::html() const
{
    std::string text = "<section>\n<h2>Why this method</h2>\n<p>" + page::escape_html(reason()) + "</p>\n";
    if (!rows.empty()) {
        text += "<p>" + page::escape_html(measured) + " The budget was " + size(budget) + ". The same by hand: <code>" +
                page::escape_html(command) +
                "</code></p>\n<div class=\"scroll\"><table "
                "class=\"data\">\n<thead><tr><th>Method</th><th>Settings</th><th>Blocks "
                "keep</th><th>Micro-batches</th><th>Process</th><th>Error of the features</th><th>Error of the "
                "gradient</th><th></th></tr></thead>\n<tbody>\n";
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const MethodRow& row = rows[i];
            const std::string name = page::escape_html(row.method);
            text += "<tr><td>" + (i == chosen ? "<b>" + name + "</b>" : name) + "</td><td>" +
                    page::escape_html(row.setting) + "</td><td>" + page::escape_html(row.keep) + "</td><td>" +
                    std::to_string(row.micro_batches) + "</td><td>" + size(row.process) + "</td><td>" +
                    error_text(row.output_error) + "</td><td>" + error_text(row.gradient_error) + "</td><td>" +
                    verdict(row, budget) + "</td></tr>\n";
        }
        text += "</tbody></table></div>\n";
    }
    return text + "</section>\n";
}

}  // namespace wasi_examples
