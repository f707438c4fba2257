// A forecast from dry steps against the ledger of real ones: equal for fixed ranks on ordinary data, never below.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include <support/models.hpp>
#include <wasi/measure/evaluate.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/plan/forecast.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::Use;
using wasi::linalg::Energy;
using wasi::linalg::FixedRank;
using wasi::nn::VisionTransformerConfig;
using wasi::optim::AdamWOptions;
using wasi::optim::GaloreOptions;
using wasi::optim::GradientBasis;
using wasi::optim::MofasgdOptions;
using wasi::optim::OptimizerOptions;
using wasi::optim::SgdOptions;
using wasi::plan::Forecast;
using wasi::train::ClipScope;
using wasi::train::method;
using wasi::train::Method;
using wasi::train::TrainOptions;

constexpr VisionTransformerConfig small{
    .image = 16, .patch = 4, .dim = 48, .depth = 2, .heads = 3, .mlp = 96, .classes = 7};
constexpr VisionTransformerConfig wide{
    .image = 8, .patch = 4, .dim = 80, .depth = 2, .heads = 2, .mlp = 240, .classes = 3};

/// Threads of a scope.
class ThreadScope {
public:
    explicit ThreadScope(int threads) : before_(wasi::thread_count()) { wasi::set_thread_count(threads); }
    ThreadScope(const ThreadScope&) = delete;
    ThreadScope& operator=(const ThreadScope&) = delete;
    ~ThreadScope() { wasi::set_thread_count(before_); }

private:
    int before_;
};

using RunDescription = wasi::plan::RunDescription<Model<float>>;

/// What real steps took, and the description of the run.
struct Run {
    Forecast measured;
    RunDescription description;
};

/// With `evaluated` examples that are looked at after each epoch, `evaluation_batch` at once.
[[nodiscard]] Run train_really(const VisionTransformerConfig& config, const wasi::train::MethodOptions& method,
                               const TrainOptions& training, const OptimizerOptions& which, Index images,
                               const wasi::nn::KeepOptions& keep = {}, Index evaluated = 0, Index evaluation_batch = 0)
{
    wasi::Ledger ledger;
    Model<float> model(config, ledger);
    randomize(model, 1);
    const auto data = random_images<float>(config, images, 2);
    apply<float>(model, method);
    wasi::nn::keep(model, keep);
    Run run;
    run.description = wasi::plan::describe(model, training, which, images);
    run.description.evaluated = evaluated;
    run.description.evaluation_batch = evaluation_batch;
    ledger.open_arena();
    ledger.reset_peaks();
    run.measured.at_start = ledger.total().current;
    const auto optimizer = wasi::optim::make_optimizer<float, EigenStorage>(which, ledger);
    TrainOptions options = training;
    options.epochs = 2;
    options.rate = 0.01;
    const auto others = random_images<float>(config, std::max<Index>(evaluated, 1), 3);
    const Index per_epoch = wasi::train::steps_per_epoch(images, training.batch_size);
    options.on_step = [&](const wasi::train::StepRecord& record) {
        run.measured.flops = record.step == 2 ? record.flops : run.measured.flops;
        if (evaluated > 0 && (record.step + 1) % per_epoch == 0) {
            static_cast<void>(wasi::measure::confusion(
                model, others,
                evaluation_batch > 0 ? evaluation_batch : wasi::train::largest_micro_batch(training, images)));
        }
        return true;
    };
    wasi::train::train(model, data, *optimizer, options, wasi::RandomKey(5));
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        run.measured.peaks[use] = ledger.of(static_cast<Use>(use)).peak;
    }
    run.measured.total = ledger.total().peak;
    run.measured.arena = ledger.arena_high_water();
    return run;
}

void check_bound(const Run& run, int threads)
{
    auto description = run.description;
    description.threads = threads;
    const Forecast forecast = wasi::plan::forecast_step(description);
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        CAPTURE(wasi::to_string(static_cast<Use>(use)));
        CHECK(run.measured.peaks[use] <= forecast.peaks[use]);
    }
    CHECK(run.measured.total <= forecast.total);
    CHECK(run.measured.arena <= forecast.arena);
    CHECK(forecast.total <= forecast.process);
    CHECK(run.measured.at_start == forecast.at_start);
}

void check_equal(const Run& run)
{
    Forecast usual;
    auto description = run.description;
    description.threads = 1;
    wasi::plan::detail::run_dry<wasi::DryStorage>(usual, description, 0);
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        CAPTURE(wasi::to_string(static_cast<Use>(use)));
        CHECK(run.measured.peaks[use] == usual.peaks[use]);
    }
    CHECK(run.measured.total == usual.total);
    CHECK(run.measured.arena == usual.arena);
    // How often a polar factor is iterated and columns are orthonormalised depends on data.
    CHECK(usual.flops == doctest::Approx(run.measured.flops).epsilon(0.1));
}

struct Route {
    double clip_norm;
    ClipScope scope;
    Index micro_batches;
};
constexpr std::array routes{Route{0.0, ClipScope::global, 1},    Route{1.0, ClipScope::global, 1},
                            Route{1.0, ClipScope::parameter, 1}, Route{1.0, ClipScope::global, 2},
                            Route{1.0, ClipScope::global, 5},    Route{0.0, ClipScope::global, 12}};

/// Fixed ranks everywhere. With `restarts` when the data call for them: equal to the ledger is a run without, as a dry
/// one is. The last block's dY is zero but for the class token, so a gradient there has no more columns than the batch
/// rank; larger feature ranks would have rank-r steps find fewer directions than a forecast counts.
[[nodiscard]] wasi::train::MethodOptions fixed_ranks(const Method& method, bool restarts = false)
{
    wasi::train::MethodOptions options{
        .method = method, .weight_rank = FixedRank{9}, .activation = {.ranks = {4, 4, 3}}};
    options.activation.restart_below = restarts ? options.activation.restart_below : 0.0;
    return options;
}

TEST_CASE("memory forecast: equal to the ledger for fixed ranks")
{
    const ThreadScope threads(1);
    for (const auto& config : {small, wide}) {
        for (const Method method : {method("vanilla"), method("head"), method("wsi"), method("asi"), method("wasi")}) {
            for (const Route& route : routes) {
                CAPTURE(config.dim);
                CAPTURE(method.name);
                CAPTURE(route.clip_norm);
                CAPTURE(route.micro_batches);
                const TrainOptions training{.batch_size = 12,
                                            .micro_batches = route.micro_batches,
                                            .clip_norm = route.clip_norm,
                                            .clip_scope = route.scope};
                const auto run = train_really(config, fixed_ranks(method), training, {}, 24);
                if (route.micro_batches <= 2 || !has_compressed_inputs(method)) {
                    check_equal(run);
                }
                check_bound(run, 1);
                if (has_compressed_inputs(method)) {
                    check_bound(train_really(config, fixed_ranks(method, true), training, {}, 24), 1);
                }
            }
        }
    }
}

TEST_CASE("memory forecast: the smaller last batch of an epoch may be what takes most")
{
    const ThreadScope threads(1);
    constexpr VisionTransformerConfig tiny{
        .image = 8, .patch = 4, .dim = 32, .depth = 1, .heads = 2, .mlp = 64, .classes = 3};
    // Batches of 8 and 7 images in three pieces: the gaps between blocks of other sizes are larger.
    const TrainOptions training{.batch_size = 8, .micro_batches = 3};
    wasi::train::MethodOptions options{.method = method("asi"), .activation = {.ranks = {8, 1, 1}}};
    options.activation.restart_below = 0.0;
    const Run run = train_really(tiny, options, training, {}, 15);
    check_equal(run);
    check_bound(run, 1);
    Forecast full;
    auto description = run.description;
    description.images = 8;
    wasi::plan::detail::run_dry<wasi::DryStorage>(full, description, 0);
    CHECK(full.arena < run.measured.arena);
}

TEST_CASE("memory forecast: what blocks keep")
{
    using wasi::autograd::Output;
    using wasi::autograd::Probabilities;
    const ThreadScope threads(1);
    std::vector<wasi::nn::KeepOptions> choices(10);
    choices[0].recompute = wasi::nn::Recompute::attention;
    choices[1].recompute = wasi::nn::Recompute::mlp;
    choices[2].recompute = wasi::nn::Recompute::halves;
    choices[3].recompute = wasi::nn::Recompute::block;
    choices[4].probabilities = Probabilities::recompute;
    choices[5].norm_output = Output::rebuild;
    choices[6].gelu_input = choices[6].gelu_output = Output::rebuild;
    choices[7].saved_as = wasi::Precision::bfloat16;
    choices[8].saved_as = wasi::Precision::int8;
    choices[9].recompute = wasi::nn::Recompute::block;
    choices[9].saved_as = wasi::Precision::int4;
    choices[9].rounding = wasi::Rounding::stochastic;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        for (const Method method : {method("vanilla"), method("wsi"), method("wasi")}) {
            CAPTURE(i);
            CAPTURE(method.name);
            TrainOptions training;
            training.batch_size = 12;
            const auto run = train_really(small, fixed_ranks(method), training, {}, 24, choices[i]);
            check_equal(run);
            check_bound(run, 1);
        }
    }
}

TEST_CASE("memory forecast: frozen weights in fewer bits")
{
    const ThreadScope threads(1);
    for (const auto precision : {wasi::Precision::full, wasi::Precision::bfloat16, wasi::Precision::int8}) {
        for (const auto& config : {small, wide}) {
            for (const Method method : {method("lora"), method("head")}) {
                for (const auto layers : {wasi::nn::Layers::all, wasi::nn::Layers::mlp}) {
                    CAPTURE(to_string(precision));
                    CAPTURE(config.dim);
                    CAPTURE(method.name);
                    TrainOptions training;
                    training.batch_size = 12;
                    training.clip_norm = 1.0;
                    auto options = fixed_ranks(method);
                    options.layers = layers;
                    options.adapter.rank = 3;
                    options.frozen_weights = precision;
                    const auto run =
                        train_really(config, options, training, AdamWOptions{}, 24,
                                     {.recompute = wasi::nn::Recompute::block, .saved_as = wasi::Precision::int8});
                    check_equal(run);
                    check_bound(run, 1);
                }
            }
        }
    }
}

TEST_CASE("memory forecast: projected inputs")
{
    using wasi::subspace::Projection;
    const ThreadScope threads(1);
    for (const auto projection :
         {Projection::gaussian, Projection::orthonormal, Projection::principal, Projection::prac, Projection::velora}) {
        for (const Method method : {method("vanilla"), method("wsi"), method("lora")}) {
            for (const Route& route : routes) {
                CAPTURE(to_string(projection));
                CAPTURE(method.name);
                CAPTURE(route.micro_batches);
                const TrainOptions training{.batch_size = 12,
                                            .micro_batches = route.micro_batches,
                                            .clip_norm = route.clip_norm,
                                            .clip_scope = route.scope};
                auto options = fixed_ranks(method);
                options.inputs = wasi::train::saved_inputs.back().input;
                options.projection = {.projection = projection, .rank = 8};
                const auto run = train_really(small, options, training, {}, 24);
                check_equal(run);
                check_bound(run, 1);
                options.projection.refresh_every = 1;
                check_bound(train_really(small, options, training, {}, 24), 1);
            }
        }
    }
}

TEST_CASE("memory forecast: what other families of Vision Transformers have")
{
    const ThreadScope threads(1);
    using wasi::nn::Pooling;
    std::vector<VisionTransformerConfig> configs(4, small);
    configs[0].gelu = wasi::nn::Gelu::quick;
    configs[0].pre_norm = true;
    configs[1].distillation_token = true;
    configs[1].pooling = Pooling::class_and_distillation;
    configs[2].registers = 4;
    configs[2].layer_scale = true;
    configs[2].pooling = Pooling::class_and_mean;
    configs[3].class_token = false;
    configs[3].pooling = Pooling::mean_before_norm;
    for (const auto& config : configs) {
        for (const Method method : {method("vanilla"), method("wsi")}) {
            for (const auto recompute : {wasi::nn::Recompute::nothing, wasi::nn::Recompute::block}) {
                CAPTURE(to_string(config.pooling));
                CAPTURE(method.name);
                TrainOptions training;
                training.batch_size = 12;
                const auto run = train_really(config, fixed_ranks(method), training, {}, 24, {.recompute = recompute});
                check_equal(run);
                check_bound(run, 1);
            }
        }
    }
}

TEST_CASE("memory forecast: optimisers that keep something")
{
    const ThreadScope threads(1);
    for (const OptimizerOptions& which :
         {OptimizerOptions(SgdOptions{.momentum = 0.9}), OptimizerOptions(AdamWOptions{}),
          OptimizerOptions(AdamWOptions{.state = {wasi::optim::MomentFormat::int8, 100}})}) {
        for (const Method method :
             {method("vanilla"), method("head"), method("asi"), method("factors"), method("wasi")}) {
            if (method == wasi::train::method("wasi") && std::holds_alternative<AdamWOptions>(which)) {
                continue;  // AdamW refuses its weights
            }
            CAPTURE(method.name);
            CAPTURE(wasi::optim::name_of(which));
            TrainOptions training;
            training.batch_size = 12;
            training.clip_norm = 1.0;
            const auto run = train_really(small, fixed_ranks(method), training, which, 24);
            check_equal(run);
            check_bound(run, 1);
        }
    }
}

TEST_CASE("memory forecast: optimisers that work in directions of the gradient")
{
    const ThreadScope threads(1);
    for (const auto basis : {GradientBasis::svd, GradientBasis::randomized, GradientBasis::warm}) {
        for (const Method method : {method("vanilla"), method("asi")}) {
            for (const Route& route : routes) {
                CAPTURE(static_cast<int>(basis));
                CAPTURE(method.name);
                CAPTURE(route.clip_norm);
                CAPTURE(route.micro_batches);
                const TrainOptions training{.batch_size = 12,
                                            .micro_batches = route.micro_batches,
                                            .clip_norm = route.clip_norm,
                                            .clip_scope = route.scope};
                GaloreOptions options{.rank = 6, .basis = basis, .moments = wasi::optim::RefreshedMoments::rotated};
                for (const Index refresh : {1, 2, 200}) {
                    if (refresh == 2 && route.micro_batches > 1) {
                        continue;
                    }
                    options.refresh_every = refresh;
                    const auto run = train_really(small, fixed_ranks(method), training, options, 24);
                    if (refresh != 2 && (route.micro_batches <= 2 || !has_compressed_inputs(method))) {
                        check_equal(run);
                    }
                    check_bound(run, 1);
                }
            }
        }
    }
}

TEST_CASE("memory forecast: momentum of low rank, and biases and norms alone")
{
    const ThreadScope threads(1);
    for (const bool as_code : {false, true}) {
        for (const Method method : {method("vanilla"), method("asi"), method("bitfit")}) {
            for (const Route& route : routes) {
                CAPTURE(as_code);
                CAPTURE(method.name);
                CAPTURE(route.clip_norm);
                CAPTURE(route.micro_batches);
                const TrainOptions training{.batch_size = 12,
                                            .micro_batches = route.micro_batches,
                                            .clip_norm = route.clip_norm,
                                            .clip_scope = route.scope};
                // Gradients of compressed inputs have three directions here; a momentum of more has dependent columns,
                // which take another way through an orthonormalisation than a forecast counts.
                const Index rank = has_compressed_inputs(method) ? 3 : 6;
                const MofasgdOptions options{.rank = rank, .as_code = as_code, .complement_step = 0.1};
                const auto run = train_really(small, fixed_ranks(method), training, options, 24);
                if (route.micro_batches <= 2 || !has_compressed_inputs(method)) {
                    check_equal(run);
                }
                check_bound(run, 1);
            }
        }
    }
}

TEST_CASE("memory forecast: adapters and free factors, in every way to start and to divide gradients")
{
    using wasi::nn::AdapterStart;
    const ThreadScope threads(1);
    wasi::train::MethodOptions plain = fixed_ranks(method("lora"));
    plain.adapter.rank = 4;
    std::vector<wasi::train::MethodOptions> all{plain};
    for (const Method method : {method("lora-fa"), method("dora"), method("factors")}) {
        all.push_back(plain);
        all.back().method = method;
    }
    for (const Method method : {method("lora"), method("dora"), method("factors")}) {
        all.push_back(plain);
        all.back().method = method;
        all.back().precondition = all.back().adapter.precondition = 0.01;
    }
    for (const AdapterStart start : {AdapterStart::pissa, AdapterStart::olora, AdapterStart::mica}) {
        all.push_back(plain);
        all.back().adapter.start = start;
    }
    for (const auto& options : all) {
        for (const Route& route : {Route{0.0, ClipScope::global, 1}, Route{1.0, ClipScope::global, 2}}) {
            CAPTURE(options.method.name);
            CAPTURE(options.adapter.precondition);
            CAPTURE(to_string(options.adapter.start));
            CAPTURE(route.micro_batches);
            const TrainOptions training{
                .batch_size = 12, .micro_batches = route.micro_batches, .clip_norm = route.clip_norm};
            for (const auto recompute : {wasi::nn::Recompute::nothing, wasi::nn::Recompute::block}) {
                const auto run = train_really(small, options, training, AdamWOptions{}, 24, {.recompute = recompute});
                check_equal(run);
                check_bound(run, 1);
            }
        }
    }
}

TEST_CASE("memory forecast: an upper bound for ranks by energy, restarts, several threads")
{
    for (const int threads : {1, 3}) {
        const ThreadScope scope(threads);
        for (const double energy : {0.3, 0.8, 0.99}) {
            for (const Index batch : {1, 7}) {
                for (const Method method : {method("asi"), method("wasi"), method("wsi")}) {
                    CAPTURE(method.name);
                    CAPTURE(energy);
                    CAPTURE(batch);
                    wasi::train::MethodOptions options{.method = method, .weight_rank = Energy{energy}};
                    options.activation.ranks = Energy{energy};
                    options.activation.restart_every = batch == 1 ? 2 : 0;
                    options.activation.restart_below = 1.0;
                    check_bound(train_really(wide, options, {.batch_size = batch}, {}, 10), threads);
                }
            }
        }
    }
}

TEST_CASE("memory forecast: an evaluation after each epoch, where it takes more than a step and where it does not")
{
    const ThreadScope threads(1);
    for (const Method method : {method("vanilla"), method("head"), method("wsi"), method("wasi")}) {
        for (const auto& choice : {std::pair<Index, Index>{50, 0}, {50, 32}, {64, 32}, {5, 32}, {64, 64}}) {
            const Index evaluated = choice.first;
            const Index batch = choice.second;
            CAPTURE(method.name);
            CAPTURE(evaluated);
            CAPTURE(batch);
            TrainOptions training;
            training.batch_size = 4;
            training.micro_batches = 2;
            const OptimizerOptions sgd = SgdOptions{.momentum = 0.9};
            const auto run = train_really(small, fixed_ranks(method), training, sgd, 14, {}, evaluated, batch);
            check_equal(run);
            check_bound(run, 1);
            // A large batch without gradients takes more than a small one with them.
            const auto alone = train_really(small, fixed_ranks(method), training, sgd, 14);
            CHECK(run.measured.total >= alone.measured.total);
            if (evaluated > 5) {
                CHECK((run.measured.total > alone.measured.total) == (batch > 0));
            }
        }
    }
}

TEST_CASE("memory forecast: refuses what makes no sense")
{
    RunDescription run;
    run.model = small;
    run.layers.resize(9);
    CHECK_THROWS_WITH_AS(static_cast<void>(wasi::plan::forecast_step(run)),
                         "RunDescription: 9 layers for a model with 10", wasi::argument_error);
    run.layers.resize(11);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::forecast_step(run)), wasi::argument_error);
    run.layers.clear();
    run.trainable.resize(2);
    CHECK_THROWS_WITH_AS(static_cast<void>(wasi::plan::forecast_step(run)),
                         "RunDescription: 2 parameters for a model with 12", wasi::argument_error);
    run.trainable.clear();
    run.keep.resize(4);
    CHECK_THROWS_WITH_AS(static_cast<void>(wasi::plan::forecast_step(run)),
                         "RunDescription: 4 blocks for a model with 3", wasi::argument_error);
    run.keep.clear();
    run.threads = 0;
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::forecast_step(run)), wasi::argument_error);
    run.threads = 1;
    run.images = -1;
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::forecast_step(run)), wasi::argument_error);
    run.images = 0;
    run.evaluated = -1;
    CHECK_THROWS_WITH_AS(static_cast<void>(wasi::plan::forecast_step(run)),
                         "RunDescription: -1 examples are evaluated, 0 at once", wasi::argument_error);
}

TEST_CASE("memory forecast: weights that become low rank take no more than is forecast")
{
    for (const auto& config : {small, wide}) {
        for (const bool dense_first : {false, true}) {
            CAPTURE(config.dim);
            CAPTURE(dense_first);
            RunDescription run;
            run.model = config;
            run.training.batch_size = 1;
            run.layers =
                wasi::plan::wished_layers<Model<float>>(config, wasi::nn::SubspaceOptions{{FixedRank{7}, false}});
            run.dense_first = dense_first;
            wasi::Ledger ledger;
            Model<float> model(config, ledger);
            randomize(model, 1);
            const auto layers = wasi::nn::selected_layers(model, wasi::nn::Layers::all);
            std::vector<wasi::Tensor<float>> read;  // what is in a file
            for (auto* layer : layers) {
                auto& dense = layer->weight.dense();
                read.emplace_back(wasi::plain_memory(), wasi::Tag{}, dense.shape());
                std::copy_n(dense.data(), dense.size(), read.back().data());
                if (!dense_first) {
                    dense.reset();
                }
            }
            ledger.reset_peaks();
            for (std::size_t i = 0; i < layers.size(); ++i) {
                std::copy_n(read[i].data(), read[i].size(), layers[i]->weight.dense().data());
                make_low_rank<wasi::nn::SubspaceOptions>(layers[i]->weight, 7);
            }
            const Forecast forecast = wasi::plan::forecast_step(run);
            CHECK(ledger.total().peak <= forecast.convert);
            CHECK(ledger.total().current == forecast.at_start);
        }
    }
}

}  // namespace
