// The contract of a memory plan: what really is booked never passes what it says, and it says no more than the budget.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <support/models.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/plan/memory_plan.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::nn::VisionTransformerConfig;
using wasi::optim::AdamWOptions;
using wasi::optim::OptimizerOptions;
using wasi::optim::SgdOptions;
using wasi::plan::Forecast;
using wasi::plan::MemoryPlanOptions;
using MemoryPlan = wasi::plan::MemoryPlan<Model<float>>;
using PlanChoice = wasi::plan::PlanChoice<Model<float>>;
using RunDescription = wasi::plan::RunDescription<Model<float>>;

constexpr VisionTransformerConfig small{
    .image = 16, .patch = 4, .dim = 48, .depth = 2, .heads = 3, .mlp = 96, .classes = 7};
constexpr VisionTransformerConfig deep{
    .image = 8, .patch = 2, .dim = 32, .depth = 4, .heads = 2, .mlp = 128, .classes = 3};

/// A model whose weights have a spectrum that low ranks can hold: the j-th of n singular directions shrunk by j^-1.
void shape_spectra(Model<float>& model)
{
    randomize(model, 1);
    for (auto* layer : wasi::nn::selected_layers(model, wasi::nn::Layers::all)) {
        const auto w = layer->weight.matrix();
        for (Index i = 0; i < w.rows; ++i) {
            for (Index j = 0; j < w.cols; ++j) {
                w(i, j) /= static_cast<float>(j + 1);
            }
        }
    }
}

[[nodiscard]] RunDescription describe_run(const VisionTransformerConfig& config, Index batch, double clip_norm,
                                          const OptimizerOptions& optimizer)
{
    RunDescription run;
    run.model = config;
    run.optimizer = optimizer;
    run.training.batch_size = batch;
    run.training.clip_norm = clip_norm;
    run.images = 2 * batch + 1;
    wasi::nn::WeightSetup wish = wasi::nn::SubspaceOptions{};
    if (std::holds_alternative<AdamWOptions>(optimizer)) {
        wish = wasi::nn::FactorsOptions{};
    }
    run.layers = wasi::plan::wished_layers<Model<float>>(config, wish);
    return run;
}

/// A few of the energies and presets: a plan looks at every one with everything else.
[[nodiscard]] MemoryPlanOptions few_choices()
{
    MemoryPlanOptions options;
    options.energies = {1.0, 0.8, 0.5};
    const auto all = wasi::plan::keep_presets();
    options.keep = {all.front(), all.at(3), all.back()};
    return options;
}

/// The least process that any choice needs, from the message of budget_error: a plan within it is the last to be had.
[[nodiscard]] std::size_t least_budget(const RunDescription& run, const std::vector<wasi::plan::WeightSpectrum>& w)
{
    try {
        static_cast<void>(wasi::plan::plan_memory(run, w, 1, few_choices()));
    } catch (const wasi::budget_error& refusal) {
        const std::string text = refusal.what();
        const auto at = text.find("needs is ");
        REQUIRE(at != std::string::npos);
        return static_cast<std::size_t>(std::stoull(text.substr(at + 9)));
    }
    FAIL("a budget of one byte was enough");
    return 0;
}

/// Trains as planned, and compares what was booked with what was said.
void check_training_stays_within(const MemoryPlan& plan, std::size_t slack)
{
    const RunDescription& run = plan.chosen.run;
    wasi::Ledger ledger;
    Model<float> model(run.model, ledger);
    shape_spectra(model);
    wasi::plan::apply_plan(model, plan);
    const auto optimizer = wasi::optim::make_optimizer<float, EigenStorage>(run.optimizer, ledger);
    ledger.open_arena();
    ledger.reset_peaks();
    auto training = run.training;
    training.rate = 0.01;
    wasi::train::train(model, random_images<float>(run.model, run.images, 2), *optimizer, training, wasi::RandomKey(5));
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        CAPTURE(wasi::to_string(static_cast<wasi::Use>(use)));
        CHECK(ledger.of(static_cast<wasi::Use>(use)).peak <= plan.chosen.forecast.peaks[use]);
    }
    CHECK(ledger.total().peak <= plan.chosen.forecast.total);
    CHECK(ledger.total().current - ledger.arena_used() + ledger.arena_high_water() + plan.base + slack <=
          plan.chosen.process);
    CHECK(ledger.arena_high_water() <= plan.chosen.forecast.arena);
}

TEST_CASE("memory plan: real training stays within what is planned, for every feasible budget")
{
    for (const auto& config : {small, deep}) {
        for (const Index batch : {3, 8}) {
            const std::array<OptimizerOptions, 3> optimizers{SgdOptions{}, SgdOptions{.momentum = 0.9}, AdamWOptions{}};
            for (const OptimizerOptions& which : optimizers) {
                CAPTURE(config.dim);
                CAPTURE(batch);
                const auto run = describe_run(config, batch, &which == &optimizers[1] ? 0.0 : 1.0, which);
                wasi::Ledger first;
                Model<float> dense(config, first);
                shape_spectra(dense);
                const auto spectra = wasi::plan::weight_spectra(dense);
                const std::size_t least = least_budget(run, spectra);
                double error_before = 1e30;
                for (const double more : {1.0, 1.05, 1.2, 2.0}) {
                    const auto budget = static_cast<std::size_t>(more * static_cast<double>(least));
                    const MemoryPlan plan = wasi::plan::plan_memory(run, spectra, budget, few_choices());
                    CHECK(plan.chosen.process <= budget);
                    CHECK(plan.chosen.error() <= error_before);  // more memory never errs more
                    error_before = plan.chosen.error();

                    check_training_stays_within(plan, few_choices().slack);
                }
            }
        }
    }
}

TEST_CASE("memory plan: one byte below the least budget is refused, and the frontier is one")
{
    const auto run = describe_run(deep, 8, 0.0, {});
    wasi::Ledger ledger;
    Model<float> model(deep, ledger);
    shape_spectra(model);
    const auto spectra = wasi::plan::weight_spectra(model);
    const std::size_t least = least_budget(run, spectra);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::plan_memory(run, spectra, least - 1, few_choices())),
                    wasi::budget_error);
    const auto plan = wasi::plan::plan_memory(run, spectra, least, few_choices());
    CHECK(plan.chosen.process == least);
    REQUIRE(!plan.frontier.empty());
    CHECK(plan.frontier.front().process == least);
    for (const PlanChoice& a : plan.frontier) {
        for (const PlanChoice& b : plan.frontier) {
            CHECK_FALSE(wasi::plan::detail::beats(a, b));
        }
    }
    // With memory to spare: dense weights, everything kept, one batch.
    const auto roomy = wasi::plan::plan_memory(run, spectra, std::size_t{1} << 30, {});
    CHECK(roomy.chosen.error() == 0.0);
    CHECK(roomy.chosen.keep.keep == wasi::nn::KeepOptions{});
    CHECK(roomy.chosen.run.training.micro_batches == 1);
}

TEST_CASE("memory plan: where making weights low rank takes more than training, that is the process's peak")
{
    constexpr VisionTransformerConfig config{
        .image = 16, .patch = 4, .dim = 96, .depth = 4, .heads = 4, .mlp = 384, .classes = 7};
    auto run = describe_run(config, 16, 0.0, {});
    run.training.micro_batches = 16;
    run.images = 16;
    run.threads = 1;
    MemoryPlanOptions options;
    options.energies = {0.5};
    options.keep = {wasi::plan::keep_presets().back()};
    options.slack = options.slack_per_thread = 0;
    wasi::Ledger ledger;
    Model<float> model(config, ledger);
    shape_spectra(model);
    const auto spectra = wasi::plan::weight_spectra(model);
    const auto plan = wasi::plan::plan_memory(run, spectra, std::size_t{1} << 30, options);
    const Forecast& forecast = plan.chosen.forecast;
    REQUIRE(forecast.process < forecast.convert);
    CHECK(plan.chosen.process == forecast.convert);
    // A budget between the two is none.
    const std::size_t between = (forecast.process + forecast.convert) / 2;
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::plan_memory(run, spectra, between, options)), wasi::budget_error);
}

[[nodiscard]] wasi::rank::PerplexityOptions few_thresholds()
{
    wasi::rank::PerplexityOptions options;
    options.energies = {0.4, 0.8, 0.95};
    return options;
}

/// The ways to save inputs that a first batch shows.
[[nodiscard]] std::vector<wasi::plan::InputChoices> calibrated(Model<float>& model, const RunDescription& run)
{
    const auto data = random_images<float>(run.model, run.images, 2);
    std::vector<Index> images;
    for (Index i = 0; i < wasi::train::largest_micro_batch(run.training, run.images); ++i) {
        images.push_back(i);
    }
    return wasi::plan::calibrate_inputs(
        model, [&](wasi::Memory& memory) { return data.gather(images, memory); }, data.gather_labels(images),
        wasi::nn::Layers::all, few_thresholds());
}

TEST_CASE("memory plan: compressed inputs are chosen where they err less than what else fits, and stay within it")
{
    auto six_blocks = small;
    six_blocks.depth = 6;
    for (const auto& config : {six_blocks, deep}) {
        CAPTURE(config.dim);
        auto run = describe_run(config, 24, 0.0, {});
        run.training.gradients = wasi::train::GradientFlow::stream;  // so no micro-batches
        wasi::Ledger ledger;
        Model<float> model(config, ledger);
        shape_spectra(model);
        const auto spectra = wasi::plan::weight_spectra(model);
        auto options = few_choices();
        options.keep.resize(1);  // everything is kept
        options.slack = 0;       // which is more than these models
        options.slack_per_thread = 0;
        constexpr std::size_t any = std::size_t{1} << 40;
        const auto exact = wasi::plan::plan_memory(run, spectra, any, options);
        options.inputs = calibrated(model, run);
        const auto roomy = wasi::plan::plan_memory(run, spectra, any, options);
        CHECK(roomy.chosen.input_share == 1.0);  // what errs less than nothing?
        int compressed = 0;
        double error_before = 1e30;
        const auto lowest = static_cast<double>(exact.frontier.front().process);
        for (const double share : {0.85, 0.95, 1.2}) {
            const auto budget = static_cast<std::size_t>(share * lowest);
            CAPTURE(share);
            MemoryPlan plan;
            try {
                plan = wasi::plan::plan_memory(run, spectra, budget, options);
            } catch (const wasi::budget_error&) {
                continue;
            }
            CHECK(plan.chosen.process <= budget);
            CHECK(plan.chosen.error() <= error_before);
            error_before = plan.chosen.error();
            compressed += plan.chosen.input_share < 1.0 ? 1 : 0;
            CHECK((plan.chosen.input_share < 1.0) == wasi::plan::detail::any_compressed(plan.chosen.run));
            check_training_stays_within(plan, options.slack);
        }
        CHECK(compressed >= 1);  // what exact inputs need at least is more than compressed ones do
    }
    auto options = few_choices();
    options.inputs.resize(3);
    wasi::Ledger ledger;
    Model<float> model(small, ledger);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::plan_memory(describe_run(small, 4, 0.0, {}),
                                                              wasi::plan::weight_spectra(model), 1 << 30, options)),
                    wasi::argument_error);
}

TEST_CASE("memory plan: calibration takes no more than is forecast, and sees the same in recomputed blocks")
{
    for (const auto& config : {small, deep}) {
        for (const Index rank : {0, 6}) {
            CAPTURE(config.dim);
            CAPTURE(rank);
            auto run = describe_run(config, 7, 0.0, {});
            if (rank > 0) {
                run.layers = wasi::plan::wished_layers<Model<float>>(
                    config, wasi::nn::SubspaceOptions{{wasi::linalg::FixedRank{rank}, false}});
            } else {
                run.layers.clear();
            }
            std::vector<std::vector<wasi::plan::InputChoices>> seen;
            for (const auto recompute : {wasi::nn::Recompute::nothing, wasi::nn::Recompute::block}) {
                const wasi::nn::KeepOptions keep{.recompute = recompute};
                run.keep.assign(static_cast<std::size_t>(1 + config.depth), keep);
                wasi::Ledger ledger;
                Model<float> model(config, ledger);
                shape_spectra(model);
                for (auto* layer : wasi::nn::selected_layers(model, wasi::nn::Layers::all)) {
                    if (rank > 0) {
                        make_low_rank<wasi::nn::SubspaceOptions>(layer->weight, rank);
                    }
                }
                wasi::nn::keep(model, keep);
                ledger.reset_peaks();
                seen.push_back(calibrated(model, run));
                CHECK(ledger.total().peak <=
                      wasi::plan::forecast_calibration(run, wasi::nn::Layers::all, few_thresholds()));
            }
            for (std::size_t i = 0; i < seen[0].size(); ++i) {
                REQUIRE(seen[0][i].table.size() == seen[1][i].table.size());
                for (std::size_t j = 0; j < seen[0][i].table.size(); ++j) {
                    CHECK(seen[0][i].table[j].perplexity == seen[1][i].table[j].perplexity);
                    CHECK(seen[0][i].table[j].ranks == seen[1][i].table[j].ranks);
                }
            }
        }
    }
}

TEST_CASE("memory plan: what was reached already is the least, and more memory buys better choices")
{
    const auto run = describe_run(deep, 8, 1.0, {});
    wasi::Ledger ledger;
    Model<float> model(deep, ledger);
    shape_spectra(model);
    const auto spectra = wasi::plan::weight_spectra(model);
    auto options = few_choices();
    const std::size_t least = least_budget(run, spectra);
    options.reached = least + 12345;
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::plan_memory(run, spectra, least, options)), wasi::budget_error);
    CHECK(wasi::plan::plan_memory(run, spectra, options.reached, options).chosen.process == options.reached);
    options.reached = 0;
    const auto plan = wasi::plan::plan_memory(run, spectra, least, options);
    const auto by_budget = plan.by_budget();
    REQUIRE(by_budget.size() >= 3);
    CHECK(by_budget.front().process == plan.chosen.process);
    for (std::size_t i = 1; i < by_budget.size(); ++i) {
        CHECK(by_budget[i].process > by_budget[i - 1].process);
        CHECK(by_budget[i].is_better_than(by_budget[i - 1]));
        const auto again = wasi::plan::plan_memory(run, spectra, by_budget[i].process, options).chosen;
        CHECK(again.error() == by_budget[i].error());
        CHECK(again.work() == by_budget[i].work());
    }
    CHECK(by_budget.back().error() == 0.0);
}

TEST_CASE("memory plan: the error of 16-bit saves is the rounding of one number at most")
{
    for (const auto precision : {wasi::Precision::full, wasi::Precision::half, wasi::Precision::bfloat16}) {
        wasi::nn::KeepOptions keep;
        keep.saved_as = precision;
        double largest = 0.0;
        for (int i = 0; i < 4096; ++i) {
            const float value = 1.0F + static_cast<float>(i) / 4096.0F;
            const auto x = wasi::ConstMatrixView<float>::row_major(&value, 1, 1);
            float back = value;
            if (precision != wasi::Precision::full) {
                wasi::PackedTensor packed(wasi::plain_memory(), {}, {1}, {precision});
                EigenStorage::pack(packed.view(), x);
                EigenStorage::unpack(wasi::MatrixView<float>::row_major(&back, 1, 1), std::as_const(packed).view());
            }
            largest = std::max(largest, static_cast<double>(std::abs(back - value) / value));
        }
        const double said = wasi::plan::KeepPreset{"any", keep}.error();
        CHECK(largest <= said);
        CHECK(largest >= 0.99 * said / (1.0 + said));
    }
}

TEST_CASE("memory plan: the error of saves in 8 and 4 bits is half a step of a group of normal numbers")
{
    constexpr Index groups = 200;
    wasi::Tensor<float> x(wasi::plain_memory(), {}, {groups, 256});
    EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(1));
    for (const auto precision : {wasi::Precision::int8, wasi::Precision::int4}) {
        wasi::nn::KeepOptions keep;
        keep.saved_as = precision;
        wasi::PackedTensor packed(wasi::plain_memory(), {}, x.shape(), {precision});
        EigenStorage::pack(packed.view(), std::as_const(x).matrix());
        double half_steps = 0.0;
        for (std::size_t group = 0; group < groups; ++group) {
            half_steps += static_cast<double>(packed.view().scales[2 * group + 1]) / 2.0 / groups;
        }
        const double said = wasi::plan::KeepPreset{"any", keep}.error();
        CHECK(half_steps <= said);
        CHECK(half_steps >= 0.9 * said);
    }
}

TEST_CASE("memory plan: ranks and errors are those of the start")
{
    wasi::Ledger ledger;
    Model<float> model(small, ledger);
    shape_spectra(model);
    const auto spectra = wasi::plan::weight_spectra(model);
    const auto layers = wasi::nn::selected_layers(model, wasi::nn::Layers::all);
    REQUIRE(spectra.size() == layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto [rank, error] = wasi::plan::rank_for(spectra[i], 0.7);
        wasi::nn::set_up(layers[i]->weight,
                         wasi::nn::WeightSetup(wasi::nn::SubspaceOptions{{wasi::linalg::Energy{0.7}}}));
        const bool factorized = layers[i]->weight.is_low_rank();
        REQUIRE(factorized == (rank > 0));
        if (factorized) {
            CHECK(layers[i]->weight.rank() == rank);
            CHECK(error ==
                  doctest::Approx(std::sqrt(1.0 - layers[i]->weight.low_rank().energy_at_start())).epsilon(1e-3));
        }
    }
}

}  // namespace
