// Planning saved inputs: the plan is the best within the budget, and calibration leaves the model as it was.
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include <support/models.hpp>
#include <wasi/optim/sgd.hpp>
#include <wasi/plan/saved_inputs.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::nn::Layers;
using wasi::rank::SavedForm;

[[nodiscard]] std::vector<Index> first(Index count)
{
    std::vector<Index> images;
    for (Index i = 0; i < count; ++i) {
        images.push_back(i);
    }
    return images;
}

TEST_CASE("activation plan: calibration moves nothing, and the plan holds in the step that follows")
{
    wasi::Ledger ledger;
    Model<float> model(tiny_config, ledger);
    randomize(model, 1);
    const auto data = random_images<float>(tiny_config, 12, 2);
    wasi::train::MethodOptions method;
    method.method = wasi::train::method("wasi");
    apply<float>(model, method);
    const auto before = snapshot(model);

    constexpr std::int64_t budget = 60'000;
    const auto plan = wasi::plan::plan_activations(model, data, first(12), Layers::all, budget);
    CHECK(snapshot(model) == before);
    const auto layers = wasi::nn::selected_layers(model, Layers::all);
    for (const auto* layer : layers) {
        CHECK(compressor(*layer)->restarts() == 0);
        CHECK(compressor(*layer)->ranks() == std::array<Index, 3>{});
    }
    REQUIRE(plan.inputs.size() == layers.size());
    CHECK(plan.solution.bytes <= budget);
    CHECK(plan.solution.status == wasi::rank::SolveStatus::optimal);
    const auto more = wasi::plan::plan_activations(model, data, first(12), Layers::all, 2 * budget);
    CHECK(more.solution.cost < plan.solution.cost);

    wasi::plan::apply_plan(model, plan, Layers::all, method.activation, wasi::RandomKey(7));
    ledger.reset_peaks();
    wasi::optim::Sgd<float, EigenStorage> optimizer({}, ledger);
    static_cast<void>(train_losses<float>(model, data, optimizer, {.epochs = 2, .batch_size = 12, .rate = 0.01}));
    std::int64_t saved = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto peak =
            static_cast<std::int64_t>(ledger.of(wasi::Tag{wasi::Use::saved_input, layers[i]->layer()}).peak);
        CHECK(peak <= plan.inputs[i].chosen.bytes);
        CHECK((compressor(*layers[i]) == nullptr) == (plan.inputs[i].chosen.form == SavedForm::exact));
        saved += peak;
    }
    CHECK(saved <= budget);
    CHECK(2 * saved > plan.solution.bytes);
}

TEST_CASE("activation plan: a head at zero is calibrated through, and is zero again afterwards")
{
    wasi::Ledger ledger;
    Model<float> model(tiny_config, ledger);
    randomize(model, 3);
    model.replace_head(5);
    const auto data = random_images<float>(tiny_config, 6, 4);
    const auto plan = wasi::plan::plan_activations(model, data, first(6), Layers::mlp, 1 << 20);
    CHECK(plan.inputs.size() == 4);
    for (const auto& input : plan.inputs) {
        CHECK(input.exact_norm > 0.0);
        CHECK(input.chosen.form == SavedForm::exact);
    }
    for (const float value : model.head->weight.dense().span()) {
        CHECK(value == 0.0F);
    }
}

TEST_CASE("activation plan: the images of calibration are those that training begins with")
{
    const wasi::RandomKey key(9);
    wasi::train::TrainOptions options{.batch_size = 10, .micro_batches = 3};
    const auto order = wasi::random_permutation(25, key.derive(0));
    CHECK(wasi::train::calibration_images(25, options, key) == std::vector<Index>(order.begin(), order.begin() + 4));
    options.shuffle = false;
    options.micro_batches = 1;
    CHECK(wasi::train::calibration_images(25, options, key) == first(10));
    CHECK(wasi::train::calibration_images(4, options, key) == first(4));
}

TEST_CASE("activation plan: what cannot be is refused, and observation ends all the same")
{
    wasi::Ledger ledger;
    Model<float> model(tiny_config, ledger);
    randomize(model, 5);
    const auto data = random_images<float>(tiny_config, 4, 6);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::plan_activations(model, data, first(4), Layers::all, 100)),
                    wasi::budget_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::plan_activations(model, data, {}, Layers::all, 1 << 20)),
                    wasi::argument_error);
    model.blocks[0]->fc1.weight.set_trainable(false);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::plan_activations(model, data, first(4), Layers::all, 1 << 20)),
                    wasi::argument_error);
}

}  // namespace
