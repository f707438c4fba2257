// Projected inputs: the gradient by its formula, what each Q is, and which of them are right in the mean.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <support/matrices.hpp>
#include <wasi/core/ledger.hpp>
#include <wasi/linalg/principal_angles.hpp>
#include <wasi/linalg/svd.hpp>
#include <wasi/nn/layer_setup.hpp>

namespace {

using namespace wasi_tests;
using wasi::EigenStorage;
using wasi::RandomKey;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;
using wasi::subspace::Projection;
namespace nn = wasi::nn;

using Linear = nn::Linear<Real, EigenStorage>;
using Numbers = std::vector<double>;

constexpr Index outputs = 6;
constexpr Index inputs = 8;
constexpr Index rows = 2 * 7;
constexpr std::uint16_t number = 3;

[[nodiscard]] nn::ProjectedOptions options_of(Projection projection, Index rank, Index refresh_every = 0)
{
    nn::ProjectedOptions options;
    options.projection = projection;
    options.rank = rank;
    options.refresh_every = refresh_every;
    options.scale = 1.5;
    return options;
}

[[nodiscard]] std::unique_ptr<Linear> make_layer(wasi::Memory& memory, const nn::InputSetup& input, RandomKey key,
                                                 const nn::WeightSetup& weight = nn::DenseOptions{})
{
    auto layer = std::make_unique<Linear>("weight", "bias", memory, Shape{outputs, inputs}, number);
    layer->weight.dense() = random_tensor(memory, {outputs, inputs}, 31);
    layer->bias.values = random_tensor(memory, {outputs}, 32);
    nn::set_up(layer->weight, weight);
    nn::set_up(*layer, input, key);
    return layer;
}

/// Inputs whose features differ in size, as real ones do.
[[nodiscard]] Tensor<Real> input(wasi::Memory& memory, std::uint64_t seed)
{
    auto x = random_tensor(memory, {2, 7, inputs}, seed);
    for (Index i = 0; i < x.size(); ++i) {
        x.data()[i] *= std::pow(0.6, static_cast<double>(i % inputs)) * 3.0;
    }
    return x;
}

void backward(Linear& layer, RecordingSink<Real>& sink, std::uint64_t seed)
{
    auto& memory = layer.weight.memory();
    Graph graph{memory, {}, {}, [&](const Context& c, const auto& x) { return layer.forward(c, x[0]); }};
    graph.inputs.push_back(input(memory, seed));
    (void)graph.backward(sink);
}

[[nodiscard]] Numbers gradient(Linear& layer, std::uint64_t seed = 1)
{
    RecordingSink<Real> sink;
    backward(layer, sink, seed);
    CHECK(sink.at("weight").form == RecordingSink<Real>::Form::factored);
    return sink.at("weight").dense;
}

/// dYᵀX, which Graph has dY for.
[[nodiscard]] Numbers exact_gradient(std::uint64_t seed = 1)
{
    auto layer = make_layer(wasi::plain_memory(), nn::ExactOptions{}, RandomKey(0));
    RecordingSink<Real> sink;
    backward(*layer, sink, seed);
    return sink.at("weight").dense;
}

[[nodiscard]] const wasi::subspace::InputProjection<Real, EigenStorage>& projection_of(const Linear& layer)
{
    return layer.saves_with<nn::ProjectedOptions>()->projection();
}
[[nodiscard]] Numbers basis_of(const Linear& layer)
{
    const auto basis = projection_of(layer).basis();
    return elements(basis.matrix(wasi::plain_memory()));
}

/// dW Q diag(c) Qᵀ by loops.
[[nodiscard]] Numbers projected(const Numbers& dw, const Numbers& q, const Numbers& weights)
{
    const std::size_t r = weights.size();
    Numbers result(dw.size(), 0.0);
    for (std::size_t o = 0; o < outputs; ++o) {
        for (std::size_t k = 0; k < r; ++k) {
            double coordinate = 0.0;
            for (std::size_t i = 0; i < inputs; ++i) {
                coordinate += dw[o * inputs + i] * q[i * r + k];
            }
            for (std::size_t i = 0; i < inputs; ++i) {
                result[o * inputs + i] += weights[k] * coordinate * q[i * r + k];
            }
        }
    }
    return result;
}

[[nodiscard]] Numbers weights_of(Projection projection, std::size_t r)
{
    Numbers weights(r, 1.0);
    if (projection == Projection::orthonormal) {
        weights.assign(r, 8.0 / static_cast<double>(r));
    } else if (projection == Projection::velora) {
        weights.assign(r, 1.5);
    } else if (projection == Projection::prac) {  // half of the rank is principal
        const std::size_t r1 = r / 2;
        for (std::size_t k = r1; k < r; ++k) {
            weights[k] = (8.0 - static_cast<double>(r1)) / static_cast<double>(r - r1);
        }
    }
    return weights;
}

const std::vector<Projection> all{Projection::gaussian, Projection::orthonormal, Projection::principal,
                                  Projection::prac, Projection::velora};

TEST_CASE("projected inputs: dW = (dYᵀ X Q diag(c)) Qᵀ, and nothing else feels it")
{
    for (const Projection projection : all) {
        CAPTURE(to_string(projection));
        auto layer = make_layer(wasi::plain_memory(), options_of(projection, 4), RandomKey(5));
        const Numbers got = gradient(*layer);
        CHECK(relative_distance(got, projected(exact_gradient(), basis_of(*layer), weights_of(projection, 4))) <=
              1e-13);
        CHECK(relative_distance(got, exact_gradient()) > 1e-3);
        // dX, the bias and the output are exact.
        Graph graph{wasi::plain_memory(), {}, {&layer->bias}, [&](const Context& c, const auto& x) {
                        return layer->forward(c, x[0]);
                    }};
        graph.inputs.push_back(input(wasi::plain_memory(), 1));
        graph.check();
    }
}

TEST_CASE("projected inputs: what Q is")
{
    for (const Projection projection : all) {
        CAPTURE(to_string(projection));
        constexpr Index r = 4;
        auto layer = make_layer(wasi::plain_memory(), options_of(projection, r, 1), RandomKey(5));
        for (int step = 0; step < 40; ++step) {
            (void)gradient(*layer);
        }
        CHECK(projection_of(*layer).refreshes() == (projection == Projection::velora ? 1 : 40));
        const Numbers q = basis_of(*layer);
        const auto element = [&](Index i, Index k) { return q[static_cast<std::size_t>(i * r + k)]; };
        if (projection == Projection::gaussian) {
            for (Index i = 0; i < inputs * r; ++i) {
                CHECK(q[static_cast<std::size_t>(i)] ==
                      doctest::Approx(RandomKey(5).derive(40).normal(static_cast<std::uint64_t>(i)) / 2.0)
                          .epsilon(1e-14));
            }
            continue;
        }
        for (Index k = 0; k < r; ++k) {
            for (Index l = 0; l < r; ++l) {
                double dot = 0.0;
                for (Index i = 0; i < inputs; ++i) {
                    dot += element(i, k) * element(i, l);
                }
                CHECK(dot == doctest::Approx(k == l ? 1.0 : 0.0).epsilon(1e-13).scale(1.0));
            }
        }
        const auto x = input(wasi::plain_memory(), 1);
        if (projection == Projection::velora) {
            Numbers mean(2, 0.0);
            for (Index i = 0; i < x.size(); ++i) {
                mean[static_cast<std::size_t>(i % 2)] += x.data()[i];
            }
            const double norm = std::hypot(mean[0], mean[1]);
            for (Index i = 0; i < inputs; ++i) {
                for (Index k = 0; k < r; ++k) {
                    CHECK(element(i, k) ==
                          doctest::Approx(i / 2 == k ? mean[static_cast<std::size_t>(i % 2)] / norm : 0.0)
                              .epsilon(1e-12));
                }
            }
        }
        if (projection == Projection::principal || projection == Projection::prac) {
            const Index principal = projection == Projection::prac ? r / 2 : r;
            const auto basis = projection_of(*layer).basis();
            const auto view = basis.matrix(wasi::plain_memory()).col_block(0, principal);
            const auto svd = wasi::linalg::truncated_svd<EigenStorage, Real>(
                x.matrix(), {.rank = wasi::linalg::FixedRank{principal}}, wasi::plain_memory());
            CHECK(wasi::linalg::sine_of_largest_angle<EigenStorage, Real>(view, svd.v.matrix(), wasi::plain_memory()) <=
                  1e-6);
        }
    }
}

TEST_CASE("projected inputs: random ones are right in the mean, principal ones are not")
{
    constexpr int seeds = 2000;
    constexpr std::size_t directions = 20;
    const Numbers exact = exact_gradient();
    std::vector<Numbers> along;
    for (std::size_t d = 0; d < directions; ++d) {
        along.push_back(elements(random_tensor(wasi::plain_memory(), {outputs, inputs}, 1000 + d).matrix()));
    }
    for (const Projection projection : all) {
        CAPTURE(to_string(projection));
        Numbers sum(directions, 0.0);
        Numbers squares(directions, 0.0);
        for (int seed = 0; seed < seeds; ++seed) {
            auto layer = make_layer(wasi::plain_memory(), options_of(projection, 4), RandomKey(17).derive(seed));
            const Numbers got = gradient(*layer);
            for (std::size_t d = 0; d < directions; ++d) {
                double error = 0.0;
                for (std::size_t i = 0; i < got.size(); ++i) {
                    error += along[d][i] * (got[i] - exact[i]);
                }
                sum[d] += error;
                squares[d] += error * error;
            }
        }
        std::size_t far = 0;
        for (std::size_t d = 0; d < directions; ++d) {
            const double mean = sum[d] / seeds;
            const double deviation = std::sqrt(std::max(squares[d] / seeds - mean * mean, 0.0) / (seeds - 1));
            far += std::abs(mean) > 4.0 * deviation ? 1U : 0U;
        }
        const bool unbiased = projection == Projection::gaussian || projection == Projection::orthonormal ||
                              projection == Projection::prac;
        if (unbiased) {
            CHECK(far == 0);
        } else {
            CHECK(far > directions / 2);
        }
    }
}

TEST_CASE("projected inputs: as many directions as features, and the gradient is exact, whatever holds the weight")
{
    nn::AdapterOptions adapter{.rank = 2, .alpha = 6.0};
    const std::vector<nn::WeightSetup> weights{nn::DenseOptions{},
                                               nn::SubspaceOptions{{wasi::linalg::FixedRank{3}, false}},
                                               nn::FactorsOptions{{wasi::linalg::FixedRank{3}, false}}, adapter};
    for (const auto& weight : weights) {
        for (const Projection projection : {Projection::orthonormal, Projection::principal, Projection::prac}) {
            CAPTURE(nn::kind_of(weight));
            CAPTURE(to_string(projection));
            std::vector<RecordingSink<Real>> sinks(2);
            std::vector<std::unique_ptr<Linear>> layers;
            for (std::size_t at = 0; at < 2; ++at) {
                const auto saved =
                    at == 0 ? nn::InputSetup(options_of(projection, 100)) : nn::InputSetup(nn::ExactOptions{});
                layers.push_back(make_layer(wasi::plain_memory(), saved, RandomKey(5), weight));
                if (auto* held = layers.back()->weight.held_as<nn::AdapterOptions>()) {
                    held->b.values = random_tensor(wasi::plain_memory(), {outputs, 2}, 33);
                }
                backward(*layers.back(), sinks[at], 1);
            }
            for (const std::string name : {"weight", "weight.left", "weight.right", "weight.lora_A", "weight.lora_B"}) {
                CAPTURE(name);
                if (sinks[1].has(name) && !sinks[1].at(name).dense.empty()) {
                    CHECK(relative_distance(sinks[0].at(name).dense, sinks[1].at(name).dense) <= 1e-12);
                } else {
                    CHECK(sinks[0].has(name) == sinks[1].has(name));
                }
            }
        }
    }
}

TEST_CASE("projected inputs: n r numbers between the passes, I r of them held, of gaussian ones none")
{
    for (const Projection projection : all) {
        CAPTURE(to_string(projection));
        wasi::Ledger memory;
        auto layer = make_layer(memory, options_of(projection, 4), RandomKey(5));
        (void)gradient(*layer);
        CHECK(memory.of(Tag{Use::saved_input, number}).peak == rows * 4 * sizeof(Real));
        CHECK(memory.of(Tag{Use::optimiser_state, number}).current ==
              (projection == Projection::gaussian ? 0U : inputs * 4 * sizeof(Real)));
    }
}

TEST_CASE("projected inputs: another Q after so many inputs, and each gradient with the Q of its own input")
{
    for (const Projection projection : {Projection::gaussian, Projection::orthonormal, Projection::prac}) {
        CAPTURE(to_string(projection));
        auto layer = make_layer(wasi::plain_memory(), options_of(projection, 4, 3), RandomKey(5));
        std::vector<Numbers> seen;
        for (int step = 0; step < 7; ++step) {
            (void)gradient(*layer);
            seen.push_back(basis_of(*layer));
        }
        CHECK(seen[0] == seen[2]);
        CHECK(seen[2] != seen[3]);
        CHECK(seen[3] == seen[5]);
        CHECK(seen[5] != seen[6]);
        // Two uses, a refresh between them, then the backward pass of both.
        auto twice = make_layer(wasi::plain_memory(), options_of(projection, 4, 1), RandomKey(5));
        std::vector<Numbers> bases;
        RecordingSink<Real> sink;
        Graph graph{wasi::plain_memory(), {}, {}, [&](const Context& c, const auto& x) {
                        auto first = twice->forward(c, x[0]);
                        bases.push_back(basis_of(*twice));
                        auto second = twice->forward(c, x[1]);
                        bases.push_back(basis_of(*twice));
                        return wasi::autograd::add(c, std::move(first), std::move(second));
                    }};
        graph.inputs.push_back(input(wasi::plain_memory(), 1));
        graph.inputs.push_back(input(wasi::plain_memory(), 2));
        (void)graph.backward(sink);
        Numbers wanted = projected(exact_gradient(1), bases[0], weights_of(projection, 4));
        const Numbers other = projected(exact_gradient(2), bases[1], weights_of(projection, 4));
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            wanted[i] += other[i];
        }
        CHECK(bases[0] != bases[1]);
        CHECK(relative_distance(sink.at("weight").dense, wanted) <= 1e-12);
    }
}

TEST_CASE("projected inputs: what is refused")
{
    auto& memory = wasi::plain_memory();
    const auto refused = [&](const nn::ProjectedOptions& options) {
        CHECK_THROWS_AS((void)make_layer(memory, options, RandomKey(0)), wasi::argument_error);
    };
    refused(options_of(Projection::gaussian, 0));
    refused(options_of(Projection::prac, 1));
    refused(options_of(Projection::gaussian, 4, -1));
    auto principal = options_of(Projection::prac, 4);
    principal.principal_rank = 4;
    refused(principal);
    auto scale = options_of(Projection::velora, 4);
    scale.scale = std::nan("");
    refused(scale);
    auto layer = make_layer(memory, options_of(Projection::velora, 3), RandomKey(0));
    RecordingSink<Real> sink;
    CHECK_THROWS_AS(backward(*layer, sink, 1), wasi::argument_error);
}

}  // namespace
