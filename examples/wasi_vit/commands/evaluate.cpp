// wasi_vit evaluate: how a model does on a data set.
#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#include <optional>
#include <span>
#include <tuple>

#include <wasi/io/atomic_file.hpp>
#include <wasi/measure/evaluate.hpp>

#include "commands/commands.hpp"
#include "commands/data_source.hpp"
#include "commands/run_keeper.hpp"
#include "commands/weights.hpp"
#include "files/output_folder.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"
#include "report/evaluation_page.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

constexpr std::size_t most_mistakes = 24;

/// An example that was taken for another class, and how surely.
struct Mistake {
    Index example = 0;
    Index label = 0;
    wasi::measure::Guess guess;
};

/// Counts every example and returns the surest mistakes, of equally sure ones the first.
[[nodiscard]] std::vector<Mistake> look_at(RunModel& model, const RunData& data, Index batch_size,
                                           wasi::measure::ConfusionMatrix& matrix)
{
    std::vector<Index> all(static_cast<std::size_t>(data.size()));
    std::iota(all.begin(), all.end(), Index{0});
    const auto labels = data.gather_labels(all);
    std::vector<Mistake> mistakes;
    const auto keep_surest = [&] {
        std::stable_sort(mistakes.begin(), mistakes.end(),
                         [](const Mistake& a, const Mistake& b) { return a.guess.probability > b.guess.probability; });
        mistakes.resize(std::min(mistakes.size(), most_mistakes));
    };
    wasi::measure::for_each_logits(model, data, batch_size, [&](Index i, std::span<const float> logits) {
        const auto label = static_cast<Index>(labels[static_cast<std::size_t>(i)]);
        const Index taken = std::max_element(logits.begin(), logits.end()) - logits.begin();
        matrix.add(label, taken);
        if (taken != label) {
            mistakes.push_back({i, label, wasi::measure::likeliest(logits, 1).front()});
        }
        if (mistakes.size() >= 2 * most_mistakes) {
            keep_surest();
        }
    });
    keep_surest();
    return mistakes;
}

}  // namespace

int evaluate(const FinetuneOptions& options)
{
    use_threads(options.threads);
    std::optional<OutputFolder> folder;
    if (!options.out.empty()) {
        folder.emplace(options.out);
    }
    wasi::Ledger ledger;
    const auto loaded = load_weights({options.weights, options.heads, false, options.image}, ledger);
    auto& model = *loaded.model;
    require_head(model.config().head);
    const TrainAndTest data = load_data(options, model.config().image, preprocessing_of(loaded.origin));
    // With --validation it is those images, as a run with the same --seed compares its epochs by.
    const RunData& test = data.validation ? *data.validation : data.test();
    check_labels(test, model.config().classes, options);
    std::printf("Measured on %s images%s.\n", page::count_text(test.size()).c_str(),
                data.held_out || data.validation ? "" : ", all that --data names");

    Evaluation evaluation;
    evaluation.weights = options.weights;
    evaluation.data = options.data;
    evaluation.matrix = wasi::measure::ConfusionMatrix(model.config().classes);
    evaluation.classes = class_names(loaded.classes.empty() ? data.classes : loaded.classes, model.config().classes);
    const std::vector<Mistake> mistakes = look_at(model, test, options.batch_size, evaluation.matrix);
    std::tie(evaluation.low, evaluation.high) =
        wasi::measure::wilson_interval(evaluation.matrix.correct(), evaluation.matrix.total());
    std::fputs(evaluation_text(evaluation).c_str(), stdout);
    if (options.out.empty()) {
        return 0;
    }
    for (const Mistake& mistake : mistakes) {
        const std::array<Index, 1> one{mistake.example};
        const auto picture = test.gather(one, wasi::RandomKey(0), ledger);
        const auto& names = evaluation.classes;
        const std::string taken = names[static_cast<std::size_t>(mistake.guess.label)];
        const std::string truth = names[static_cast<std::size_t>(mistake.label)];
        evaluation.mistakes.push_back({picture_source(picture, 0, data.pixels),
                                       taken + " " + page::percent_text(mistake.guess.probability, 0) + ", is " + truth,
                                       wasi::data::name_of(test, mistake.example)});
    }
    const std::filesystem::path out(options.out);
    wasi::io::write_file_atomically(out / "evaluate.json", evaluation_json(evaluation));
    wasi::io::write_file_atomically(out / "evaluate.html", evaluation_page(evaluation));
    return 0;
}

}  // namespace wasi_examples
