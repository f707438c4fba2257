// What is not saved but made again: the same gradients, less memory.
#include <doctest/doctest.h>

#include <array>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <wasi/autograd/ops/attention.hpp>
#include <wasi/autograd/ops/layer_norm.hpp>
#include <wasi/autograd/recompute.hpp>

namespace {

using namespace wasi_tests;
using wasi::Precision;
using wasi::Shape;
using wasi::Use;
namespace autograd = wasi::autograd;
using autograd::Output;
using autograd::Probabilities;
using autograd::Wanted;

/// gelu(layer norm(x)) + x with its two parameters, as an operation or run again.
struct Piece {
    explicit Piece(wasi::Memory& memory) : gain("gain", memory, {6}), bias("bias", memory, {6})
    {
        wasi_tests::randomize(gain, 3);
        wasi_tests::randomize(bias, 4);
    }
    [[nodiscard]] Variable forward(const Context& context, const Variable& x)
    {
        return autograd::add(context, autograd::gelu(context, autograd::layer_norm(context, x, gain, bias, 1e-6)), x);
    }
    [[nodiscard]] Variable again(const Context& context, const Variable& x)
    {
        return autograd::recomputed(context, x, {&gain, &bias},
                                    [this](const Context& c, const Variable& in, Wanted) { return forward(c, in); });
    }
    DenseParameter gain, bias;
};

[[nodiscard]] Graph graph_of(Piece& piece, Graph::Forward forward)
{
    Graph graph{wasi::plain_memory(), {}, {&piece.gain, &piece.bias}, std::move(forward)};
    graph.inputs.push_back(random_tensor(wasi::plain_memory(), {2, 3, 6}, 1));
    return graph;
}

TEST_CASE("recomputed: gradients against central differences, parameters once each")
{
    Piece piece(wasi::plain_memory());
    SUBCASE("once")
    {
        graph_of(piece, [&](const Context& c, const auto& x) { return piece.again(c, x[0]); }).check();
    }
    SUBCASE("twice in a row: parameters used by two nodes")
    {
        graph_of(piece, [&](const Context& c, const auto& x) { return piece.again(c, piece.again(c, x[0])); }).check();
    }
    SUBCASE("one inside another")
    {
        graph_of(piece, [&](const Context& c, const auto& x) {
            return autograd::recomputed(
                c, x[0], {&piece.gain, &piece.bias},
                [&](const Context& inner, const Variable& in, Wanted) { return piece.again(inner, in); });
        }).check();
    }
    SUBCASE("beside a plain use of the same parameters and of the same value")
    {
        graph_of(piece, [&](const Context& c, const auto& x) {
            return autograd::add(c, piece.again(c, x[0]), piece.forward(c, x[0]));
        }).check();
    }
    SUBCASE("a frozen parameter")
    {
        piece.gain.set_trainable(false);
        graph_of(piece, [&](const Context& c, const auto& x) { return piece.again(c, x[0]); }).check();
    }
}

TEST_CASE("recomputed: a parameter that the second run turns out not to use is handed on all the same")
{
    // The piece's parameters are promised twice, and one node has no gradient for them.
    Piece piece(wasi::plain_memory());
    Graph graph = graph_of(piece, [&](const Context& c, const auto& x) {
        const auto unused = autograd::recomputed(
            c, x[0], {&piece.gain, &piece.bias},
            [&](const Context& inner, const Variable& in, Wanted) { return autograd::gelu(inner, in); });
        return autograd::add(c, unused, piece.forward(c, x[0]));
    });
    graph.check();
}

TEST_CASE("recomputed: the same bits as without, and only the input is kept")
{
    wasi::Ledger memory;
    Piece piece(memory);
    std::array<std::vector<std::vector<double>>, 2> gradients;
    std::array<std::size_t, 2> saved{};
    for (const bool again : {false, true}) {
        Graph graph{memory, {}, {}, [&](const Context& c, const auto& x) {
                        auto y = again ? piece.again(c, x[0]) : piece.forward(c, x[0]);
                        saved[again ? 1 : 0] = memory.of(Use::saved_activation).current;
                        return y;
                    }};
        graph.inputs.push_back(random_tensor(memory, {2, 3, 6}, 1));
        RecordingSink<Real> sink;
        gradients[again ? 1 : 0] = graph.backward(sink);
        gradients[again ? 1 : 0].push_back(sink.at("gain").dense);
        gradients[again ? 1 : 0].push_back(sink.at("bias").dense);
    }
    CHECK(gradients[0] == gradients[1]);
    const std::size_t x = 2 * 3 * 6 * sizeof(Real);
    CHECK(saved[1] == x);
    CHECK(saved[0] == 2 * x + 2 * 6 * sizeof(Real));  // x, gelu's input, mean and deviation of 6 rows
}

TEST_CASE("recomputed without a tape is the function itself")
{
    Piece piece(wasi::plain_memory());
    const Context context{wasi::plain_memory(), nullptr};
    const auto x = Variable(random_tensor(wasi::plain_memory(), {2, 3, 6}, 1));
    CHECK(elements(piece.again(context, x).value().matrix()) == elements(piece.forward(context, x).value().matrix()));
}

TEST_CASE("outputs that are rebuilt: central differences, and a recipe in place of the value")
{
    Piece piece(wasi::plain_memory());
    const auto forward = [&](const Context& c, const std::vector<Variable>& x) {
        auto y = autograd::layer_norm(c, x[0], piece.gain, piece.bias, 1e-6, Output::rebuild);
        y = autograd::gelu(c, y, Output::rebuild);
        return autograd::relu(c, autograd::gelu(c, y));
    };
    graph_of(piece, forward).check();

    wasi::Ledger memory;
    Piece booked(memory);
    Tape tape(memory);
    const Context context{memory, &tape};
    const auto x = Variable::leaf(random_tensor(memory, {2, 3, 6}, 1));
    auto y = autograd::layer_norm(context, x, booked.gain, booked.bias, 1e-6, Output::rebuild);
    y = autograd::gelu(context, y, Output::rebuild);
    y = autograd::gelu(context, y);
    // Kept: x, which all three come from, and the statistics of the rows.
    CHECK(memory.of(Use::saved_activation).current == (2 * 3 * 6 + 2 * 6) * sizeof(Real));
}

TEST_CASE("attention: probabilities made again give the same bits, without their memory")
{
    wasi::Ledger memory;
    for (const Index heads : {1, 3}) {
        std::array<std::vector<std::vector<double>>, 2> gradients;
        std::array<std::size_t, 2> saved{};
        for (const auto kept : {Probabilities::keep, Probabilities::recompute}) {
            const auto at = static_cast<std::size_t>(kept);
            Graph graph{memory, {}, {}, [&](const Context& c, const auto& x) {
                            auto y = autograd::attention(c, x[0], heads, kept);
                            if (c.tape != nullptr) {
                                saved[at] = memory.of(Use::saved_activation).current;
                            }
                            return y;
                        }};
            graph.inputs.push_back(random_tensor(memory, {7, 5, 18}, 1));  // more pieces than groups, for 3 heads
            RecordingSink<Real> sink;
            gradients[at] = graph.backward(sink);
            if (kept == Probabilities::recompute) {
                graph.check();
            }
        }
        CHECK(gradients[0] == gradients[1]);
        CHECK(saved[0] - saved[1] == static_cast<std::size_t>(7 * heads * 32) * sizeof(Real));  // 5 x 5, padded
    }
}

TEST_CASE("saved in 16 bits: a quarter of the memory of doubles, gradients to the format's rounding")
{
    wasi::Ledger memory;
    const auto gradient = [&](Precision precision, std::size_t& bytes) {
        Tape tape(memory);
        const Context context{memory, &tape, precision};
        const auto x = Variable::leaf(random_tensor(memory, {4, 32}, 1));
        {
            auto y = autograd::gelu(context, x);
            bytes = memory.of(Use::saved_activation).current;
            RecordingSink<Real> sink;
            tape.backward(y, sink);
        }
        return elements(x.gradient()->matrix());
    };
    std::size_t full = 0;
    const auto exact = gradient(Precision::full, full);
    for (const auto& format : {std::pair{Precision::bfloat16, 0x1p-8}, std::pair{Precision::half, 0x1p-11}}) {
        const Precision precision = format.first;
        const double unit = format.second;
        CAPTURE(to_string(precision));
        std::size_t packed = 0;
        const auto rounded = gradient(precision, packed);
        CHECK(packed * 4 == full);
        const double distance = relative_distance(rounded, exact);
        // The slope of gelu' is at most 0.8; inputs are rounded by half a unit.
        CHECK(distance <= unit);
        CHECK(distance >= unit / 64);
    }
}

TEST_CASE("operations work in place only where nobody else holds the value")
{
    auto& memory = wasi::plain_memory();
    const Context silent{memory, nullptr};
    Variable x(random_tensor(memory, {3, 4}, 1));
    const auto before = elements(x.value().matrix());
    const auto kept = autograd::gelu(silent, x);
    const auto sum = autograd::add(silent, x, x);
    CHECK(elements(x.value().matrix()) == before);
    const Real* place = x.value().data();
    const auto moved = autograd::gelu(silent, std::move(x));
    CHECK(moved.value().data() == place);
    CHECK(elements(moved.value().matrix()) == elements(kept.value().matrix()));
}

}  // namespace
