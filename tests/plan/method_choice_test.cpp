// The choice among methods: the least error that fits, by brute force; and what was chosen stays within its forecast.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <support/models.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/plan/method_choice.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::Precision;
using wasi::nn::VisionTransformerConfig;
using wasi::optim::AdamWOptions;
using wasi::optim::OptimizerOptions;
using wasi::optim::SgdOptions;
using wasi::plan::MemoryPlanOptions;
using wasi::plan::MethodErrors;
using wasi::plan::WaysGiven;
using MethodChoice = wasi::plan::MethodChoice<Model<float>>;
using RunDescription = wasi::plan::RunDescription<Model<float>>;
using Way = wasi::plan::WayToTrain<Model<float>>;

constexpr VisionTransformerConfig small{
    .image = 16, .patch = 4, .dim = 48, .depth = 2, .heads = 3, .mlp = 96, .classes = 7};
constexpr VisionTransformerConfig deep{
    .image = 8, .patch = 2, .dim = 32, .depth = 4, .heads = 2, .mlp = 128, .classes = 3};

/// One thread, so that workspaces of loops are counted once.
class OneThread {
public:
    OneThread() { wasi::set_thread_count(1); }
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;
    ~OneThread() { wasi::set_thread_count(before_); }

private:
    int before_ = wasi::thread_count();
};

[[nodiscard]] RunDescription describe_run(const VisionTransformerConfig& config, Index batch,
                                          const OptimizerOptions& optimizer)
{
    RunDescription run;
    run.model = config;
    run.optimizer = optimizer;
    run.training.batch_size = batch;
    run.training.clip_norm = 1.0;
    run.images = 2 * batch + 1;
    run.threads = 1;
    return run;
}

/// What a measurement could have found: low rank errs most, int8 a little, adapters follow a third of the gradient.
struct Found {
    MethodErrors errors;
    WaysGiven given;
};
[[nodiscard]] Found found_of(const VisionTransformerConfig& config, bool elementwise)
{
    Found found;
    WaysGiven& given = found.given;
    given.elementwise = elementwise;
    given.adapter.rank = 4;
    given.energies = {0.9, 0.5};
    given.sizes = {0.5};
    given.size_errors = {0.45};
    for (Index i = 0; i < 4 * config.depth; ++i) {
        const auto layers = static_cast<double>(4 * config.depth);
        auto& layer = found.errors.layers.emplace_back();
        layer.gain_squares = {1.0 / layers};
        layer.input_energy = 1.0;
        layer.inputs = 1;
        layer.adapter = {.both = 0.3, .b_alone = 0.1, .gradient = 1.0};
        layer.output_errors = {0.16 / layers, 0.64 / layers};
        layer.weight_parts = {0.8, 0.5};
        layer.output_parts = {0.75};
        given.weight_ranks.push_back({12, 4});
        given.output_ranks.push_back({9});
        given.rounding.push_back({{1e-6}, {1e-4}});
    }
    found.errors.saves = {0.0, 0.004, 0.0005, 0.02, 0.3};
    return found;
}

[[nodiscard]] MemoryPlanOptions few_choices()
{
    MemoryPlanOptions options;
    const auto all = wasi::plan::method_keep_presets();
    options.keep = {all.front(), all.at(1), all.at(6), all.back()};
    options.slack = options.slack_per_thread = 0;
    return options;
}

/// Trains as was chosen, and compares what was booked with what was said.
void check_training_stays_within(const MethodChoice& choice)
{
    const auto& best = choice.best();
    wasi::Ledger ledger;
    Model<float> model(best.run.model, ledger);
    randomize(model, 1);
    std::size_t layer = 0;
    std::size_t other = 0;
    model.visit([&](wasi::nn::Place, auto& part) {
        if constexpr (requires { part.weight; }) {
            wasi::nn::set_up(part, best.run.layers.at(layer), wasi::RandomKey(layer));
            ++layer;
        } else if constexpr (requires { part.values; }) {
            part.set_trainable(best.run.trainable.at(other++));
        }
    });
    wasi::nn::keep(model, best.keep.keep);
    const auto optimizer = wasi::optim::make_optimizer<float, EigenStorage>(best.run.optimizer, ledger);
    ledger.open_arena();
    ledger.reset_peaks();
    auto training = best.run.training;
    training.rate = 0.01;
    wasi::train::train(model, random_images<float>(best.run.model, best.run.images, 2), *optimizer, training,
                       wasi::RandomKey(5));
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        CAPTURE(wasi::to_string(static_cast<wasi::Use>(use)));
        CHECK(ledger.of(static_cast<wasi::Use>(use)).peak <= best.forecast.peaks[use]);
    }
    CHECK(ledger.total().peak <= best.forecast.total);
    CHECK(ledger.total().current - ledger.arena_used() + ledger.arena_high_water() + choice.base <= best.process);
}

/// The least budget, from the message of a refusal.
[[nodiscard]] std::size_t least_budget(const std::vector<Way>& ways, const MethodErrors& errors,
                                       const MemoryPlanOptions& options)
{
    std::size_t least = 1;
    for (;;) {  // where nothing fits at all, not everything is looked at
        try {
            static_cast<void>(wasi::plan::choose_method<Model<float>>(ways, errors, least, options));
            return least;
        } catch (const wasi::budget_error& refusal) {
            const std::string text = refusal.what();
            const auto at = text.find("needs is ");
            REQUIRE_MESSAGE(at != std::string::npos, text);
            const auto named = static_cast<std::size_t>(std::stoull(text.substr(at + 9)));
            REQUIRE(named > least);
            least = named;
        }
    }
}

TEST_CASE("method choice: what was chosen trains within its forecast and that within the budget, the least error first")
{
    const OneThread one_thread;
    struct Case {
        VisionTransformerConfig config;
        Index batch;
        OptimizerOptions optimizer;
    };
    std::set<std::string> seen;
    for (const Case& one : {Case{small, 3, SgdOptions{}}, Case{deep, 3, AdamWOptions{}}}) {
        CAPTURE(one.config.dim);
        CAPTURE(one.batch);
        const auto run = describe_run(one.config, one.batch, one.optimizer);
        const auto found = found_of(one.config, std::holds_alternative<AdamWOptions>(one.optimizer));
        const auto ways = wasi::plan::ways_to_train<Model<float>>(run, found.errors, found.given);
        const auto options = few_choices();
        const std::size_t least = least_budget(ways, found.errors, options);
        double error_before = 1e30;
        for (const double more : {1.0, 2.0, 40.0}) {
            const auto budget = static_cast<std::size_t>(more * static_cast<double>(least));
            CAPTURE(budget);
            const auto choice = wasi::plan::choose_method<Model<float>>(ways, found.errors, budget, options);
            CHECK(choice.best().process <= budget);
            CHECK(choice.best().fits);
            CHECK(choice.best().rounded_error() <= error_before);  // more memory never errs more
            error_before = choice.best().rounded_error();
            seen.insert(choice.best().name);
            check_training_stays_within(choice);
        }
        CHECK(error_before == 0.0);  // with memory to spare: vanilla, exact
    }
    CHECK(seen.contains("vanilla"));
    CHECK(seen.size() >= 2);
}

TEST_CASE("method choice: no trial that fits errs less, and ties go to the least time")
{
    const OneThread one_thread;
    const auto run = describe_run(deep, 4, SgdOptions{});
    const auto found = found_of(deep, false);
    const auto ways = wasi::plan::ways_to_train<Model<float>>(run, found.errors, found.given);
    REQUIRE(ways.size() == 1 + 2 + 1 + 9);
    const auto options = few_choices();
    const std::size_t least = least_budget(ways, found.errors, options);
    for (const double more : {1.0, 1.5}) {
        const auto budget = static_cast<std::size_t>(more * static_cast<double>(least));
        const auto choice = wasi::plan::choose_method<Model<float>>(ways, found.errors, budget, options);
        std::set<std::string> names;
        for (const auto& row : choice.rows) {
            names.insert(row.name);
            CHECK(row.fits == (row.process <= budget));
            // What a way errs, and what its saves do.
            const auto way = std::find_if(ways.begin(), ways.end(), [&](const Way& one) {
                return one.name == row.name && one.setting == row.setting;
            });
            REQUIRE(way != ways.end());
            CHECK(row.output_error == way->output_error);
            CHECK(row.gradient_error ==
                  doctest::Approx(std::hypot(way->gradient_error, found.errors.save_error(row.keep.keep.saved_as)))
                      .epsilon(1e-12));
        }
        CHECK(names == std::set<std::string>{"vanilla", "wsi", "wsi, by output", "lora", "lora-fa", "head"});
        // Every way with every preset and every number of micro-batches.
        for (const Way& way : ways) {
            for (const auto& preset : options.keep) {
                auto trial = choice.best();
                trial.run = way.run;
                trial.run.keep.assign(static_cast<std::size_t>(1 + deep.depth), preset.keep);
                trial.output_error = way.output_error;
                trial.gradient_error = std::hypot(way.gradient_error, found.errors.save_error(preset.keep.saved_as));
                if (trial.rounded_error() > choice.best().rounded_error()) {
                    continue;
                }
                for (const Index pieces : {1, 2, 4}) {
                    trial.run.training.micro_batches = pieces;
                    trial.forecast = wasi::plan::forecast_step(trial.run);
                    trial.process =
                        options.process(std::max(trial.forecast.process, trial.forecast.convert), run.threads);
                    if (trial.process <= budget) {
                        CAPTURE(way.name);
                        CAPTURE(way.setting);
                        CAPTURE(preset.name);
                        CHECK_FALSE(trial.is_better_than(choice.best()));
                    }
                }
            }
        }
    }
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::choose_method<Model<float>>(ways, found.errors, least - 1, options)),
                    wasi::budget_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::choose_method<Model<float>>({}, found.errors, least, options)),
                    wasi::argument_error);
}

TEST_CASE("method choice: errors of ways are put together as is written")
{
    const auto run = describe_run(small, 3, SgdOptions{});
    auto found = found_of(small, false);
    const auto ways = wasi::plan::ways_to_train<Model<float>>(run, found.errors, found.given);
    const auto way = [&](const std::string& name, const std::string& setting) {
        for (const Way& one : ways) {
            if (one.name == name && one.setting == setting) {
                return one;
            }
        }
        FAIL("no " << name << ", " << setting);
        return ways.front();
    };
    const auto close = [](double value) { return doctest::Approx(value).epsilon(1e-12); };
    CHECK(ways.front().output_error + ways.front().gradient_error == 0.0);
    CHECK(way("wsi", "energy 0.5").output_error == close(0.8));
    CHECK(way("wsi", "energy 0.5").gradient_error == close(std::sqrt(0.5)));
    CHECK(way("wsi, by output", "size 0.5").output_error == close(0.45));
    CHECK(way("wsi, by output", "size 0.5").gradient_error == close(0.5));
    CHECK(way("lora", "rank 4, frozen in float32").output_error == 0.0);
    CHECK(way("lora", "rank 4, frozen in int8").output_error == close(0.01));
    CHECK(way("lora", "rank 4, frozen in int8").gradient_error == close(std::sqrt(0.7)));
    CHECK(way("lora-fa", "rank 4, frozen in bfloat16").output_error == close(0.001));
    CHECK(way("lora-fa", "rank 4, frozen in bfloat16").gradient_error == close(std::sqrt(0.9)));
    CHECK(way("head", "frozen in float32").gradient_error == 1.0);

    // For MLPs alone: attention is trained by wsi as it is, and not at all by adapters.
    found.given.layers = wasi::nn::Layers::mlp;
    for (const Way& one : wasi::plan::ways_to_train<Model<float>>(run, found.errors, found.given)) {
        CAPTURE(one.name);
        if (one.setting == "energy 0.9") {
            CHECK(one.output_error == close(std::sqrt(0.08)));
            CHECK(one.gradient_error == close(std::sqrt(0.1)));
        }
        if (one.name == "lora") {
            CHECK(one.gradient_error == close(std::sqrt(0.85)));
        }
    }
    // A new model has nothing that is worth freezing.
    found.given.frozen = false;
    for (const Way& one : wasi::plan::ways_to_train<Model<float>>(run, found.errors, found.given)) {
        CHECK((one.name == "vanilla" || one.name.starts_with("wsi")));
    }
    for (auto& layer : found.errors.layers) {
        layer.adapter.gradient = 0.0;
    }
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::ways_to_train<Model<float>>(run, found.errors, found.given)),
                    wasi::argument_error);
}

}  // namespace
