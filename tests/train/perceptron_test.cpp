// Everything that the library does for a model, for one that is not its own: train, predict, forecast, plan, calibrate,
// save, load, resume.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <support/files.hpp>
#include <support/perceptron.hpp>
#include <support/weights.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/files/run_file.hpp>
#include <wasi/measure/evaluate.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/plan/memory_plan.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>

namespace {

using namespace wasi_tests;
using wasi::EigenStorage;
using wasi::Index;
using wasi::RandomKey;
using wasi::Use;
namespace files = wasi::files;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;
namespace optim = wasi::optim;
namespace plan = wasi::plan;
namespace train = wasi::train;

using Model = Perceptron<float, EigenStorage>;
static_assert(nn::Model<Model>);
static_assert(nn::Model<Perceptron<double, wasi::DryStorage>>);
static_assert(wasi::data::Batches<Points<float>, float>);

constexpr PerceptronConfig config{};

/// The first layer low rank with its input in Tucker form; the second and the head dense and exact.
template <class T, class S>
void set_up(Perceptron<T, S>& model, Index restart_every = 0)
{
    nn::TuckerOptions tucker;
    // Of a batch of rank 4 a gradient has so many independent columns at most: with more features a step would find
    // fewer than a forecast counts.
    tucker.ranks = {4, 1, 3};
    tucker.restart_below = 0.0;
    tucker.restart_every = restart_every;
    nn::set_up(model.first, nn::LayerSetup{nn::SubspaceOptions{{linalg::FixedRank{9}, false}}, tucker},
               RandomKey(7).derive(model.first.layer()));
}

struct Outcome {
    std::vector<double> losses;
    std::map<std::string, std::vector<float>> weights;
    bool operator==(const Outcome&) const = default;
};

[[nodiscard]] train::TrainOptions two_epochs(Index batch)
{
    return {.epochs = 2, .batch_size = batch, .rate = 0.1};
}

/// Trains from where the model and the optimiser stand.
template <class M>
[[nodiscard]] Outcome train_on(M& model, const Points<typename M::Value>& data,
                               optim::Optimizer<typename M::Value, EigenStorage>& optimizer,
                               train::TrainOptions options)
{
    Outcome result;
    auto chained = std::move(options.on_step);
    options.on_step = [&](const train::StepRecord& record) {
        result.losses.push_back(record.loss);
        return !chained || chained(record);
    };
    static_cast<void>(train::train(model, data, optimizer, options, RandomKey(5)));
    result.weights = weights_of(model);
    return result;
}

TEST_CASE("a model of one's own: trained, by every method, until it knows its points")
{
    const Points<float> data(config, 48, 2);
    for (const train::Method& method : train::methods) {
        CAPTURE(method.name);
        wasi::Ledger memory;
        Model model(config, memory);
        fill(model, 1);
        train::apply_method(
            model, {.method = method, .weight_rank = linalg::FixedRank{8}, .activation = {.ranks = {16, 1, 12}}},
            RandomKey(7));
        optim::Sgd<float, EigenStorage> sgd({}, memory);
        train::TrainOptions options = two_epochs(16);
        options.epochs = 40;
        options.rate = 0.3;
        const Outcome outcome = train_on(model, data, sgd, options);
        CHECK(outcome.losses.back() < 0.4 * outcome.losses.front());
        CHECK(wasi::measure::count_correct(model, data, 10) >= 46);
    }
}

TEST_CASE("a model of one's own: a batch as a matrix and as tokens gives the same bits")
{
    const auto outcome = [](bool as_tokens) {
        PerceptronConfig own = config;
        own.as_tokens = as_tokens;
        wasi::Ledger memory;
        Model model(own, memory);
        fill(model, 1);
        set_up(model);
        optim::Sgd<float, EigenStorage> sgd({.momentum = 0.9}, memory);
        return train_on(model, Points<float>(own, 20, 2), sgd, two_epochs(8));
    };
    const Outcome matrix = outcome(false);
    CHECK(matrix.losses.size() == 6);
    CHECK(outcome(true) == matrix);
}

TEST_CASE("a model of one's own: what is drawn for an example depends on the epoch, and on nothing else")
{
    // One batch an epoch, in order, and a rate of 0: losses differ by the noise alone.
    const auto losses = [](double noise, Index micro_batches) {
        wasi::Ledger memory;
        Model model(config, memory);
        fill(model, 1);
        Points<float> data(config, 8, 2);
        data.noise = noise;
        optim::Sgd<float, EigenStorage> sgd({}, memory);
        train::TrainOptions options = two_epochs(8);
        options.shuffle = false;
        options.rate = 0.0;
        options.micro_batches = micro_batches;
        return train_on(model, data, sgd, options).losses;
    };
    const auto plain = losses(0.0, 1);
    const auto noisy = losses(0.5, 1);
    CHECK(plain[0] == plain[1]);
    CHECK(noisy[0] != noisy[1]);
    CHECK(noisy[0] != plain[0]);
    CHECK(losses(0.5, 1) == noisy);
    const auto pieces = losses(0.5, 4);
    for (std::size_t epoch = 0; epoch < 2; ++epoch) {
        CHECK(pieces[epoch] == doctest::Approx(noisy[epoch]).epsilon(1e-6));
    }
}

/// Half of the cross entropy.
struct HalfLoss {
    template <class T, class S>
    [[nodiscard]] wasi::autograd::Variable<T> operator()(const wasi::autograd::Context<T, S>& context,
                                                         const wasi::autograd::Variable<T>& logits,
                                                         std::span<const std::int64_t> labels) const
    {
        const auto whole = wasi::autograd::cross_entropy(context, logits, labels);
        wasi::Tensor<T> half = wasi::clone<wasi::EigenStorage>(whole.value(), wasi::Tag{});
        half.data()[0] *= T(0.5);
        return context.tape->record(std::move(half), {}, [slot = whole.slot()](auto dy, auto& pass) {
            auto own = pass.writable(std::move(dy));
            own->data()[0] *= T(0.5);
            pass.add(slot, std::move(own));
        });
    }
};

TEST_CASE("a model of one's own: with a loss of one's own; half the loss at twice the rate is the same run")
{
    const Points<float> data(config, 20, 2);
    const auto run = [&](auto loss, double rate) {
        wasi::Ledger memory;
        Model model(config, memory);
        fill(model, 1);
        optim::Sgd<float, EigenStorage> sgd({}, memory);
        std::vector<double> losses;
        train::TrainOptions options = two_epochs(8);
        options.rate = rate;
        options.on_step = [&](const train::StepRecord& record) {
            losses.push_back(record.loss);
            return true;
        };
        static_cast<void>(train::train(model, data, sgd, options, RandomKey(5), loss));
        return losses;
    };
    const auto whole = run(train::MeanCrossEntropy{}, 0.1);
    const auto half = run(HalfLoss{}, 0.2);
    for (std::size_t i = 0; i < whole.size(); ++i) {
        CHECK(half[i] == doctest::Approx(0.5 * whole[i]).epsilon(1e-5));
    }
}

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

TEST_CASE("a model of one's own: the forecast is what the ledger books, to the byte")
{
    const ThreadScope threads(1);
    for (const bool as_tokens : {false, true}) {
        for (const Index micro_batches : {1, 2}) {
            for (const optim::OptimizerOptions& which : {optim::OptimizerOptions(optim::SgdOptions{}),
                                                         optim::OptimizerOptions(optim::SgdOptions{.momentum = 0.9})}) {
                CAPTURE(as_tokens);
                CAPTURE(micro_batches);
                CAPTURE(std::get<optim::SgdOptions>(which).momentum);
                PerceptronConfig own = config;
                own.as_tokens = as_tokens;
                wasi::Ledger ledger;
                Model model(own, ledger);
                fill(model, 1);
                set_up(model);
                model.second.bias.set_trainable(false);
                const Points<float> data(own, 20, 2);
                train::TrainOptions options = two_epochs(8);
                options.micro_batches = micro_batches;
                options.clip_norm = 1.0;

                const auto run = plan::describe(model, options, which, data.size());
                CHECK(run.layers.size() == 3);
                CHECK(run.trainable.empty());
                CHECK(run.keep.empty());
                plan::Forecast usual;
                plan::detail::run_dry<wasi::DryStorage>(usual, run, 0);
                const plan::Forecast forecast = plan::forecast_step(run);

                ledger.open_arena();
                ledger.reset_peaks();
                CHECK(forecast.at_start == ledger.total().current);
                const auto optimizer = optim::make_optimizer<float, EigenStorage>(which, ledger);
                static_cast<void>(train_on(model, data, *optimizer, options));
                for (std::size_t use = 0; use < wasi::use_count; ++use) {
                    CAPTURE(wasi::to_string(static_cast<Use>(use)));
                    CHECK(ledger.of(static_cast<Use>(use)).peak == usual.peaks[use]);
                    CHECK(ledger.of(static_cast<Use>(use)).peak <= forecast.peaks[use]);
                }
                CHECK(ledger.total().peak == usual.total);
                CHECK(ledger.arena_high_water() == usual.arena);
                CHECK(ledger.total().peak <= forecast.total);
                CHECK(ledger.arena_high_water() <= forecast.arena);
            }
        }
    }
}

TEST_CASE("a model of one's own: planned within a budget, and trained within the plan")
{
    const ThreadScope threads(1);
    wasi::Ledger first;
    PerceptronConfig wide = config;
    wide.inputs = 96;
    wide.hidden = 80;
    Model dense(wide, first);
    fill(dense, 1);
    const Points<float> data(wide, 512, 2);
    const auto spectra = plan::weight_spectra(dense);
    REQUIRE(spectra.size() == 2);  // the head is none of the layers that a plan may change
    CHECK(spectra[0].name == "first.weight");

    plan::RunDescription<Model> run;
    run.model = wide;
    run.training.batch_size = 256;
    run.training.gradients = train::GradientFlow::stream;  // so no micro-batches
    run.optimizer = optim::SgdOptions{.momentum = 0.9};
    run.images = data.size();
    run.threads = 1;
    plan::MemoryPlanOptions options;
    options.energies = {1.0, 0.5};
    options.slack = options.slack_per_thread = 0;
    constexpr std::size_t any = std::size_t{1} << 30;
    CHECK_THROWS_WITH_AS(static_cast<void>(plan::plan_memory(run, spectra, any, options)),
                         "plan_memory: 0 layers in the description; wished_layers() has those of the model",
                         wasi::argument_error);
    run.layers = plan::wished_layers<Model>(wide, nn::SubspaceOptions{});
    const std::vector<Index> images = train::calibration_images(data.size(), run.training, RandomKey(5));
    options.inputs = plan::calibrate_inputs(
        dense, [&](wasi::Memory& memory) { return data.gather(images, RandomKey(0), memory); },
        data.gather_labels(images), nn::Layers::mlp);
    REQUIRE(options.inputs.size() == 2);
    const auto roomy = plan::plan_memory(run, spectra, any, options);
    CHECK(roomy.chosen.error() == 0.0);
    int compressed = 0;
    double error_before = 0.0;
    for (const double share : {0.95, 0.9, 0.85}) {
        CAPTURE(share);
        const auto budget = static_cast<std::size_t>(share * static_cast<double>(roomy.chosen.process));
        const auto planned = plan::plan_memory(run, spectra, budget, options);
        CHECK(planned.chosen.process <= budget);
        CHECK(planned.chosen.error() >= error_before);
        error_before = planned.chosen.error();
        wasi::Ledger ledger;
        Model model(wide, ledger);
        fill(model, 1);
        plan::apply_plan(model, planned);
        for (const auto* layer : nn::selected_layers(model, nn::Layers::mlp)) {
            compressed += layer->saves_with<nn::TuckerOptions>() != nullptr ? 1 : 0;
        }
        CHECK(model.head.saves_with<nn::TuckerOptions>() == nullptr);
        ledger.open_arena();
        ledger.reset_peaks();
        const auto optimizer = optim::make_optimizer<float, EigenStorage>(run.optimizer, ledger);
        static_cast<void>(train_on(model, data, *optimizer, planned.chosen.run.training));
        CHECK(ledger.total().peak <= planned.chosen.forecast.total);
        CHECK(ledger.total().current - ledger.arena_used() + ledger.arena_high_water() <= planned.chosen.process);
    }
    CHECK(compressed >= 3);
}

TEST_CASE("a model of one's own: written and read, each weight in its form")
{
    const wasi_tests::TemporaryFolder folder;
    wasi::Ledger memory;
    Model model(config, memory);
    fill(model, 1);
    set_up(model);
    nn::set_up(model.second.weight, nn::WeightSetup(nn::FactorsOptions{{linalg::FixedRank{4}, false}}));
    files::write_model(model, folder / "model.safetensors", {{"what", "a perceptron"}});
    const wasi::io::SafetensorsFile file(folder / "model.safetensors");
    CHECK(file.metadata().at("what") == "a perceptron");
    CHECK(file.metadata().at("forms") == "first.weight=subspace,second.weight=factors");

    Model read(config, memory);
    files::read_model(read, file, folder / "model.safetensors");
    CHECK(weights_of(read) == weights_of(model));
    CHECK(read.first.weight.held_as<nn::SubspaceOptions>() != nullptr);
    CHECK(read.second.weight.held_as<nn::FactorsOptions>() != nullptr);
    const Points<float> data(config, 9, 2);
    const auto wanted = wasi::measure::predict(model, data);
    const auto found = wasi::measure::predict(read, data);
    CHECK(std::equal(found.span().begin(), found.span().end(), wanted.span().begin(), wanted.span().end()));

    PerceptronConfig other = config;
    other.hidden = 33;
    Model larger(other, memory);
    CHECK_THROWS_AS(files::read_model(larger, file, folder / "model.safetensors"), wasi::shape_error);
}

TEST_CASE_TEMPLATE("a model of one's own: a resumed run is the uninterrupted one, bit for bit", T, float, double)
{
    const wasi_tests::TemporaryFolder folder;
    const auto path = folder / "run.safetensors";
    PerceptronConfig wide = config;
    wide.inputs = 96;              // so that fresh bases are drawn
    Points<T> data(wide, 160, 2);  // batches of 64, 64, 32
    data.noise = 0.3;
    const files::RunFacts facts{{"data", "points"}};
    const auto values_of = [](auto& model) { return weights_of(model); };

    struct Whole {
        std::vector<double> losses;
        std::map<std::string, std::vector<T>> weights;
    };
    const auto train_from = [&](auto& model, auto& optimizer, Index first_step, Index save_after) {
        Whole result;
        train::TrainOptions options = two_epochs(64);
        options.first_step = first_step;
        options.on_step = [&](const train::StepRecord& record) {
            result.losses.push_back(record.loss);
            if (record.step + 1 == save_after) {
                files::save_run(model, optimizer, save_after, facts, path);
            }
            return true;
        };
        CHECK(train::train(model, data, optimizer, options, RandomKey(5)) == 6);
        result.weights = values_of(model);
        return result;
    };
    wasi::Ledger memory;
    Perceptron<T, EigenStorage> model(wide, memory);
    fill(model, 1);
    set_up(model, 3);
    optim::Sgd<T, EigenStorage> momentum({.momentum = 0.9, .weight_decay = 1e-3}, memory);
    const Whole whole = train_from(model, momentum, 0, 2);

    const auto resumed = [&](RandomKey key) {
        Perceptron<T, EigenStorage> again(wide, memory);
        fill(again, 9);
        optim::Sgd<T, EigenStorage> fresh({.momentum = 0.9, .weight_decay = 1e-3}, memory);
        // Options beside fixed ranks are the caller's.
        REQUIRE(files::load_run(again, fresh, facts, path, {.restart_below = 0.0, .restart_every = 3}, key) == 2);
        return train_from(again, fresh, 2, 0);
    };
    const Whole rest = resumed(RandomKey(7));
    CHECK(rest.losses == std::vector<double>(whole.losses.begin() + 2, whole.losses.end()));
    CHECK(rest.weights == whole.weights);
    CHECK(resumed(RandomKey(8)).weights != whole.weights);  // the fresh basis is drawn with it
}

}  // namespace
