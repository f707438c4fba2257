// The tape: who is handed what, when, and what is alive meanwhile.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <wasi/autograd/ops/layer_norm.hpp>

namespace {

using namespace wasi_tests;
using wasi::Shape;
using wasi::Use;
namespace autograd = wasi::autograd;

/// Gain and bias pairs for a chain of layer norms.
struct Norms {
    explicit Norms(wasi::Memory& memory)
        : gain0("gain0", memory, {4}),
          bias0("bias0", memory, {4}),
          gain1("gain1", memory, {4}),
          bias1("bias1", memory, {4})
    {
        std::uint64_t seed = 10;
        for (DenseParameter* parameter : {&gain0, &bias0, &gain1, &bias1}) {
            wasi_tests::randomize(*parameter, ++seed);
        }
    }
    [[nodiscard]] Variable forward(const Context& context, const Variable& x)
    {
        const auto hidden = autograd::layer_norm(context, x, gain0, bias0, 1e-6);
        return autograd::layer_norm(context, autograd::gelu(context, hidden), gain1, bias1, 1e-6);
    }
    DenseParameter gain0, bias0, gain1, bias1;
};

/// A sink that spoils each parameter as soon as it has its gradient, as an optimiser that updates on the spot might.
class SpoilingSink final : public autograd::Sink<Real> {
public:
    void take(autograd::Parameter& parameter, const autograd::Gradient<Real>& gradient) override
    {
        recorded.take(parameter, gradient);
        std::ranges::fill(static_cast<DenseParameter&>(parameter).values.span(),
                          std::numeric_limits<double>::quiet_NaN());
    }
    RecordingSink<Real> recorded;
};

/// A sink that does whatever a test wants.
template <class F>
class CallingSink final : public autograd::Sink<Real> {
public:
    explicit CallingSink(F f) : f_(std::move(f)) {}
    void take(autograd::Parameter& parameter, const autograd::Gradient<Real>&) override { f_(parameter); }

private:
    F f_;
};

TEST_CASE("a parameter may be changed the moment its gradient is handed over")
{
    auto& memory = wasi::plain_memory();
    Norms norms(memory);
    const auto forward = [&](const Context& c, const std::vector<Variable>& x) { return norms.forward(c, x[0]); };
    const auto twice = [&](const Context& c, const std::vector<Variable>& x) {
        return norms.forward(c, norms.forward(c, x[0]));
    };
    for (const Graph::Forward& function : {Graph::Forward(forward), Graph::Forward(twice)}) {
        Graph graph{memory, {}, {}, function};
        graph.inputs.push_back(random_tensor(memory, {3, 4}, 1));
        RecordingSink<Real> quiet;
        const auto wanted = graph.backward(quiet);
        std::vector<wasi::Tensor<Real>> before;
        const std::array<DenseParameter*, 4> all{&norms.gain0, &norms.bias0, &norms.gain1, &norms.bias1};
        for (const DenseParameter* parameter : all) {
            before.push_back(wasi::clone<wasi::EigenStorage>(parameter->values, wasi::Tag{}));
        }
        SpoilingSink spoiling;
        const auto found = graph.backward(spoiling);
        CHECK(found == wanted);
        CHECK(spoiling.recorded.size() == 4);
        for (std::size_t i = 0; i < all.size(); ++i) {
            CHECK(spoiling.recorded.at(all[i]->name()).dense == quiet.at(all[i]->name()).dense);
            CHECK(spoiling.recorded.at(all[i]->name()).count == 1);
            all[i]->values = std::move(before[i]);
        }
    }
}

TEST_CASE("parameters are handed over last layer first, and what nodes saved goes away on the way")
{
    wasi::Ledger memory;
    Norms norms(memory);
    Tape tape(memory);
    const Context context{memory, &tape};
    const auto nothing = memory.of(Use::saved_activation).current;
    std::vector<std::string> order;
    std::vector<std::size_t> alive;
    CallingSink sink([&](const autograd::Parameter& parameter) {
        order.push_back(parameter.name());
        alive.push_back(memory.of(Use::saved_activation).current);
    });
    {
        const auto y = norms.forward(context, Variable(random_tensor(memory, {3, 4}, 1)));
        alive.push_back(memory.of(Use::saved_activation).current);
        tape.backward(y, sink);
    }
    CHECK(order == std::vector<std::string>{"gain1", "bias1", "gain0", "bias0"});
    CHECK(nothing == 0);
    // Saved: x and two statistics a row for either norm, and the input of gelu.
    CHECK(alive.front() == sizeof(Real) * (3 * 12 + 2 * 6));
    // At the last layer all of it; at the first, its own x and statistics alone.
    CHECK(alive[1] == alive.front());
    CHECK(alive[3] == sizeof(Real) * (12 + 6));
    CHECK(memory.of(Use::saved_activation).current == 0);
    CHECK(memory.of(Use::gradient).current == 0);
    CHECK(tape.size() == 0);
}

TEST_CASE("a use whose result nobody needs does not hold a parameter's gradient back")
{
    auto& memory = wasi::plain_memory();
    Norms norms(memory);
    Graph graph{memory, {}, {&norms.gain0, &norms.bias0}, {}};
    graph.inputs.push_back(random_tensor(memory, {3, 4}, 1));
    for (const bool dead_first : {true, false}) {
        CAPTURE(dead_first);
        graph.forward = [&](const Context& c, const std::vector<Variable>& x) {
            Variable y;
            for (const bool dead : {dead_first, !dead_first}) {
                const auto result = autograd::layer_norm(c, x[0], norms.gain0, norms.bias0, 1e-6);
                y = dead ? y : result;
            }
            return y;
        };
        graph.check();
    }
    // Only dead uses: nothing is handed over.
    RecordingSink<Real> sink;
    graph.forward = [&](const Context& c, const std::vector<Variable>& x) {
        (void)autograd::layer_norm(c, x[0], norms.gain0, norms.bias0, 1e-6);
        return autograd::gelu(c, x[0]);
    };
    (void)graph.backward(sink);
    CHECK(sink.size() == 0);
}

TEST_CASE("the seed scales every gradient")
{
    auto& memory = wasi::plain_memory();
    Norms norms(memory);
    std::vector<std::vector<double>> gradients;
    for (const double seed : {1.0, 0.25}) {
        Tape tape(memory);
        const Context context{memory, &tape};
        RecordingSink<Real> sink;
        const auto x = Variable::leaf(random_tensor(memory, {3, 4}, 1));
        tape.backward(norms.forward(context, x), sink, seed);
        gradients.push_back(elements(x.gradient()->matrix()));
        gradients.push_back(sink.at("gain0").dense);
    }
    for (const std::size_t which : {std::size_t{0}, std::size_t{1}}) {
        for (double& value : gradients[which]) {
            value *= 0.25;
        }
        CHECK(relative_distance(gradients[which + 2], gradients[which]) <= 1e-14);
    }
}

TEST_CASE("a value that was not recorded has no way back")
{
    auto& memory = wasi::plain_memory();
    Tape tape(memory);
    RecordingSink<Real> sink;
    const Variable constant(random_tensor(memory, {2}, 1));
    CHECK_THROWS_AS(tape.backward(constant, sink), wasi::argument_error);
    CHECK_THROWS_AS(tape.backward(Variable::leaf(random_tensor(memory, {2}, 1)), sink), wasi::argument_error);
}

TEST_CASE("a sink that throws leaves an empty tape that can be used again")
{
    wasi::Ledger memory;
    Norms norms(memory);
    Tape tape(memory);
    const Context context{memory, &tape};
    CallingSink broken([](const autograd::Parameter&) { throw std::runtime_error("full"); });
    CHECK_THROWS_AS(tape.backward(norms.forward(context, Variable(random_tensor(memory, {3, 4}, 1))), broken),
                    std::runtime_error);
    CHECK(tape.size() == 0);
    CHECK(memory.of(Use::saved_activation).current == 0);
    RecordingSink<Real> sink;
    tape.backward(norms.forward(context, Variable(random_tensor(memory, {3, 4}, 1))), sink);
    CHECK(sink.size() == 4);
    CHECK(sink.at("gain1").count == 1);
}

}  // namespace
