// wasi_vit probe: a linear classifier on a model's features, before anything is trained.
#include <cstdio>
#include <utility>

#include <wasi/measure/evaluate.hpp>
#include <wasi/measure/features.hpp>
#include <wasi/measure/linear_probe.hpp>

#include "commands/commands.hpp"
#include "commands/data_source.hpp"
#include "commands/weights.hpp"
#include "options/run_options.hpp"
#include "plan/output_start.hpp"

namespace wasi_examples {
namespace {

/// Features of some examples of a data set, with their labels.
struct Seen {
    wasi::Tensor<float> features;
    std::vector<std::int64_t> labels;
};

[[nodiscard]] Seen look(RunModel& model, const RunData& data, wasi::Index count, wasi::RandomKey key,
                        wasi::Index batch_size)
{
    const auto which = draw_examples(data.size(), count, key);
    return {wasi::measure::features(model, data, which, batch_size), data.gather_labels(which)};
}

}  // namespace

int probe(const ProbeOptions& options)
{
    use_threads(options.threads);
    wasi::Ledger ledger;
    const auto loaded = load_weights({options.weights, options.heads, false, options.image}, ledger);
    auto& model = *loaded.model;
    const TrainAndTest data = load_data(options, model.config().image, preprocessing_of(loaded.origin));
    wasi::require<wasi::argument_error>(data.held_out.has_value(), "probe: ", options.data,
                                        " has no images to measure on beside those to learn from");
    const wasi::RandomKey key(options.seed);
    const Seen train = look(model, data.train, options.train_examples, key.derive(5), options.batch_size);
    const Seen test = look(model, *data.held_out, options.test_examples, key.derive(6), options.batch_size);
    const auto matrix = std::as_const(test.features).matrix();
    const auto probed = wasi::measure::linear_probe<wasi::EigenStorage, float>(
        std::as_const(train.features).matrix(), train.labels, matrix, test.labels, data.class_count, ledger);
    const auto interval = wasi::measure::wilson_interval(probed.correct, probed.count);
    std::printf(
        "linear probe: %.1f %% of %td test images (95 %%: %.1f to %.1f), %td features of %td training images, "
        "ridge penalty %.2g\n",
        100.0 * static_cast<double>(probed.correct) / static_cast<double>(probed.count), probed.count,
        100.0 * interval.first, 100.0 * interval.second, matrix.cols, train.features.shape()[0], probed.penalty);
    if (!options.against.empty()) {
        const auto other = load_weights({options.against, options.heads, false, options.image}, ledger, true);
        const Seen theirs =
            look(*other.model, *data.held_out, options.test_examples, key.derive(6), options.batch_size);
        std::printf("its features agree to %.3f with those of %s (1: the same, 0: unlike)\n",
                    wasi::measure::agreement(matrix, std::as_const(theirs.features).matrix()), options.against.c_str());
    }
    return 0;
}

}  // namespace wasi_examples
