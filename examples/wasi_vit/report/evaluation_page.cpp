#include "report/evaluation_page.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>

#include <wasi/pictures/picture.hpp>

#include "page/page_numbers.hpp"
#include "page/page_shell.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

constexpr Index widest_table = 20;    // classes, on a terminal
constexpr Index widest_matrix = 120;  // on a page

[[nodiscard]] std::string name_of(const Evaluation& evaluation, Index label)
{
    return evaluation.classes.at(static_cast<std::size_t>(label));
}

/// The same for a terminal, where a control character would do something.
[[nodiscard]] std::string shown_name_of(const Evaluation& evaluation, Index label)
{
    return wasi::pictures::shown_name(name_of(evaluation, label));
}

/// A share of the class's examples as a tone.
[[nodiscard]] std::string cell(Index count, Index of_class, bool right)
{
    const double share = of_class > 0 ? static_cast<double>(count) / static_cast<double>(of_class) : 0.0;
    const std::string tone = right ? "37,150,90" : "200,80,50";
    return "<td style=\"text-align:right;padding:.15rem .45rem;background:rgba(" + tone + "," +
           page::fixed_text(count == 0 ? 0.0 : 0.08 + 0.72 * share, 2) + ")\">" +
           (count == 0 ? std::string() : page::count_text(count)) + "</td>";
}

[[nodiscard]] std::string matrix_html(const Evaluation& evaluation)
{
    const auto& matrix = evaluation.matrix;
    std::string html = "<div style=\"overflow-x:auto\"><table style=\"border-collapse:collapse\"><thead><tr><th></th>";
    for (Index c = 0; c < matrix.classes(); ++c) {
        html += "<th style=\"padding:.15rem .45rem\">" + page::escape_html(name_of(evaluation, c)) + "</th>";
    }
    html += "<th style=\"padding:.15rem .45rem\">F1</th></tr></thead><tbody>\n";
    for (Index label = 0; label < matrix.classes(); ++label) {
        html += "<tr><th style=\"text-align:left;padding:.15rem .45rem\">" +
                page::escape_html(name_of(evaluation, label)) + "</th>";
        for (Index c = 0; c < matrix.classes(); ++c) {
            html += cell(matrix.count(label, c), matrix.examples(label), c == label);
        }
        html += "<td style=\"text-align:right;padding:.15rem .45rem\">" + page::fixed_text(matrix.f1(label), 3) +
                "</td></tr>\n";
    }
    return html + "</tbody></table></div>\n";
}

[[nodiscard]] std::string pairs_html(const Evaluation& evaluation)
{
    std::string html = "<table>\n";
    for (const Confusion& pair : worst_confusions(evaluation.matrix, 40)) {
        html += "<tr><td>" + page::escape_html(name_of(evaluation, pair.label)) + "</td><td>taken for " +
                page::escape_html(name_of(evaluation, pair.predicted)) + "</td><td style=\"text-align:right\">" +
                page::count_text(pair.count) + " of " + page::count_text(evaluation.matrix.examples(pair.label)) +
                "</td></tr>\n";
    }
    return html + "</table>\n";
}

[[nodiscard]] std::string tile(const std::string& name, const std::string& value, const std::string& note)
{
    return "<div><dt>" + name + "</dt><dd><span class=\"big\">" + value + "</span><span class=\"small\">" + note +
           "</span></dd></div>\n";
}

/// `text` in at most `width` letters.
[[nodiscard]] std::string cut(const std::string& text, std::size_t width)
{
    return text.size() <= width ? text : text.substr(0, width - 1) + "~";
}

}  // namespace

std::vector<Confusion> worst_confusions(const wasi::measure::ConfusionMatrix& matrix, std::size_t most)
{
    std::vector<Confusion> pairs;
    for (const auto& [pair, count] : matrix.mistakes()) {
        pairs.push_back({pair.first, pair.second, count});
    }
    std::stable_sort(pairs.begin(), pairs.end(),
                     [](const Confusion& a, const Confusion& b) { return a.count > b.count; });
    pairs.resize(std::min(pairs.size(), most));
    return pairs;
}

std::string evaluation_text(const Evaluation& evaluation)
{
    const auto& matrix = evaluation.matrix;
    std::string text = "accuracy " + page::percent_text(evaluation.accuracy(), 2) +
                       " (95 %: " + page::percent_text(evaluation.low, 2) + " to " +
                       page::percent_text(evaluation.high, 2) + "), macro F1 " +
                       page::fixed_text(matrix.macro_f1(), 4) + ", " + page::count_text(matrix.total()) + " images\n";
    if (matrix.classes() <= widest_table) {
        std::size_t width = 5;
        for (Index c = 0; c < matrix.classes(); ++c) {
            width = std::max(width, std::min<std::size_t>(shown_name_of(evaluation, c).size(), 12));
        }
        const auto pad = [&](const std::string& word) {
            return std::string(width - std::min(width, word.size()), ' ') + word;
        };
        text += "\n" + pad("true") + " | taken for\n" + pad("") + " |";
        for (Index c = 0; c < matrix.classes(); ++c) {
            text += " " + pad(cut(shown_name_of(evaluation, c), width));
        }
        text += "\n";
        for (Index label = 0; label < matrix.classes(); ++label) {
            text += pad(cut(shown_name_of(evaluation, label), width)) + " |";
            for (Index c = 0; c < matrix.classes(); ++c) {
                text += " " + pad(std::to_string(matrix.count(label, c)));
            }
            text += "\n";
        }
        return text;
    }
    text += "\nmost often taken for another\n";
    for (const Confusion& pair : worst_confusions(matrix, 20)) {
        text += "  " + shown_name_of(evaluation, pair.label) + " for " + shown_name_of(evaluation, pair.predicted) +
                ": " + std::to_string(pair.count) + " of " + std::to_string(matrix.examples(pair.label)) + "\n";
    }
    return text;
}

std::string evaluation_json(const Evaluation& evaluation)
{
    const auto& matrix = evaluation.matrix;
    nlohmann::ordered_json json;
    json["weights"] = evaluation.weights;
    json["data"] = evaluation.data;
    json["images"] = matrix.total();
    json["accuracy"] = evaluation.accuracy();
    json["accuracy_interval"] = {evaluation.low, evaluation.high};
    json["macro_f1"] = matrix.macro_f1();
    json["classes"] = evaluation.classes;
    json["f1"] = nlohmann::ordered_json::array();
    json["confusion"] = nlohmann::ordered_json::array();
    for (Index label = 0; label < matrix.classes(); ++label) {
        json["f1"].push_back(matrix.f1(label));  // NaN becomes null
        auto row = nlohmann::ordered_json::array();
        for (Index c = 0; c < matrix.classes(); ++c) {
            row.push_back(matrix.count(label, c));
        }
        json["confusion"].push_back(std::move(row));
    }
    return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string evaluation_page(const Evaluation& evaluation)
{
    const auto& matrix = evaluation.matrix;
    std::string body =
        "<header>\n<p class=\"over\">wasi: a model on a data set</p>\n<h1>Evaluation</h1>\n<p "
        "class=\"lead\">" +
        page::escape_html(evaluation.weights) + " on " + page::escape_html(evaluation.data) +
        "</p>\n</header>\n<dl class=\"tiles\">\n" +
        tile("Accuracy", page::percent_text(evaluation.accuracy()),
             page::percent_text(evaluation.low) + " to " + page::percent_text(evaluation.high)) +
        tile("Macro F1", page::fixed_text(matrix.macro_f1(), 3), "mean over classes") +
        tile("Images", page::count_text(matrix.total()),
             page::count_text(matrix.total() - matrix.correct()) + " wrong") +
        "</dl>\n";
    body += matrix.classes() <= widest_matrix
                ? page::figure_html("Confusion", matrix_html(evaluation),
                                    "Rows are true classes, columns what they were taken for; tones are shares of a "
                                    "row. F1 is 2 TP / (2 TP + FP + FN).")
                : page::figure_html("Most often taken for another", pairs_html(evaluation), "");
    if (!evaluation.mistakes.empty()) {
        body += page::figure_html("Most confidently wrong", picture_grid(evaluation.mistakes),
                                  "As the model sees them, the surest mistakes first: what each was taken for, with "
                                  "the model's probability, and what it is.");
    }
    body +=
        "<footer><p>Accuracy is the share of images whose class got the largest logit, with its 95 % Wilson "
        "interval.</p></footer>\n";
    return page::page_shell("Evaluation", body);
}

}  // namespace wasi_examples
