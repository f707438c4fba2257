// The same bits from one and from several threads, for whole runs.
#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <support/models.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
using train::method;
using train::Method;

/// Large enough that products, row kernels and attention are cut into pieces and threads really share work.
constexpr wasi::nn::VisionTransformerConfig config{
    .image = 24, .patch = 4, .dim = 96, .depth = 2, .heads = 4, .mlp = 192, .classes = 5};

struct Options {
    Method method = train::method("vanilla");
    Index micro_batches = 1;
    double clip_norm = 0.0;
    train::ClipScope scope = train::ClipScope::global;
    wasi::optim::OptimizerOptions optimizer = wasi::optim::SgdOptions{.weight_decay = 1e-4};
    wasi::nn::KeepOptions keep = {};
    wasi::Precision frozen = wasi::Precision::full;
};

struct Outcome {
    std::map<std::string, std::vector<float>> weights;
    std::vector<double> losses;
};

/// Two epochs over 10 images in batches of 4: the last batch of each has 2.
[[nodiscard]] Outcome run(const Options& o, int threads)
{
    wasi::set_thread_count(threads);
    wasi::Ledger memory;
    Model<float> model(config, memory, wasi::RandomKey(1));
    randomize(model, 3);
    const auto data = random_images<float>(config, 10, 5);
    apply(model, {.method = o.method,
                  .weight_rank = linalg::Energy{0.7},
                  .activation = {.ranks = {linalg::Energy{0.8}, linalg::Energy{0.8}, linalg::Energy{0.8}}},
                  .projection = {.rank = 8, .refresh_every = 2},
                  .frozen_weights = o.frozen});
    wasi::nn::keep(model, o.keep);
    const auto optimizer = wasi::optim::make_optimizer<float, EigenStorage>(o.optimizer, memory);
    train::TrainOptions options;
    options.epochs = 2;
    options.batch_size = 4;
    options.rate = std::holds_alternative<wasi::optim::SgdOptions>(o.optimizer) ? 0.02 : 1e-3;
    options.micro_batches = o.micro_batches;
    options.clip_norm = o.clip_norm;
    options.clip_scope = o.scope;
    Outcome result;
    result.losses = train_losses<float>(model, data, *optimizer, options);
    result.weights = snapshot(model);
    return result;
}

template <class A>
[[nodiscard]] bool same_bytes(const std::vector<A>& a, const std::vector<A>& b)
{
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(A)) == 0);
}

void check_same(const Options& options)
{
    const int before = wasi::thread_count();
    const Outcome one = run(options, 1);
    CHECK(one.losses.size() == 6);
    for (const int threads : options.method == method("wasi") ? std::vector<int>{2, 3} : std::vector<int>{2}) {
        CAPTURE(threads);
        const Outcome several = run(options, threads);
        CHECK(same_bytes(one.losses, several.losses));
        REQUIRE(one.weights.size() == several.weights.size());
        for (const auto& parameter : one.weights) {
            CAPTURE(parameter.first);
            CHECK(same_bytes(parameter.second, several.weights.at(parameter.first)));
        }
    }
    wasi::set_thread_count(before);
}

TEST_CASE("every method")
{
    for (const Method& method : train::methods) {
        CAPTURE(method.name);
        check_same({.method = method});
    }
}

TEST_CASE("frozen weights and saves in fewer bits, rounded at random")
{
    check_same({.method = method("lora"),
                .keep = {.saved_as = wasi::Precision::int8, .rounding = wasi::Rounding::stochastic},
                .frozen = wasi::Precision::int8});
    check_same({.method = method("lora"),
                .keep = {.recompute = wasi::nn::Recompute::block, .saved_as = wasi::Precision::int4},
                .frozen = wasi::Precision::bfloat16});
}

TEST_CASE("micro-batches, global and per-parameter clipping, and every optimiser")
{
    check_same({.method = method("wasi"), .micro_batches = 2});
    check_same({.method = method("wasi"), .clip_norm = 0.5});
    check_same({.method = method("wsi"), .clip_norm = 0.5, .scope = train::ClipScope::parameter});
    check_same({.method = method("asi"), .micro_batches = 3, .clip_norm = 0.5});
    check_same({.method = method("asi"), .optimizer = wasi::optim::AdamWOptions{}});
    check_same({.method = method("factors"), .optimizer = wasi::optim::AdamWOptions{}});
    check_same({.method = method("vanilla"),
                .optimizer = wasi::optim::AdamWOptions{.state = {wasi::optim::MomentFormat::int8, 100}}});
    check_same({.method = method("wasi"), .optimizer = wasi::optim::SgdOptions{.momentum = 0.9, .weight_decay = 1e-4}});
    for (const auto basis :
         {wasi::optim::GradientBasis::svd, wasi::optim::GradientBasis::randomized, wasi::optim::GradientBasis::warm}) {
        const wasi::optim::GaloreOptions galore{
            .rank = 6, .refresh_every = 2, .basis = basis, .moments = wasi::optim::RefreshedMoments::rotated};
        check_same({.method = method("vanilla"), .optimizer = galore});
        check_same({.method = method("asi"), .micro_batches = 2, .optimizer = galore});
    }
    check_same({.method = method("vanilla"), .optimizer = wasi::optim::MofasgdOptions{.rank = 6}});
    check_same({.method = method("asi"), .optimizer = wasi::optim::MofasgdOptions{.rank = 6, .as_code = true}});
}

TEST_CASE("the seed decides: another key, other bits")
{
    wasi::Ledger memory;
    const auto data = random_images<float>(tiny_config, 10, 5);
    std::vector<std::map<std::string, std::vector<float>>> outcomes;
    for (const std::uint64_t seed : {5U, 5U, 6U}) {
        Model<float> model(tiny_config, memory, wasi::RandomKey(1));
        randomize(model, 3);
        wasi::optim::Sgd<float, EigenStorage> sgd({}, memory);
        train::TrainOptions options;
        options.batch_size = 4;
        (void)train_losses<float>(model, data, sgd, options, wasi::RandomKey(seed));
        outcomes.push_back(snapshot(model));
    }
    CHECK(outcomes[0] == outcomes[1]);
    CHECK(outcomes[0] != outcomes[2]);
}

}  // namespace
