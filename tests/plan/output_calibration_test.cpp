// Ranks by what weights put out: gains against central differences, errors that are promised against errors that are
// made, dealing against every other choice.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <support/models.hpp>
#include <support/perceptron.hpp>
#include <wasi/measure/features.hpp>
#include <wasi/nn/dense_values.hpp>
#include <wasi/plan/forecast_outputs.hpp>
#include <wasi/plan/output_ranks.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::ConstMatrixView;
using wasi::RandomKey;
using wasi::nn::Layers;
using wasi::plan::LayerOutputs;

using Double = Perceptron<double, EigenStorage>;

[[nodiscard]] std::vector<Index> range(Index first, Index last)
{
    std::vector<Index> numbers;
    for (Index i = first; i < last; ++i) {
        numbers.push_back(i);
    }
    return numbers;
}

/// X and Y (rows, numbers) of one layer in a forward pass over some examples.
template <class M>
struct Passed {
    using T = typename M::Value;

    template <class D>
    Passed(M& model, wasi::nn::LayerOf<M>& layer, const D& data, const std::vector<Index>& which)
    {
        const auto keep = [](std::vector<double>& to, ConstMatrixView<T> from, Index& cols) {
            cols = from.cols;
            for (Index i = 0; i < from.rows; ++i) {
                for (Index j = 0; j < from.cols; ++j) {
                    to.push_back(static_cast<double>(from(i, j)));
                }
            }
        };
        auto observer = std::make_shared<wasi::nn::LayerObserver<T>>();
        observer->forward = [&](ConstMatrixView<T> seen_x, ConstMatrixView<T> seen_y) {
            keep(x, seen_x, inputs);
            keep(y, seen_y, outputs);
        };
        layer.observe(observer);
        const wasi::autograd::Context<T, typename M::Storage> context{model.memory(), nullptr};
        static_cast<void>(model.forward(context, wasi::nn::Source<T>([&](wasi::Memory& memory) {
                                            return data.gather(which, RandomKey(0), memory);
                                        })));
        layer.observe(nullptr);
    }

    [[nodiscard]] Index rows() const { return std::ssize(x) / inputs; }

    std::vector<double> x;
    std::vector<double> y;
    Index inputs = 0;
    Index outputs = 0;
};

/// Mean over rows of Σ_o (g_o (y - layer(x))_o)², of the layer as it is held now.
template <class M>
[[nodiscard]] double error_made(const Passed<M>& passed, const wasi::nn::LayerOf<M>& layer,
                                std::span<const typename M::Value> gain)
{
    const auto weight = wasi::nn::dense_rows(layer.weight, 0, layer.weight.outputs());
    double sum = 0.0;
    for (Index i = 0; i < passed.rows(); ++i) {
        for (Index o = 0; o < passed.outputs; ++o) {
            double y = static_cast<double>(layer.bias.values.data()[o]);
            for (Index j = 0; j < passed.inputs; ++j) {
                y += static_cast<double>(weight.matrix()(o, j)) *
                     passed.x[static_cast<std::size_t>(i * passed.inputs + j)];
            }
            const double apart = (passed.y[static_cast<std::size_t>(i * passed.outputs + o)] - y) *
                                 static_cast<double>(gain[static_cast<std::size_t>(o)]);
            sum += apart * apart / static_cast<double>(passed.rows());
        }
    }
    return sum;
}

/// Mean over rows of Σ_o (g_o (y - y(mean of x)))², the layer dense still.
template <class M>
[[nodiscard]] double spread_of(const Passed<M>& passed, const wasi::nn::LayerOf<M>& layer,
                               const LayerOutputs<typename M::Value>& found)
{
    double sum = 0.0;
    for (Index o = 0; o < passed.outputs; ++o) {
        double middle = static_cast<double>(layer.bias.values.data()[o]);
        for (Index j = 0; j < passed.inputs; ++j) {
            middle += static_cast<double>(layer.weight.matrix()(o, j)) * static_cast<double>(found.mean.data()[j]);
        }
        for (Index i = 0; i < passed.rows(); ++i) {
            const double apart = (passed.y[static_cast<std::size_t>(i * passed.outputs + o)] - middle) *
                                 static_cast<double>(found.gains.gain.data()[o]);
            sum += apart * apart / static_cast<double>(passed.rows());
        }
    }
    return sum;
}

TEST_CASE("output calibration: gains are what a central difference of the features says")
{
    wasi::Ledger ledger;
    const PerceptronConfig config{.inputs = 6, .hidden = 5, .classes = 3};
    Double model(config, ledger);
    fill(model, 3);
    const Points<double> points(config, 9, 4);
    const auto which = range(0, 7);
    const std::vector<wasi::nn::Linear<double, EigenStorage>*> layers{&model.first, &model.second};
    constexpr Index batch = 3;
    const auto gains = wasi::plan::output_gains(model, std::span<wasi::nn::Linear<double, EigenStorage>* const>(layers),
                                                points, which, batch);
    REQUIRE(gains.size() == 2);

    const auto features = [&](Index example) {
        const auto found = wasi::measure::features(model, points, std::vector<Index>{example});
        return std::vector<double>(found.span().begin(), found.span().end());
    };
    std::vector<double> mean(3, 0.0);
    for (const Index i : which) {
        for (std::size_t c = 0; c < 3; ++c) {
            mean[c] += features(i)[c] / 7.0;
        }
    }
    double spread = 0.0;
    for (const Index i : which) {
        for (std::size_t c = 0; c < 3; ++c) {
            spread += std::pow(features(i)[c] - mean[c], 2);
        }
    }
    for (std::size_t l = 0; l < 2; ++l) {
        std::vector<double> expected;
        double average = 0.0;
        for (Index o = 0; o < 5; ++o) {
            double squares = 0.0;
            for (const Index i : which) {
                // Moving the bias moves this example's output alone.
                double& bias = layers[l]->bias.values.data()[o];
                const double before = bias;
                bias = before + 1e-5;
                const auto above = features(i);
                bias = before - 1e-5;
                const auto below = features(i);
                bias = before;
                double along = 0.0;
                for (std::size_t c = 0; c < 3; ++c) {
                    const RandomKey key = RandomKey(0).derive(static_cast<std::uint64_t>(i / batch));
                    const auto at = static_cast<std::uint64_t>(i % batch) * 3 + c;
                    along += key.normal(at) * (above[c] - below[c]) / 2e-5;
                }
                squares += along * along;
            }
            expected.push_back(std::sqrt(squares / spread));
            average += expected.back() / 5.0;
        }
        for (std::size_t o = 0; o < 5; ++o) {
            const double gain = expected[o] + 1e-6 * average;
            CHECK(gains[l].gain.data()[o] == doctest::Approx(gain).epsilon(1e-6));
            CHECK(gains[l].inverse.data()[o] == doctest::Approx(1.0 / gain).epsilon(1e-6));
        }
    }
}

TEST_CASE("output calibration: layers make the errors that were promised, on examples held out, and no mean error")
{
    const PerceptronConfig config{.inputs = 9, .hidden = 7, .classes = 3};
    for (const Index gradient_examples : {0, 12}) {
        for (const bool held : {true, false}) {
            wasi::Ledger ledger;
            Double model(config, ledger);
            fill(model, 5);
            const Points<double> points(config, 60, 6);
            const auto fit = range(0, 40);
            const auto held_out = held ? range(40, 60) : range(0, 0);
            const auto before = ledger.total().current;
            auto found = wasi::plan::calibrate_outputs(model, points, fit, held_out,
                                                       {.batch_size = 7, .gradient_examples = gradient_examples});
            CHECK(model.first.weight.trainable());
            CHECK(model.first.weight.template held_as<wasi::nn::DenseOptions>() != nullptr);
            REQUIRE(found.size() == 2);
            const Passed<Double> first(model, model.first, points, held ? held_out : fit);
            const Passed<Double> second(model, model.second, points, held ? held_out : fit);
            const Passed<Double> fitted(model, model.first, points, fit);
            const double whole_first = spread_of(first, model.first, found[0]);
            const double whole_second = spread_of(second, model.second, found[1]);
            wasi::plan::hold_outputs(model, std::span<const LayerOutputs<double>>(found), std::vector<Index>{3, 2});
            CHECK(model.first.weight.rank() == 3);
            CHECK(model.second.weight.rank() == 2);
            for (const auto& [passed, layer, outputs, whole] :
                 {std::tuple(&first, &model.first, &found[0], whole_first),
                  std::tuple(&second, &model.second, &found[1], whole_second)}) {
                const double made = error_made(*passed, *layer, outputs->gains.gain.span());
                const double promised = outputs->error(layer->weight.rank());
                CHECK(made > 1e-3 * whole);
                // Without gradients errors are relative to what the layer puts out.
                CHECK(made == doctest::Approx(gradient_examples > 0 ? promised : promised * whole).epsilon(1e-9));
                CHECK(outputs->total == doctest::Approx(gradient_examples > 0 ? whole : 1.0).epsilon(1e-9));
            }
            // The mean output on the examples calibrated on is that of before.
            const Passed<Double> after(model, model.first, points, fit);
            for (Index o = 0; o < 7; ++o) {
                double difference = 0.0;
                for (Index i = 0; i < 40; ++i) {
                    difference +=
                        (after.y[static_cast<std::size_t>(i * 7 + o)] - fitted.y[static_cast<std::size_t>(i * 7 + o)]) /
                        40.0;
                }
                CHECK(std::abs(difference) <= 1e-12);
            }
            found.clear();
            CHECK(ledger.total().current < before + 8 * 1024);
        }
    }
}

TEST_CASE("output calibration: a Vision Transformer is looked at block by block as in one pass, and stays as it is")
{
    wasi::Ledger ledger;
    Model<float> model(tiny_config, ledger);
    randomize(model, 1);
    const auto data = random_images<float>(tiny_config, 14, 2);
    model.blocks[1]->fc1.weight.set_trainable(false);
    wasi::nn::KeepOptions keep;
    keep.recompute = wasi::nn::Recompute::mlp;
    wasi::nn::keep(model, keep);
    const auto before = snapshot(model);
    const auto bytes = ledger.total().current;
    {
        const auto found = wasi::plan::calibrate_outputs(model, data, range(0, 9), range(9, 14), {.batch_size = 4});
        CHECK(snapshot(model) == before);
        CHECK_FALSE(model.blocks[1]->fc1.weight.trainable());
        CHECK(model.blocks[1]->fc2.weight.trainable());
        CHECK(model.blocks[0]->keep == keep);
        const auto layers = wasi::nn::selected_layers(model, Layers::all);
        REQUIRE(found.size() == layers.size());
        for (std::size_t i = 0; i < layers.size(); ++i) {
            CHECK(found[i].layer == layers[i]->weight.name());
            const Passed<Model<float>> fit(model, *layers[i], data, range(0, 9));
            const Passed<Model<float>> other(model, *layers[i], data, range(9, 14));
            for (Index j = 0; j < fit.inputs; ++j) {
                double mean = 0.0;
                for (Index row = 0; row < fit.rows(); ++row) {
                    mean += fit.x[static_cast<std::size_t>(row * fit.inputs + j)] / static_cast<double>(fit.rows());
                }
                CHECK(std::abs(found[i].mean.data()[j] - mean) <= 1e-5);
            }
            const double whole = spread_of(other, *layers[i], found[i]);
            CHECK(found[i].total == doctest::Approx(whole).epsilon(1e-4));
            double sum = 0.0;
            for (const double energy : found[i].energies) {
                sum += energy;
            }
            CHECK(sum <= found[i].total * (1.0 + 1e-5));
        }
    }
    CHECK(ledger.total().current == bytes);
}

TEST_CASE("output calibration: in a Vision Transformer every layer makes the error that was promised")
{
    wasi::Ledger ledger;
    Model<float> model(tiny_config, ledger);
    randomize(model, 7);
    const auto data = random_images<float>(tiny_config, 20, 8);
    const auto layers = wasi::nn::selected_layers(model, Layers::all);
    auto found = wasi::plan::calibrate_outputs(model, data, range(0, 14), range(14, 20), {.batch_size = 5});
    std::vector<Passed<Model<float>>> passed;
    std::vector<Index> ranks;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        passed.emplace_back(model, *layers[i], data, range(14, 20));
        ranks.push_back(i == 2 ? 0 : 3 + static_cast<Index>(i));
    }
    wasi::plan::hold_outputs(model, std::span<const LayerOutputs<float>>(found), ranks);
    for (std::size_t i = 0; i < layers.size(); ++i) {
        INFO(layers[i]->weight.name());
        CHECK(layers[i]->weight.rank() == ranks[i]);
        const double made = error_made(passed[i], *layers[i], found[i].gains.gain.span());
        CHECK(std::abs(made - found[i].error(ranks[i])) <= 1e-4 * found[i].total);
    }
    // A method that comes after keeps ranks and products.
    const auto held = snapshot(model);
    wasi::train::MethodOptions method;
    method.method = wasi::train::method("wsi");
    method.ranks_are_chosen = true;
    wasi::train::apply_method(model, method, RandomKey(2));
    CHECK(snapshot(model) == held);
    CHECK(layers[2]->weight.rank() == 0);
    // And what is low rank already is left alone.
    const auto again = wasi::plan::calibrate_outputs(model, data, range(0, 14), range(14, 20), {.batch_size = 5});
    CHECK(again[0].held_rank == ranks[0]);
    CHECK(again[2].held_rank == 0);
    CHECK(again[2].basis.count() > 0);
    const auto dealt = wasi::plan::ranks_within(std::span<const LayerOutputs<float>>(again), std::int64_t{1} << 30, 1);
    CHECK(dealt.ranks[0] == ranks[0]);
    CHECK(dealt.ranks[2] == 0);
    CHECK(dealt.error == 0.0);
}

TEST_CASE("output ranks: no choice within the bytes errs less, and none fits less than the least")
{
    wasi::Ledger ledger;
    const PerceptronConfig config{.inputs = 9, .hidden = 8, .classes = 3};
    Double model(config, ledger);
    fill(model, 9);
    const Points<double> points(config, 50, 10);
    const auto found = wasi::plan::calibrate_outputs(model, points, range(0, 40), range(40, 50), {});
    const std::span<const LayerOutputs<double>> outputs(found);
    const auto bytes = [&](std::size_t layer, Index rank) {
        const Index o = found[layer].outputs;
        const Index n = found[layer].inputs;
        return 8 * (rank == 0 ? o * n : rank * (o + n));
    };
    CHECK(found[0].basis.count() == 4);  // 4 (8 + 9) < 8 9
    CHECK(found[1].basis.count() == 3);
    for (const std::int64_t budget : {300, 500, 700, 900, 1088, 2000}) {
        INFO(budget);
        double least = std::numeric_limits<double>::infinity();
        for (Index a = 0; a <= 4; ++a) {
            for (Index b = 0; b <= 3; ++b) {
                if (bytes(0, a) + bytes(1, b) <= budget) {
                    least = std::min(least, found[0].error(a) + found[1].error(b));
                }
            }
        }
        const auto chosen = wasi::plan::ranks_within(outputs, budget, 1);
        CHECK(chosen.bytes == bytes(0, chosen.ranks[0]) + bytes(1, chosen.ranks[1]));
        CHECK(chosen.bytes <= budget);
        CHECK(chosen.dense_bytes == 1088);
        CHECK(chosen.error == doctest::Approx(std::sqrt(least)));
    }
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::ranks_within(outputs, 200, 1)), wasi::budget_error);
    const auto twos = wasi::plan::ranks_within(outputs, 700, 2);
    CHECK(twos.ranks[0] % 2 == 0);
    CHECK(twos.ranks[1] % 2 == 0);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::ranks_within(outputs, 700, -1)), wasi::argument_error);
    CHECK(wasi::plan::ranks_within(outputs, 700).ranks == wasi::plan::ranks_within(outputs, 700, 1).ranks);

    for (const double share : {0.3, 0.7, 0.9, 1.0}) {
        const auto by_energy = wasi::plan::ranks_by_energy(outputs, share);
        for (std::size_t i = 0; i < 2; ++i) {
            const Index rank = by_energy.ranks[i];
            const double allowed = (1.0 - share) * found[i].total;
            const Index most = found[i].basis.count();
            CHECK(found[i].error(rank) <= allowed * (1.0 + 1e-12) + 1e-300);
            const Index one_less = rank == 0 ? most : rank - 1;
            CHECK((one_less == 0 || found[i].error(one_less) > allowed));
        }
    }
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::ranks_by_energy(outputs, 0.0)), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::hold_outputs(model, outputs, std::vector<Index>{1})),
                    wasi::argument_error);
}

TEST_CASE("output calibration: its forecast is the real peak to the byte")
{
    const wasi::SerialScope serial;
    for (const Index gradient_examples : {0, 6}) {
        for (const Index held_out : {0, 5}) {
            INFO(gradient_examples, " for gradients, ", held_out, " held out");
            const wasi::plan::OutputCalibration options{.batch_size = 4, .gradient_examples = gradient_examples};
            wasi::Ledger ledger;
            Model<float> model(tiny_config, ledger);
            randomize(model, 1);
            const auto data = random_images<float>(tiny_config, 14, 2);
            ledger.reset_peaks();
            static_cast<void>(wasi::plan::calibrate_outputs(model, data, range(0, 9), range(9, 9 + held_out), options));
            CHECK(ledger.total().peak ==
                  wasi::plan::forecast_output_calibration<Model<float>>(tiny_config, 9, held_out, options));
        }
    }
}

TEST_CASE("output calibration: what cannot be is refused")
{
    wasi::Ledger ledger;
    const PerceptronConfig config{.inputs = 9, .hidden = 8, .classes = 3};
    Double model(config, ledger);
    fill(model, 9);
    Points<double> points(config, 8, 10);
    const auto calibrate = [&](const std::vector<Index>& fit, wasi::plan::OutputCalibration options) {
        static_cast<void>(wasi::plan::calibrate_outputs(model, points, fit, {}, options));
    };
    CHECK_THROWS_AS(calibrate({}, {}), wasi::argument_error);
    CHECK_THROWS_AS(calibrate({0, 1}, {.batch_size = 0}), wasi::argument_error);
    CHECK_THROWS_AS(calibrate({0, 1}, {.gradient_examples = -1}), wasi::argument_error);
    CHECK_THROWS_AS(calibrate({0}, {}), wasi::argument_error);  // no two features to tell apart
    points.values[0] = std::nan("");
    CHECK_THROWS_AS(calibrate({0, 1}, {}), wasi::error);
    CHECK(model.first.weight.trainable());
    points.values[0] = 0.0;
    wasi::nn::set_up(model.first.weight, wasi::nn::WeightSetup(wasi::nn::AdapterOptions{.rank = 2}));
    CHECK_THROWS_AS(calibrate({0, 1}, {}), wasi::argument_error);
}

}  // namespace
