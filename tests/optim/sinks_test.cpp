// Stored sums of gradients in every form, and the two sinks against each other.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/optim/sgd.hpp>
#include <wasi/optim/sinks.hpp>

namespace {

using wasi::Shape;
using wasi::Tensor;
using wasi::Use;
using namespace wasi_tests;
namespace autograd = wasi::autograd;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;
namespace optim = wasi::optim;
namespace train = wasi::train;
using train::method;
using train::Method;

using Stored = autograd::StoredGradient<double, EigenStorage>;
using Dense = autograd::Dense<double>;
using Factored = linalg::Factored<double>;
using FactorGradients = linalg::FactorGradients<double>;
using Gradient = autograd::Gradient<double>;

[[nodiscard]] Tensor<double> normal(Shape shape, std::uint64_t seed, bool orthonormal = false)
{
    Tensor<double> result(wasi::plain_memory(), {}, shape);
    EigenStorage::fill_normal(result.matrix(), wasi::RandomKey(seed));
    if (orthonormal) {
        (void)EigenStorage::orthonormalize(result.matrix(), wasi::plain_memory());
    }
    return result;
}

/// The dense values of a stored sum, whatever its form.
[[nodiscard]] std::vector<double> dense_of(const Stored& stored)
{
    const Gradient view = stored.view();
    if (const auto* factored = std::get_if<Factored>(&view)) {
        return multiplied_out(*factored);
    }
    return elements(std::get<Dense>(view).values);
}

[[nodiscard]] std::vector<double> sum(const std::vector<double>& a, double weight, const std::vector<double>& b)
{
    std::vector<double> result = a;
    for (std::size_t i = 0; i < a.size(); ++i) {
        result[i] += weight * b[i];
    }
    return result;
}

TEST_CASE("sums of dense and factored gradients, in any order, are the dense sum")
{
    const auto d = normal({20, 12}, 1);
    const auto p1 = normal({20, 2}, 2);
    const auto q1 = normal({12, 2}, 3, true);
    const auto p2 = normal({20, 3}, 4);
    const auto q2 = normal({12, 3}, 5);  // not orthonormal
    const Gradient dense = Dense{d.matrix()};
    const Gradient first = Factored{p1.matrix(), q1.matrix(), true};
    const Gradient second = Factored{p2.matrix(), q2.matrix(), false};
    const auto values = [](const Gradient& g) {
        const auto* factored = std::get_if<Factored>(&g);
        return factored != nullptr ? multiplied_out(*factored) : elements(std::get<Dense>(g).values);
    };
    struct Case {
        std::vector<Gradient> terms;
        bool stays_factored;
    };
    for (const Case& c : {Case{{dense, dense}, false},
                          {{first}, true},
                          {{second}, true},
                          {{first, second}, true},
                          {{second, first, second}, true},
                          {{first, first}, true},
                          {{dense, first}, false},
                          {{first, dense}, false},
                          {{first, second, dense, second}, false},
                          {{second, second, second, second}, false}}) {  // rank 12 of 12: dense is no larger
        wasi::Ledger memory;
        Stored stored(memory);
        CHECK(stored.empty());
        std::vector<double> wanted(240, 0.0);
        double weight = 1.0;
        for (const Gradient& term : c.terms) {
            stored.add(term, weight);
            wanted = sum(wanted, weight, values(term));
            weight *= -0.5;
        }
        CAPTURE(c.terms.size());
        const Gradient view = stored.view();
        const auto* factored = std::get_if<Factored>(&view);
        CHECK((factored != nullptr) == c.stays_factored);
        CHECK(relative_distance(dense_of(stored), wanted) <= 1e-14);
        if (factored != nullptr) {
            // The claim that Q is orthonormal is what the norm of a clip rests on.
            CHECK(factored->q_orthonormal);
            CHECK(std::sqrt(linalg::squared_norm<EigenStorage, double>(*factored, memory)) ==
                  doctest::Approx(std::sqrt(std::inner_product(wanted.begin(), wanted.end(), wanted.begin(), 0.0)))
                      .epsilon(1e-13));
        }
        stored.clear();
        CHECK(stored.empty());
        CHECK(memory.total().current == 0);
    }
}

TEST_CASE("factor gradients add up in place, and mix with nothing else")
{
    const auto l1 = normal({20, 4}, 1);
    const auto r1 = normal({4, 12}, 2);
    const auto l2 = normal({20, 4}, 3);
    const auto r2 = normal({4, 12}, 4);
    const auto d = normal({20, 12}, 5);
    const auto q = normal({12, 4}, 6);
    Stored stored(wasi::plain_memory());
    stored.add(FactorGradients{l1.matrix(), r1.matrix()}, 0.5);
    stored.add(FactorGradients{l2.matrix(), r2.matrix()}, 2.0);
    const Gradient view = stored.view();
    const auto* factors = std::get_if<FactorGradients>(&view);
    REQUIRE(factors != nullptr);
    for (Index i = 0; i < 80; ++i) {
        CHECK(factors->d_left.data[i] == doctest::Approx(0.5 * l1.data()[i] + 2.0 * l2.data()[i]).epsilon(1e-14));
    }
    for (Index i = 0; i < 48; ++i) {
        CHECK(factors->d_right.data[i] == doctest::Approx(0.5 * r1.data()[i] + 2.0 * r2.data()[i]).epsilon(1e-14));
    }
    CHECK_THROWS_AS(stored.add(Dense{d.matrix()}), wasi::argument_error);
    CHECK_THROWS_AS(stored.add(Factored{l1.matrix(), q.matrix(), false}), wasi::argument_error);
    Stored dense(wasi::plain_memory());
    dense.add(Dense{d.matrix()});
    CHECK_THROWS_AS(dense.add(FactorGradients{l1.matrix(), r1.matrix()}), wasi::argument_error);
    CHECK_THROWS_AS(dense.add(Dense{l1.matrix()}), wasi::shape_error);
    const auto other = normal({20, 3}, 7);
    CHECK_THROWS_AS(stored.add(FactorGradients{other.matrix(), r1.matrix()}), wasi::shape_error);
}

constexpr wasi::nn::VisionTransformerConfig config{
    .image = 12, .patch = 4, .dim = 16, .depth = 1, .heads = 2, .mlp = 32, .classes = 5};

struct Setup {
    wasi::Ledger memory;
    Model<double> model{config, memory, wasi::RandomKey(1)};
    Dataset<double> data = random_images<double>(config, 6, 5);
    optim::Sgd<double, EigenStorage> sgd{{.weight_decay = 1e-2}, memory};

    explicit Setup(Method method)
    {
        randomize(model, 3);
        apply(model, {.method = method,
                      .weight_rank = linalg::FixedRank{5},
                      .activation = {.ranks = {3, 6, 8}},
                      .keep_dense_above_break_even = false});
    }
    [[nodiscard]] auto parameters() { return nn::trainable_parameters(model); }
};

/// Largest relative distance over the parameters of two snapshots.
[[nodiscard]] double distance(const std::map<std::string, std::vector<double>>& a,
                              const std::map<std::string, std::vector<double>>& b)
{
    double largest = a.size() == b.size() ? 0.0 : 1.0;
    for (const auto& [name, values] : a) {
        largest = std::max(largest, relative_distance(values, b.at(name)));
    }
    return largest;
}

TEST_CASE("without clipping, streaming and collecting end at the same weights")
{
    for (const Method method : {method("vanilla"), method("head"), method("wsi"), method("asi"), method("wasi")}) {
        CAPTURE(method.name);
        Setup streamed(method);
        Setup collected(method);
        optim::StreamSink<double, EigenStorage> stream(streamed.parameters(), streamed.sgd, streamed.memory);
        optim::CollectSink<double, EigenStorage> collect(collected.parameters(), collected.sgd, collected.memory, 0.0,
                                                         false);
        const auto start = snapshot(streamed.model);
        for (int step = 0; step < 3; ++step) {
            for (auto* sink :
                 {static_cast<optim::StepSink<double>*>(&stream), static_cast<optim::StepSink<double>*>(&collect)}) {
                sink->begin(0.1);
            }
            (void)loss_and_gradients<double>(streamed.model, streamed.data, stream);
            (void)loss_and_gradients<double>(collected.model, collected.data, collect);
            stream.end();
            collect.end();
        }
        CHECK(distance(snapshot(streamed.model), snapshot(collected.model)) <= 1e-13);
        CHECK(distance(snapshot(streamed.model), start) > 1e-3);
        CHECK(collected.memory.of(Use::gradient).current == 0);
    }
}

TEST_CASE("collect holds nothing dense for low-rank weights")
{
    Setup setup(method("wasi"));
    optim::CollectSink<double, EigenStorage> collect(setup.parameters(), setup.sgd, setup.memory, 1.0, false);
    collect.begin(0.1);
    (void)loss_and_gradients<double>(setup.model, setup.data, collect);
    std::size_t others = 0;
    wasi::nn::for_each_parameter(setup.model, [&](auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            others += parameter.values.bytes();
        } else if (!parameter.is_low_rank()) {
            others += parameter.bytes();
        }
    });
    std::size_t factored = 0;  // P (O, r3) and U_3 (I, r3)
    for (const auto* layer : nn::selected_layers(setup.model, nn::Layers::all)) {
        factored += static_cast<std::size_t>((layer->weight.outputs() + layer->weight.inputs()) * 8) * sizeof(double);
    }
    CHECK(setup.memory.of(Use::gradient).current == others + factored);
    collect.end();
    CHECK(setup.memory.of(Use::gradient).current == 0);
}

TEST_CASE("the global norm is that of all gradients, and clipping scales all of them alike")
{
    Setup setup(method("vanilla"));
    RecordingSink<double> recording;
    (void)loss_and_gradients<double>(setup.model, setup.data, recording);
    double squares = 0.0;
    wasi::nn::for_each_parameter(setup.model, [&](auto& parameter) {
        for (const double g : recording.at(parameter.name()).dense) {
            squares += g * g;
        }
    });
    const double norm = std::sqrt(squares);
    const auto start = snapshot(setup.model);
    optim::SgdOptions plain{};
    optim::Sgd<double, EigenStorage> sgd(plain, setup.memory);
    optim::CollectSink<double, EigenStorage> collect(setup.parameters(), sgd, setup.memory, 0.25 * norm, false);
    collect.begin(0.5);
    (void)loss_and_gradients<double>(setup.model, setup.data, collect);
    collect.end();
    CHECK(collect.norm() == doctest::Approx(norm).epsilon(1e-13));
    // torch: coefficient = max_norm / (norm + 1e-6), at most 1.
    const double factor = 0.25 * norm / (norm + 1e-6);
    for (const auto& parameter : snapshot(setup.model)) {
        const std::string& name = parameter.first;
        const std::vector<double>& values = parameter.second;
        CAPTURE(name);
        CHECK(relative_distance(values, sum(start.at(name), -0.5 * factor, recording.at(name).dense)) <= 1e-13);
    }
}

TEST_CASE("the clip factor is torch's")
{
    CHECK(optim::clip_factor(2.0, 0.0) == 1.0);
    CHECK(optim::clip_factor(2.0, 4.0) == 1.0);
    CHECK(optim::clip_factor(2.0, 1.0) == 1.0 / (2.0 + 1e-6));
    CHECK(optim::clip_factor(0.0, 1.0) == 1.0);
}

TEST_CASE("streamed clipping is by parameter: each step has at most the norm asked for")
{
    Setup setup(method("vanilla"));
    optim::Sgd<double, EigenStorage> sgd({}, setup.memory);
    optim::StreamSink<double, EigenStorage> stream(setup.parameters(), sgd, setup.memory, 0.01);
    stream.begin(1.0);
    const auto start = snapshot(setup.model);
    (void)loss_and_gradients<double>(setup.model, setup.data, stream);
    int at_limit = 0;
    for (const auto& parameter : snapshot(setup.model)) {
        const std::string& name = parameter.first;
        const std::vector<double>& values = parameter.second;
        CAPTURE(name);
        const double moved =
            relative_distance(values, start.at(name)) *
            std::sqrt(std::inner_product(start.at(name).begin(), start.at(name).end(), start.at(name).begin(), 0.0));
        CHECK(moved <= 0.01 * (1.0 + 1e-12));
        at_limit += moved > 0.0099 ? 1 : 0;
    }
    CHECK(at_limit > 5);
}

TEST_CASE("micro-batches add up to the whole batch where inputs are exact")
{
    for (const Method method : {method("vanilla"), method("wsi")}) {
        CAPTURE(method.name);
        std::vector<std::map<std::string, std::vector<double>>> results;
        for (const Index pieces : {1, 2, 4}) {  // 4 pieces of 6 images: 1, 2, 1, 2
            Setup setup(method);
            train::TrainOptions options;
            options.epochs = 2;
            options.batch_size = 6;
            options.rate = 0.1;
            options.micro_batches = pieces;
            options.clip_norm = 1.0;
            (void)train_losses<double>(setup.model, setup.data, setup.sgd, options);
            results.push_back(snapshot(setup.model));
        }
        CHECK(distance(results[1], results[0]) <= 1e-11);
        CHECK(distance(results[2], results[0]) <= 1e-11);
    }
}

TEST_CASE("accumulating factored gradients of low-rank weights keeps the sizes of the factors")
{
    Setup setup(method("wasi"));
    optim::CollectSink<double, EigenStorage> collect(setup.parameters(), setup.sgd, setup.memory, 0.0, true);
    std::vector<std::size_t> held;
    collect.begin(0.01);
    for (int piece = 0; piece < 4; ++piece) {
        (void)loss_and_gradients<double>(setup.model, setup.data, collect);
        held.push_back(setup.memory.of(Use::gradient).current);
    }
    CHECK(held[3] == held[0]);
    collect.end();
}

TEST_CASE("a gradient norm that is not finite changes no parameter")
{
    Setup setup(method("vanilla"));
    optim::CollectSink<double, EigenStorage> collect(setup.parameters(), setup.sgd, setup.memory, 1.0, false);
    const auto start = snapshot(setup.model);
    const std::vector<double> bad(static_cast<std::size_t>(config.classes), std::numeric_limits<double>::infinity());
    collect.take(setup.model.head->bias,
                 Dense{wasi::ConstMatrixView<double>::row_major(bad.data(), 1, config.classes)});
    collect.begin(0.1);
    CHECK_THROWS_WITH_AS(collect.end(), "the norm of the gradient is inf", wasi::divergence_error);
    CHECK(snapshot(setup.model) == start);
}

TEST_CASE("streamed: a gradient that is not finite leaves its parameter alone, and says which it is")
{
    Setup setup(method("vanilla"));
    for (const double clip_norm : {0.0, 1.0}) {
        optim::StreamSink<double, EigenStorage> stream(setup.parameters(), setup.sgd, setup.memory, clip_norm);
        stream.begin(0.1);
        const auto start = snapshot(setup.model);
        for (const double spoilt :
             {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
            std::vector<double> bad(static_cast<std::size_t>(config.classes), 0.0);
            bad.back() = spoilt;
            const Dense gradient{wasi::ConstMatrixView<double>::row_major(bad.data(), 1, config.classes)};
            CHECK_THROWS_WITH_AS(stream.take(setup.model.head->bias, gradient),
                                 "the gradient of heads.head.bias holds NaN or infinity", wasi::divergence_error);
        }
        CHECK(snapshot(setup.model) == start);
    }
}

TEST_CASE("a sink is made by its options, and accumulation asks for collecting")
{
    Setup setup(method("vanilla"));
    const auto make = [&](const optim::SinkOptions& options) {
        return optim::make_sink(setup.parameters(), static_cast<optim::Optimizer<double, EigenStorage>&>(setup.sgd),
                                setup.memory, options);
    };
    using Stream = optim::StreamSink<double, EigenStorage>;
    using Collect = optim::CollectSink<double, EigenStorage>;
    CHECK(dynamic_cast<Stream*>(make({.collect = false}).get()) != nullptr);
    CHECK(dynamic_cast<Collect*>(make({.collect = true}).get()) != nullptr);
    CHECK(dynamic_cast<Collect*>(make({.collect = true, .accumulate = true}).get()) != nullptr);
    CHECK_THROWS_WITH_AS(static_cast<void>(make({.collect = false, .accumulate = true})),
                         "make_sink: gradients that add up are collected", wasi::argument_error);
}

}  // namespace
