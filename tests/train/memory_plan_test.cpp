// The contract of a memory plan: what really is booked never passes what it says, and it says no more than the budget.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include <support/models.hpp>
#include <wasi/optim/optimizer.hpp>
#include <wasi/train/memory_plan.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::nn::VisionTransformerConfig;
using wasi::train::MemoryPlan;
using wasi::train::MemoryPlanOptions;
using wasi::train::OptimizerKind;
using wasi::train::PlanChoice;
using wasi::train::StepDescription;

constexpr VisionTransformerConfig small{
    .image = 16, .patch = 4, .dim = 48, .depth = 2, .heads = 3, .mlp = 96, .classes = 7};
constexpr VisionTransformerConfig deep{
    .image = 8, .patch = 2, .dim = 32, .depth = 4, .heads = 2, .mlp = 128, .classes = 3};

/// A model whose weights have a spectrum that low ranks can hold: the j-th of n singular directions shrunk by j^-1.
void shape_spectra(Model<float>& model)
{
    randomize(model, 1);
    for (auto* layer : wasi::train::selected_layers(model, wasi::train::Layers::all)) {
        const auto w = layer->weight.matrix();
        for (Index i = 0; i < w.rows; ++i) {
            for (Index j = 0; j < w.cols; ++j) {
                w(i, j) /= static_cast<float>(j + 1);
            }
        }
    }
}

[[nodiscard]] StepDescription describe_run(const VisionTransformerConfig& config, Index batch, double clip_norm,
                                           const OptimizerKind& optimizer)
{
    StepDescription run;
    run.model = config;
    run.optimizer = optimizer;
    run.training.batch_size = batch;
    run.training.clip_norm = clip_norm;
    run.images = 2 * batch + 1;
    if (optimizer.name == OptimizerKind::Name::adamw) {
        run.form = wasi::nn::LowRankForm::free_factors;
    }
    return run;
}

/// A few of the energies: a plan looks at every one with everything else.
[[nodiscard]] MemoryPlanOptions few_energies()
{
    MemoryPlanOptions options;
    options.energies = {1.0, 0.8, 0.5};
    return options;
}

/// The least process that any choice needs, from the message of budget_error: a plan within it is the last to be had.
[[nodiscard]] std::size_t least_budget(const StepDescription& run, const std::vector<wasi::train::WeightSpectrum>& w)
{
    try {
        static_cast<void>(wasi::train::plan_memory(run, w, 1, few_energies()));
    } catch (const wasi::budget_error& refusal) {
        const std::string text = refusal.what();
        const auto at = text.find("needs is ");
        REQUIRE(at != std::string::npos);
        return static_cast<std::size_t>(std::stoull(text.substr(at + 9)));
    }
    FAIL("a budget of one byte was enough");
    return 0;
}

TEST_CASE("memory plan: real training stays within what is planned, for every feasible budget")
{
    for (const auto& config : {small, deep}) {
        for (const Index batch : {3, 8}) {
            for (const OptimizerKind kind : {OptimizerKind{}, OptimizerKind{OptimizerKind::Name::sgd, true},
                                             OptimizerKind{OptimizerKind::Name::adamw}}) {
                CAPTURE(config.dim);
                CAPTURE(batch);
                const auto run = describe_run(config, batch, kind.momentum ? 0.0 : 1.0, kind);
                wasi::Ledger first;
                Model<float> dense(config, first);
                shape_spectra(dense);
                const auto spectra = wasi::train::weight_spectra(dense);
                const std::size_t least = least_budget(run, spectra);
                double error_before = 1e30;
                for (const double more : {1.0, 1.05, 1.2, 2.0}) {
                    const auto budget = static_cast<std::size_t>(more * static_cast<double>(least));
                    const MemoryPlan plan = wasi::train::plan_memory(run, spectra, budget, few_energies());
                    CHECK(plan.chosen.process <= budget);
                    CHECK(plan.chosen.error() <= error_before);  // more memory never errs more
                    error_before = plan.chosen.error();

                    wasi::Ledger ledger;
                    Model<float> model(config, ledger);
                    shape_spectra(model);
                    wasi::train::apply_plan(model, plan);
                    std::unique_ptr<wasi::optim::Optimizer<float, EigenStorage>> optimizer;
                    if (kind.name == OptimizerKind::Name::adamw) {
                        optimizer = std::make_unique<wasi::optim::AdamW<float, EigenStorage>>(
                            wasi::optim::AdamWOptions{}, ledger);
                    } else {
                        optimizer = std::make_unique<wasi::optim::Sgd<float, EigenStorage>>(
                            wasi::optim::SgdOptions{.momentum = kind.momentum ? 0.9 : 0.0}, ledger);
                    }
                    ledger.open_arena();
                    ledger.reset_peaks();
                    auto training = plan.chosen.run.training;
                    training.rate = 0.01;
                    wasi::train::train(model, random_images<float>(config, run.images, 2), *optimizer, training,
                                       wasi::RandomKey(5));
                    for (std::size_t use = 0; use < wasi::use_count; ++use) {
                        CAPTURE(wasi::to_string(static_cast<wasi::Use>(use)));
                        CHECK(ledger.of(static_cast<wasi::Use>(use)).peak <= plan.chosen.forecast.peaks[use]);
                    }
                    CHECK(ledger.total().peak <= plan.chosen.forecast.total);
                    CHECK(ledger.arena_high_water() <= plan.chosen.forecast.arena);
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
    const auto spectra = wasi::train::weight_spectra(model);
    const std::size_t least = least_budget(run, spectra);
    CHECK_THROWS_AS(static_cast<void>(wasi::train::plan_memory(run, spectra, least - 1, few_energies())),
                    wasi::budget_error);
    const auto plan = wasi::train::plan_memory(run, spectra, least, few_energies());
    CHECK(plan.chosen.process == least);
    REQUIRE(!plan.frontier.empty());
    CHECK(plan.frontier.front().process == least);
    for (const PlanChoice& a : plan.frontier) {
        for (const PlanChoice& b : plan.frontier) {
            CHECK_FALSE(wasi::train::detail::beats(a, b));
        }
    }
    // With memory to spare: dense weights, everything kept, one batch.
    const auto roomy = wasi::train::plan_memory(run, spectra, std::size_t{1} << 30, {});
    CHECK(roomy.chosen.error() == 0.0);
    CHECK(roomy.chosen.keep.keep == wasi::nn::KeepOptions{});
    CHECK(roomy.chosen.run.training.micro_batches == 1);
}

TEST_CASE("memory plan: ranks and errors are those of factorize")
{
    wasi::Ledger ledger;
    Model<float> model(small, ledger);
    shape_spectra(model);
    const auto spectra = wasi::train::weight_spectra(model);
    const auto layers = wasi::train::selected_layers(model, wasi::train::Layers::all);
    REQUIRE(spectra.size() == layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto [rank, error] = wasi::train::detail::rank_for(spectra[i], 0.7);
        const bool factorized = layers[i]->weight.factorize(wasi::linalg::Energy{0.7}, true);
        REQUIRE(factorized == (rank > 0));
        if (factorized) {
            CHECK(layers[i]->weight.rank() == rank);
            CHECK(error ==
                  doctest::Approx(std::sqrt(1.0 - layers[i]->weight.low_rank().energy_at_start())).epsilon(1e-3));
        }
    }
}

}  // namespace
