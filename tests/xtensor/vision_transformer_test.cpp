// The Vision Transformer on XtensorStorage is the one on EigenStorage, to rounding: forward, backward and training.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include <support/central_differences.hpp>
#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
using train::method;
using train::Method;
using wasi::XtensorStorage;

template <class T, class S>
struct Setup {
    wasi::Ledger memory;
    Model<T, S> model{tiny_config, memory, wasi::RandomKey(1)};
    Dataset<T> data = random_images<T>(tiny_config, 10, 5);
    Setup() { wasi_tests::randomize(model, 3); }
};

/// Relative distance to allow after a pass through the network.
template <class T>
constexpr double rounding = std::is_same_v<T, float> ? 2e-5 : 2e-13;

/// Both holding the weights and saved inputs as `method` says. A storage that rounds differently finds the same
/// subspaces, for in float the kept values stand clear of the rest.
template <class T>
void check_one_pass(Method method)
{
    CAPTURE(method.name);
    Setup<T, EigenStorage> on_eigen;
    Setup<T, XtensorStorage> on_xtensor;
    const train::MethodOptions options{
        .method = method, .weight_rank = linalg::FixedRank{32}, .activation = {.ranks = {10, 17, 32}}};
    apply(on_eigen.model, options);
    apply(on_xtensor.model, options);
    RecordingSink<T> wanted;
    RecordingSink<T> found;
    const double loss = loss_and_gradients(on_eigen.model, on_eigen.data, wanted);
    CHECK(loss_and_gradients(on_xtensor.model, on_xtensor.data, found) == doctest::Approx(loss).epsilon(rounding<T>));
    REQUIRE(found.size() == wanted.size());
    wasi::nn::for_each_parameter(on_eigen.model, [&](auto& parameter) {
        CAPTURE(parameter.name());
        REQUIRE(found.has(parameter.name()));
        const auto& one = found.at(parameter.name());
        const auto& other = wanted.at(parameter.name());
        REQUIRE(one.form == other.form);
        if (one.form != RecordingSink<T>::Form::factor_gradients) {
            CHECK(relative_distance(one.dense, other.dense) <= rounding<T>);
        }
    });
    const auto logits = wasi::measure::predict(on_eigen.model, on_eigen.data, Index{4});
    CHECK(relative_distance(wasi::measure::predict(on_xtensor.model, on_xtensor.data, Index{4}).span(),
                            logits.span()) <= rounding<T>);
}

TEST_CASE_TEMPLATE("vision transformer: logits, loss and every gradient as on EigenStorage", T, float, double)
{
    for (const Method method : {method("vanilla"), method("wsi"), method("asi"), method("wasi")}) {
        check_one_pass<T>(method);
    }
}

template <class T, class S>
std::vector<double> losses(Method method, bool adam)
{
    Setup<T, S> setup;
    apply(setup.model, {.method = method, .weight_rank = linalg::FixedRank{8}, .activation = {.ranks = {10, 9, 16}}});
    train::TrainOptions options;
    options.epochs = 4;
    options.batch_size = 5;
    options.rate = adam ? 1e-3 : 0.05;
    options.clip_norm = 2.0;
    wasi::optim::Sgd<T, S> sgd({.weight_decay = 1e-4}, setup.memory);
    wasi::optim::AdamW<T, S> adamw({}, setup.memory);
    const auto before = setup.memory.total().current;
    const auto result = adam ? train_losses(setup.model, setup.data, adamw, options)
                             : train_losses(setup.model, setup.data, sgd, options);
    if (method == train::method("vanilla") && !adam) {  // otherwise warm bases and moments stay
        CHECK(setup.memory.total().current == before);
    }
    return result;
}

TEST_CASE("vision transformer: a training run follows the one on EigenStorage")
{
    for (const Method method : {method("vanilla"), method("wsi"), method("asi"), method("wasi")}) {
        for (const bool adam : {false, true}) {
            if (adam && method != train::method("vanilla") && method != train::method("asi")) {
                continue;  // AdamW does not train low-rank weights
            }
            CAPTURE(method.name);
            CAPTURE(adam);
            const auto wanted = losses<double, EigenStorage>(method, adam);
            const auto found = losses<double, XtensorStorage>(method, adam);
            REQUIRE(wanted.size() == 8);
            CHECK(relative_distance(found, wanted) <= 1e-9);
            CHECK(found.back() < found.front());
        }
    }
}

TEST_CASE("vision transformer: training learns a small set by heart, the same bits on one and two threads")
{
    const auto run = [](int threads) {
        const int before = wasi::thread_count();
        wasi::set_thread_count(threads);
        Setup<float, XtensorStorage> setup;
        apply(setup.model,
              {.method = method("wasi"), .weight_rank = linalg::FixedRank{8}, .activation = {.ranks = {10, 9, 16}}});
        wasi::optim::Sgd<float, XtensorStorage> sgd({}, setup.memory);
        train::TrainOptions options;
        options.epochs = 60;
        options.batch_size = 10;
        options.rate = 0.1;
        options.clip_norm = 2.0;
        auto result = train_losses(setup.model, setup.data, sgd, options);
        CHECK(wasi::measure::count_correct(setup.model, setup.data, Index{4}) == 10);
        wasi::set_thread_count(before);
        return result;
    };
    const auto one = run(1);
    CHECK(one.back() < 0.1 * one.front());
    CHECK(run(2) == one);
}

}  // namespace
