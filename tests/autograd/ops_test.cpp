// Every operation against central differences in double.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <wasi/autograd/ops/attention.hpp>
#include <wasi/autograd/ops/cross_entropy.hpp>
#include <wasi/autograd/ops/elementwise.hpp>
#include <wasi/autograd/ops/layer_norm.hpp>
#include <wasi/autograd/ops/pool_tokens.hpp>
#include <wasi/autograd/ops/scale_columns.hpp>
#include <wasi/autograd/ops/tokens.hpp>

namespace {

using namespace wasi_tests;
using wasi::Shape;
namespace autograd = wasi::autograd;

/// A graph of one or two random inputs and no parameters.
void check_function(const Graph::Forward& forward, std::initializer_list<Shape> shapes)
{
    Graph graph{wasi::plain_memory(), {}, {}, forward};
    std::uint64_t seed = 0;
    for (const Shape& shape : shapes) {
        graph.inputs.push_back(random_tensor(wasi::plain_memory(), shape, ++seed));
    }
    graph.check();
}

TEST_CASE("add and multiply")
{
    check_function([](const Context& c, const auto& x) { return autograd::add(c, x[0], x[1]); }, {{2, 3}, {2, 3}});
    check_function([](const Context& c, const auto& x) { return autograd::multiply(c, x[0], x[1]); },
                   {{2, 3, 2}, {2, 3, 2}});
}

TEST_CASE("gelu and relu")
{
    check_function([](const Context& c, const auto& x) { return autograd::gelu(c, x[0]); }, {{4, 5}});
    check_function([](const Context& c, const auto& x) { return autograd::quick_gelu(c, x[0]); }, {{4, 5}});
    check_function([](const Context& c, const auto& x) { return autograd::relu(c, x[0]); }, {{4, 5}});
}

TEST_CASE("a value used more than once")
{
    SUBCASE("as both terms of a sum")
    {
        check_function([](const Context& c, const auto& x) { return autograd::add(c, x[0], x[0]); }, {{3, 4}});
    }
    SUBCASE("as both factors of a product")
    {
        check_function([](const Context& c, const auto& x) { return autograd::multiply(c, x[0], x[0]); }, {{3, 4}});
    }
    SUBCASE("by different operations, x² + gelu(x) + x")
    {
        check_function(
            [](const Context& c, const auto& x) {
                const auto square = autograd::multiply(c, x[0], x[0]);
                return autograd::add(c, autograd::add(c, square, autograd::gelu(c, x[0])), x[0]);
            },
            {{3, 4}});
    }
    SUBCASE("inner values too, (a + a) a + relu(a) with a = gelu(x)")
    {
        check_function(
            [](const Context& c, const auto& x) {
                const auto a = autograd::gelu(c, x[0]);
                const auto twice = autograd::add(c, a, a);
                return autograd::add(c, autograd::multiply(c, twice, a), autograd::relu(c, a));
            },
            {{3, 4}});
    }
    SUBCASE("a sum hands one gradient to both terms, and a term works on it in place")
    {
        check_function(
            [](const Context& c, const auto& x) {
                const auto sum = autograd::add(c, autograd::relu(c, x[0]), x[1]);
                return autograd::add(c, autograd::gelu(c, sum), x[1]);
            },
            {{3, 4}, {3, 4}});
    }
    SUBCASE("two sums of the same terms: each term's gradient is a meeting of two that the other term holds as well")
    {
        check_function(
            [](const Context& c, const auto& x) {
                const auto a = autograd::add(c, x[0], x[1]);
                const auto b = autograd::add(c, x[0], x[1]);
                return autograd::add(c, autograd::relu(c, a), autograd::gelu(c, b));
            },
            {{3, 4}, {3, 4}});
    }
}

TEST_CASE("layer norm: input, gain and bias")
{
    auto& memory = wasi::plain_memory();
    DenseParameter gain("gain", memory, {6});
    DenseParameter bias("bias", memory, {6});
    wasi_tests::randomize(gain, 3);
    wasi_tests::randomize(bias, 4);
    Graph graph{memory, {}, {&gain, &bias}, [&](const Context& c, const auto& x) {
                    return autograd::layer_norm(c, x[0], gain, bias, 1e-6);
                }};
    graph.inputs.push_back(random_tensor(memory, {2, 3, 6}, 1));
    SUBCASE("all")
    {
        graph.check();
    }
    SUBCASE("frozen gain")
    {
        gain.set_trainable(false);
        graph.check();
    }
    SUBCASE("both frozen: the input's gradient alone")
    {
        gain.set_trainable(false);
        bias.set_trainable(false);
        graph.check();
    }
    SUBCASE("both parameters used twice")
    {
        graph.forward = [&](const Context& c, const auto& x) {
            return autograd::layer_norm(c, autograd::gelu(c, autograd::layer_norm(c, x[0], gain, bias, 1e-6)), gain,
                                        bias, 1e-6);
        };
        graph.check();
    }
    SUBCASE("an epsilon that matters")
    {
        graph.forward = [&](const Context& c, const auto& x) { return autograd::layer_norm(c, x[0], gain, bias, 0.5); };
        graph.check();
    }
}

TEST_CASE("attention")
{
    for (const Index heads : {1, 2, 3}) {
        CAPTURE(heads);
        check_function([heads](const Context& c, const auto& x) { return autograd::attention(c, x[0], heads); },
                       {{2, 5, 18}});
    }
}

TEST_CASE("attention: one head of two tokens by hand")
{
    // Queries (1, 0), keys (a, b), values (3, 5), width 1: the second token's query is 0, so it takes the mean.
    auto& memory = wasi::plain_memory();
    wasi::Tensor<Real> packed(memory, {}, {1, 2, 3});
    const std::array<double, 6> rows{1.0, 0.7, 3.0, 0.0, -0.4, 5.0};
    std::copy(rows.begin(), rows.end(), packed.data());
    const auto y = autograd::attention(Context{memory, nullptr}, Variable(std::move(packed)), Index{1});
    const double p = 1.0 / (1.0 + std::exp(-0.4 - 0.7));
    CHECK(y.value().data()[0] == doctest::Approx(3.0 * p + 5.0 * (1.0 - p)).epsilon(1e-14));
    CHECK(y.value().data()[1] == doctest::Approx(4.0).epsilon(1e-14));
}

TEST_CASE("prepend a token with positions, select a token")
{
    auto& memory = wasi::plain_memory();
    DenseParameter token("token", memory, {1, 1, 3});
    DenseParameter positions("positions", memory, {1, 5, 3});
    wasi_tests::randomize(token, 3);
    wasi_tests::randomize(positions, 4);
    Graph graph{memory, {}, {&token, &positions}, [&](const Context& c, const auto& x) {
                    return autograd::prepend_token(c, x[0], token, positions);
                }};
    graph.inputs.push_back(random_tensor(memory, {2, 4, 3}, 1));
    SUBCASE("prepend")
    {
        graph.check();
    }
    SUBCASE("frozen token")
    {
        token.set_trainable(false);
        graph.check();
    }
    SUBCASE("select each token")
    {
        for (const Index index : {0, 2, 4}) {
            graph.forward = [&, index](const Context& c, const auto& x) {
                return autograd::select_token(c, autograd::prepend_token(c, x[0], token, positions), index);
            };
            graph.check();
        }
    }
}

TEST_CASE("several tokens before the others, some without positions, and pools of tokens")
{
    auto& memory = wasi::plain_memory();
    DenseParameter first("first", memory, {1, 1, 3});
    DenseParameter second("second", memory, {1, 1, 3});
    DenseParameter free("free", memory, {1, 2, 3});
    DenseParameter positions("positions", memory, {1, 6, 3});
    DenseParameter gain("gain", memory, {3});
    std::uint64_t seed = 3;
    for (auto* parameter : {&first, &second, &free, &positions, &gain}) {
        wasi_tests::randomize(*parameter, seed++);
    }
    const auto prepend = [&](const Context& c, const auto& x) {
        return autograd::prepend_tokens(c, x[0], {{&first, &second}, &free}, positions);
    };
    Graph graph{memory, {}, {&first, &second, &free, &positions}, prepend};
    graph.inputs.push_back(random_tensor(memory, {2, 4, 3}, 1));
    SUBCASE("prepend")
    {
        graph.check();
        const auto y = prepend({memory, nullptr}, std::vector{Variable(random_tensor(memory, {2, 4, 3}, 1))});
        REQUIRE(y.shape() == Shape{2, 8, 3});
        const double* row = y.value().data() + 2 * 3;  // the registers have no position
        CHECK(row[4] == free.values.data()[4]);
        CHECK(row[6] == graph.inputs[0].data()[0] + positions.values.data()[6]);
    }
    SUBCASE("frozen positions")
    {
        positions.set_trainable(false);
        graph.check();
    }
    SUBCASE("pools")
    {
        for (const autograd::TokenPool pool : {autograd::TokenPool{2, -1}, {1, 4}, {0, 2}, {8, 7}}) {
            graph.forward = [&, pool](const Context& c, const auto& x) {
                return autograd::pool_tokens(c, prepend(c, x), pool);
            };
            graph.check();
        }
        const auto x = random_tensor(memory, {2, 4, 3}, 1);
        const auto y =
            autograd::pool_tokens(Context{memory, nullptr}, Variable(random_tensor(memory, {2, 4, 3}, 1)), {1, 2});
        REQUIRE(y.shape() == Shape{2, 6});
        CHECK(y.value().data()[6] == x.data()[12]);
        CHECK(y.value().data()[9] == doctest::Approx((x.data()[18] + x.data()[21]) / 2).epsilon(1e-15));
    }
    SUBCASE("layer scale")
    {
        graph.parameters.push_back(&gain);
        graph.forward = [&](const Context& c, const auto& x) {
            return autograd::scale_columns(c, autograd::gelu(c, prepend(c, x)), gain);
        };
        graph.check();
        gain.set_trainable(false);
        graph.check();
    }
    CHECK_THROWS_AS(
        (void)autograd::pool_tokens(Context{memory, nullptr}, Variable(random_tensor(memory, {2, 4, 3}, 1)), {0, -1}),
        wasi::shape_error);
    CHECK_THROWS_AS(
        (void)autograd::pool_tokens(Context{memory, nullptr}, Variable(random_tensor(memory, {2, 4, 3}, 1)), {0, 4}),
        wasi::shape_error);
    CHECK_THROWS_AS(
        (void)autograd::scale_columns(Context{memory, nullptr}, Variable(random_tensor(memory, {2, 4}, 1)), gain),
        wasi::shape_error);
}

TEST_CASE("cross entropy")
{
    static constexpr std::array<std::int64_t, 3> labels{2, 0, 3};
    check_function([](const Context& c, const auto& x) { return autograd::cross_entropy(c, x[0], labels); }, {{3, 4}});
    check_function(
        [](const Context& c, const auto& x) { return autograd::cross_entropy(c, autograd::gelu(c, x[0]), labels); },
        {{3, 4}});
    check_function([](const Context& c, const auto& x) { return autograd::cross_entropy(c, x[0], labels, 0.3); },
                   {{3, 4}});
}

TEST_CASE("cross entropy with smoothed labels is PyTorch's")
{
    // torch.nn.functional.cross_entropy(x, [2, 1, 0], label_smoothing=s) in float64.
    auto& memory = wasi::plain_memory();
    const std::array<double, 12> x{0.5, -1.0, 2.0, 0.25, 3.0, 0.0, -2.0, 1.0, -0.5, 0.5, 1.5, -3.0};
    const std::array<std::int64_t, 3> labels{2, 1, 0};
    for (const auto& [smoothing, wanted] :
         {std::pair{0.0, 1.9865877705169428}, {0.1, 2.017837770516943}, {0.6, 2.174087770516943}}) {
        wasi::Tensor<double> logits(memory, wasi::Tag{}, {3, 4});
        std::copy(x.begin(), x.end(), logits.data());
        const auto loss =
            autograd::cross_entropy(Context{memory, nullptr}, Variable(std::move(logits)), labels, smoothing);
        CHECK(loss.value().data()[0] == doctest::Approx(wanted).epsilon(1e-14));
    }
    for (const double wrong : {-0.1, 1.0}) {
        CHECK_THROWS_AS((void)autograd::cross_entropy(Context{memory, nullptr},
                                                      Variable(random_tensor(memory, {3, 4}, 1)), labels, wrong),
                        wasi::argument_error);
    }
}

TEST_CASE("nothing is recorded where nothing is wanted")
{
    auto& memory = wasi::plain_memory();
    Tape tape(memory);
    const Context context{memory, &tape};
    const Variable constant(random_tensor(memory, {1, 2, 6}, 1));
    DenseParameter gain("gain", memory, {6});
    gain.set_trainable(false);
    (void)autograd::gelu(context, constant);
    (void)autograd::add(context, constant, constant);
    (void)autograd::attention(context, constant, Index{2});
    (void)autograd::layer_norm(context, constant, gain, gain, 1e-6);
    CHECK(tape.size() == 0);
    const auto leaf = Variable::leaf(random_tensor(memory, {1, 2, 6}, 1));
    CHECK_FALSE(autograd::gelu(Context{memory, nullptr}, leaf).wants_gradient());
    (void)autograd::gelu(context, leaf);
    CHECK(tape.size() == 1);
}

TEST_CASE("operations refuse shapes and labels that do not fit, and say which")
{
    auto& memory = wasi::plain_memory();
    const Context context{memory, nullptr};
    const auto make = [&](Shape shape) { return Variable(random_tensor(memory, shape, 1)); };
    DenseParameter five("five", memory, {5});
    DenseParameter six("six", memory, {6});
    CHECK_THROWS_WITH_AS((void)autograd::add(context, make({2, 3}), make({3, 2})),
                         "add: shapes (2, 3) and (3, 2) differ", wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::multiply(context, make({2, 3}), make({2, 4})), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::layer_norm(context, make({2, 6}), six, five, 1e-6), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::layer_norm(context, make({2, 6}), five, six, 1e-6), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::attention(context, make({2, 3, 10}), Index{2}), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::attention(context, make({2, 12}), Index{2}), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::attention(context, make({2, 3, 12}), Index{0}), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::select_token(context, make({2, 3, 4}), Index{3}), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::select_token(context, make({2, 3, 4}), Index{-1}), wasi::shape_error);
    CHECK_THROWS_AS((void)autograd::prepend_token(context, make({2, 3, 5}), five, six), wasi::shape_error);
    constexpr std::array<std::int64_t, 2> low{0, -1};
    constexpr std::array<std::int64_t, 2> high{4, 0};
    constexpr std::array<std::int64_t, 1> one{0};
    CHECK_THROWS_WITH_AS((void)autograd::cross_entropy(context, make({2, 4}), low),
                         "cross_entropy: label -1 is outside the 4 classes", wasi::argument_error);
    CHECK_THROWS_AS((void)autograd::cross_entropy(context, make({2, 4}), high), wasi::argument_error);
    CHECK_THROWS_AS((void)autograd::cross_entropy(context, make({2, 4}), one), wasi::shape_error);
}

}  // namespace
