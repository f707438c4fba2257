// The linear layer: ways to hold the weight times ways to save the input.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <support/matrices.hpp>
#include <wasi/nn/layer_setup.hpp>

namespace {

using namespace wasi_tests;
using wasi::EigenStorage;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;
namespace autograd = wasi::autograd;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;

template <class T>
using Linear = wasi::nn::Linear<T, EigenStorage>;

constexpr std::uint16_t layer = 3;

/// A layer with random weight and bias.
template <class T>
[[nodiscard]] std::unique_ptr<Linear<T>> make_layer(wasi::Memory& memory, Index outputs, Index inputs)
{
    auto result = std::make_unique<Linear<T>>("weight", "bias", memory, Shape{outputs, inputs}, layer);
    result->weight.dense() = random_tensor<T>(memory, {outputs, inputs}, 31);
    result->bias.values = random_tensor<T>(memory, {outputs}, 32);
    return result;
}

/// The wish for factors of this rank, held as `Options` say.
template <class Options>
[[nodiscard]] nn::WeightSetup wish(Index rank, bool only_if_it_pays = false)
{
    return Options{{linalg::FixedRank{rank}, only_if_it_pays}};
}

/// Sets the weight up and says whether it is low rank then.
template <class T>
[[nodiscard]] bool becomes_low_rank(Linear<T>& linear, const nn::WeightSetup& setup)
{
    nn::set_up(linear.weight, setup);
    return linear.weight.is_low_rank();
}

void compress_input(auto& linear, const wasi::subspace::ActivationSubspaceOptions& options)
{
    nn::set_up(linear, nn::InputSetup(nn::TuckerOptions{options}), wasi::RandomKey(4));
}

/// Full rank in every mode.
[[nodiscard]] wasi::subspace::ActivationSubspaceOptions full_tucker()
{
    return {.ranks = {linalg::FixedRank{1000}, linalg::FixedRank{1000}, linalg::FixedRank{1000}}};
}

/// Output, input gradient and parameter gradients of one pass.
template <class T>
struct Pass {
    std::vector<double> y;
    std::vector<double> dx;
    RecordingSink<T> sink;

    Pass(Linear<T>& linear, const Shape& shape, std::uint64_t seed = 1)
    {
        auto& memory = linear.bias.values.memory();
        autograd::Tape<T, EigenStorage> tape(memory);
        const autograd::Context<T, EigenStorage> context{memory, &tape};
        const auto x = autograd::Variable<T>::leaf(random_tensor<T>(memory, shape, seed));
        const auto out = linear.forward(context, x);
        y = elements(out.value().matrix());
        const autograd::Variable<T> weights(random_tensor<T>(memory, out.shape(), 99));
        tape.backward(autograd::multiply(context, out, weights), sink);
        dx = elements(x.gradient()->matrix());
    }
};

TEST_CASE("dense weight, exact input: everything against central differences")
{
    auto& memory = wasi::plain_memory();
    auto linear = make_layer<Real>(memory, 4, 5);
    const auto numeric_weight = [&](Graph& graph) {
        return central_differences(linear->weight.dense().span(), [&] { return graph.value(); });
    };
    Graph graph{memory, {}, {&linear->bias}, [&](const Context& c, const auto& x) { return linear->forward(c, x[0]); }};
    RecordingSink<Real> sink;
    const auto check = [&] {
        graph.check();
        (void)graph.backward(sink);
        REQUIRE(sink.has("weight"));
        CHECK(sink.at("weight").count == 1);
        CHECK(relative_distance(sink.at("weight").dense, numeric_weight(graph)) <= 1e-8);
    };
    SUBCASE("x of three extents")
    {
        graph.inputs.push_back(random_tensor(memory, {2, 3, 5}, 1));
        check();
    }
    SUBCASE("x of two extents")
    {
        graph.inputs.push_back(random_tensor(memory, {3, 5}, 1));
        check();
    }
    SUBCASE("the layer used twice")
    {
        linear = make_layer<Real>(memory, 5, 5);
        graph.parameters = {&linear->bias};
        graph.inputs.push_back(random_tensor(memory, {2, 3, 5}, 1));
        graph.forward = [&](const Context& c, const auto& x) {
            return linear->forward(c, autograd::gelu(c, linear->forward(c, x[0])));
        };
        check();
    }
    SUBCASE("frozen bias")
    {
        linear->bias.set_trainable(false);
        graph.inputs.push_back(random_tensor(memory, {3, 5}, 1));
        check();
    }
    SUBCASE("frozen weight: no gradient for it, the others stay right")
    {
        linear->weight.set_trainable(false);
        graph.inputs.push_back(random_tensor(memory, {3, 5}, 1));
        graph.check();
        (void)graph.backward(sink);
        CHECK_FALSE(sink.has("weight"));
        CHECK(sink.has("bias"));
    }
}

TEST_CASE("low-rank weight, exact input: factor gradients against central differences")
{
    auto& memory = wasi::plain_memory();
    auto linear = make_layer<Real>(memory, 6, 5);
    nn::WeightSetup setup = wish<nn::SubspaceOptions>(3);
    bool twice = false;
    SUBCASE("used once") {}
    SUBCASE("used twice")
    {
        twice = true;
    }
    SUBCASE("free factors")
    {
        setup = wish<nn::FactorsOptions>(3);
    }
    SUBCASE("free factors, used twice")
    {
        setup = wish<nn::FactorsOptions>(3);
        twice = true;
    }
    REQUIRE(becomes_low_rank(*linear, setup));
    Graph graph{memory, {}, {&linear->bias}, [&](const Context& c, const auto& x) { return linear->forward(c, x[0]); }};
    graph.inputs.push_back(random_tensor(memory, {2, 3, 5}, 1));
    if (twice) {
        linear = make_layer<Real>(memory, 5, 5);
        REQUIRE(becomes_low_rank(*linear, setup));
        graph.parameters = {&linear->bias};
        graph.forward = [&](const Context& c, const auto& x) {
            return linear->forward(c, autograd::gelu(c, linear->forward(c, x[0])));
        };
    }
    CAPTURE(twice);
    graph.check();
    RecordingSink<Real> sink;
    (void)graph.backward(sink);
    // A subspace gets both as one gradient; free factors are two parameters with a dense gradient each.
    std::vector<double> d_left;
    std::vector<double> d_right;
    if (std::holds_alternative<nn::SubspaceOptions>(setup)) {
        const auto& entry = sink.at("weight");
        CHECK(entry.count == 1);
        REQUIRE(entry.form == RecordingSink<Real>::Form::factor_gradients);
        d_left = entry.d_left;
        d_right = entry.d_right;
        CHECK(sink.size() == 2);
    } else {
        for (const char* name : {"weight.left", "weight.right"}) {
            CHECK(sink.at(name).count == 1);
            REQUIRE(sink.at(name).form == RecordingSink<Real>::Form::dense);
        }
        d_left = sink.at("weight.left").dense;
        d_right = sink.at("weight.right").dense;
        CHECK(sink.size() == 3);
    }
    // d_left and d_right are the gradients of the two factors when each is moved on its own.
    const auto numeric = [&](wasi::ConstMatrixView<Real> factor) {
        const std::span<Real> values(const_cast<Real*>(factor.data), static_cast<std::size_t>(factor.size()));
        return central_differences(values, [&] { return graph.value(); });
    };
    CHECK(relative_distance(d_left, numeric(linear->weight.low_rank().left())) <= 1e-8);
    CHECK(relative_distance(d_right, numeric(linear->weight.low_rank().right())) <= 1e-8);
}

TEST_CASE("low-rank weight with a compressed input: input and bias gradients stay exact")
{
    auto& memory = wasi::plain_memory();
    auto linear = make_layer<Real>(memory, 6, 5);
    nn::WeightSetup setup = wish<nn::SubspaceOptions>(2);
    SUBCASE("weight subspace") {}
    SUBCASE("free factors")
    {
        setup = wish<nn::FactorsOptions>(2);
    }
    REQUIRE(becomes_low_rank(*linear, setup));
    compress_input(*linear, {.ranks = {1, 1, 2}});
    Graph graph{memory, {}, {&linear->bias}, [&](const Context& c, const auto& x) { return linear->forward(c, x[0]); }};
    graph.inputs.push_back(random_tensor(memory, {3, 4, 5}, 1));
    graph.check();
}

TEST_CASE_TEMPLATE("at full rank every path is the dense one, to rounding", T, float, double)
{
    auto& memory = wasi::plain_memory();
    using Form = typename RecordingSink<T>::Form;
    for (const Shape& shape : {Shape{3, 4, 7}, Shape{9, 7}}) {
        for (const Index outputs : {5, 10}) {
            CAPTURE(wasi::shape_text(shape));
            CAPTURE(outputs);
            const double rounding = 40.0 * static_cast<double>(wasi::epsilon<T>);
            const Pass<T> dense(*make_layer<T>(memory, outputs, 7), shape);
            const auto& dw = dense.sink.at("weight");
            REQUIRE(dw.form == Form::dense);
            for (const bool low_rank : {false, true}) {
                for (const bool compressed : {false, true}) {
                    CAPTURE(low_rank);
                    CAPTURE(compressed);
                    auto linear = make_layer<T>(memory, outputs, 7);
                    if (low_rank) {
                        REQUIRE(becomes_low_rank(*linear, wish<nn::SubspaceOptions>(100)));
                        REQUIRE(linear->weight.rank() == std::min<Index>(outputs, 7));
                    }
                    if (compressed) {
                        compress_input(*linear, full_tucker());
                    }
                    const Pass<T> pass(*linear, shape);
                    CHECK(relative_distance(pass.y, dense.y) <= rounding);
                    CHECK(relative_distance(pass.dx, dense.dx) <= rounding);
                    CHECK(relative_distance(pass.sink.at("bias").dense, dense.sink.at("bias").dense) <= rounding);
                    const auto& entry = pass.sink.at("weight");
                    if (compressed) {
                        CHECK(entry.form == Form::factored);
                        CHECK(relative_distance(entry.dense, dw.dense) <= rounding);
                    } else if (low_rank) {
                        REQUIRE(entry.form == Form::factor_gradients);
                        const auto wanted = wasi::ConstMatrixView<double>::row_major(dw.dense.data(), outputs, 7);
                        const auto left = linear->weight.low_rank().left();
                        const auto right = linear->weight.low_rank().right();
                        std::vector<double> d_left;
                        std::vector<double> d_right;
                        for (Index o = 0; o < outputs; ++o) {
                            for (Index k = 0; k < right.rows; ++k) {
                                double sum = 0.0;
                                for (Index i = 0; i < 7; ++i) {
                                    sum += wanted(o, i) * static_cast<double>(right(k, i));
                                }
                                d_left.push_back(sum);
                            }
                        }
                        for (Index k = 0; k < right.rows; ++k) {
                            for (Index i = 0; i < 7; ++i) {
                                double sum = 0.0;
                                for (Index o = 0; o < outputs; ++o) {
                                    sum += static_cast<double>(left(o, k)) * wanted(o, i);
                                }
                                d_right.push_back(sum);
                            }
                        }
                        CHECK(relative_distance(entry.d_left, d_left) <= rounding);
                        CHECK(relative_distance(entry.d_right, d_right) <= rounding);
                    } else {
                        CHECK(relative_distance(entry.dense, dw.dense) == 0.0);
                    }
                }
            }
        }
    }
}

TEST_CASE("a compressed input's gradient is exactly that of the compressed input")
{
    auto& memory = wasi::plain_memory();
    auto linear = make_layer<Real>(memory, 6, 5);
    const wasi::subspace::ActivationSubspaceOptions options{.ranks = {2, 2, 3}};
    compress_input(*linear, options);
    const Pass<Real> pass(*linear, {3, 4, 5});
    wasi::subspace::ActivationSubspace<Real, EigenStorage> same(options, wasi::RandomKey(4), memory, {});
    const auto x = random_tensor(memory, {3, 4, 5}, 1);
    const auto restored = wasi::tensor::reconstruct<EigenStorage, Real, 3>(same.compress(x.view<3>()), memory);
    const auto dy = random_tensor(memory, {3, 4, 6}, 99);
    Tensor<Real> wanted(memory, {}, {6, 5});
    EigenStorage::multiply(wanted.matrix(), 1.0, dy.matrix().transposed(), restored.matrix(), 0.0, memory);
    CHECK(relative_distance(pass.sink.at("weight").dense, wanted.span()) <= 1e-13);
    // It is an approximation: the exact gradient is another one.
    const Pass<Real> exact(*make_layer<Real>(memory, 6, 5), {3, 4, 5});
    CHECK(relative_distance(pass.sink.at("weight").dense, exact.sink.at("weight").dense) > 1e-2);
}

TEST_CASE("saved inputs are booked under their layer, by what is really kept")
{
    wasi::Ledger memory;
    const Tag saved{Use::saved_input, layer};
    auto linear = make_layer<Real>(memory, 6, 5);
    const auto x = [&] { return Variable::leaf(random_tensor(memory, {3, 4, 5}, 1)); };
    const auto bytes_saved = [&] {
        Tape tape(memory);
        const auto y = linear->forward({memory, &tape}, x());
        return memory.of(saved).current;
    };
    CHECK(bytes_saved() == sizeof(Real) * 3 * 4 * 5);
    CHECK(memory.of(saved).current == 0);
    SUBCASE("compressed: a core and three bases")
    {
        compress_input(*linear, {.ranks = {2, 2, 3}});
        CHECK(bytes_saved() == sizeof(Real) * (2 * 2 * 3 + 3 * 2 + 4 * 2 + 5 * 3));
        CHECK(memory.of(saved).current == 0);
    }
    SUBCASE("frozen weight: nothing")
    {
        linear->weight.set_trainable(false);
        CHECK(bytes_saved() == 0);
    }
    SUBCASE("no tape: nothing, and the basis does not move")
    {
        compress_input(*linear, {.ranks = {2, 2, 3}});
        memory.reset_peaks();
        (void)linear->forward({memory, nullptr}, x());
        CHECK(memory.of(saved).peak == 0);
        const auto& subspace = linear->saves_with<nn::TuckerOptions>()->subspace();
        CHECK(subspace.restarts() == 0);
        CHECK(subspace.basis().size() == 0);
    }
}

TEST_CASE("low rank: rank by rule, break-even, and refusals that name the weight")
{
    wasi::Ledger memory;
    auto linear = make_layer<Real>(memory, 12, 8);
    // 4 (12 + 8) = 80 < 96 = 12 x 8 <= 5 (12 + 8)
    CHECK(nn::pays(12, 8, 4));
    CHECK_FALSE(nn::pays(12, 8, 5));
    CHECK_FALSE(becomes_low_rank(*linear, wish<nn::SubspaceOptions>(5, true)));
    CHECK(linear->weight.rank() == 0);
    CHECK(becomes_low_rank(*linear, wish<nn::SubspaceOptions>(4, true)));
    CHECK(linear->weight.rank() == 4);
    CHECK(linear->weight.bytes() == sizeof(Real) * 4 * (12 + 8));
    CHECK(memory.of(Tag{Use::weight, layer}).current == linear->weight.bytes());
    CHECK_THROWS_WITH_AS((void)linear->weight.dense(), "LinearWeight: weight is not dense", wasi::argument_error);
    auto other = make_layer<Real>(memory, 8, 12);
    REQUIRE(becomes_low_rank(*other, wish<nn::SubspaceOptions>(2)));
    auto factors = wasi::subspace::WeightSubspace<Real, EigenStorage>::start(random_tensor(memory, {12, 8}, 1).matrix(),
                                                                             linalg::FixedRank{2}, memory, {});
    CHECK_THROWS_WITH_AS((nn::SubspaceWeight<Real, EigenStorage>(other->weight, std::move(factors))),
                         "LinearWeight: factors L (12, 2) and R (2, 8) for weight (8, 12)", wasi::shape_error);
    CHECK_THROWS_WITH_AS((void)linear->forward({memory, nullptr}, Variable(random_tensor(memory, {2, 3, 7}, 1))),
                         "Linear weight: input (2, 3, 7) for a weight (12, 8)", wasi::shape_error);
    other = make_layer<Real>(memory, 8, 12);
    other->weight.dense().data()[5] = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(nn::set_up(other->weight, wish<nn::SubspaceOptions>(2)), wasi::argument_error);
    CHECK_FALSE(other->weight.is_low_rank());
}

TEST_CASE("a wish of the same form leaves rank and product alone, and a dense wish every weight")
{
    wasi::Ledger memory;
    for (const auto& first : {wish<nn::SubspaceOptions>(4), wish<nn::FactorsOptions>(4)}) {
        auto linear = make_layer<Real>(memory, 12, 8);
        REQUIRE(becomes_low_rank(*linear, first));
        const auto* form = &linear->weight.form();
        nn::WeightSetup again = first;
        nn::set_rank(again, 2);
        for (const auto& wished : {again, nn::WeightSetup(nn::DenseOptions{})}) {
            nn::set_up(linear->weight, wished);
            CHECK(&linear->weight.form() == form);
            CHECK(linear->weight.rank() == 4);
        }
        CHECK(nn::kind_of(nn::setup_of(linear->weight)) == nn::kind_of(first));
    }
}

TEST_CASE("free factors: low rank for everybody, a weight subspace for nobody, until the form is changed")
{
    wasi::Ledger memory;
    auto linear = make_layer<Real>(memory, 12, 8);
    CHECK_THROWS_WITH_AS((void)linear->weight.low_rank(), "LinearWeight: weight is dense, it has no factors",
                         wasi::argument_error);
    CHECK_FALSE(becomes_low_rank(*linear, wish<nn::FactorsOptions>(5, true)));
    REQUIRE(becomes_low_rank(*linear, wish<nn::FactorsOptions>(4, true)));
    const auto product = [&] {
        const auto factors = linear->weight.low_rank();
        return multiplied_out<Real>({factors.left(), factors.right().transposed(), false});
    };
    const auto before = product();
    for (const auto& setup : {wish<nn::FactorsOptions>(4), wish<nn::SubspaceOptions>(4), wish<nn::FactorsOptions>(4)}) {
        nn::set_up(linear->weight, setup);
        const bool free = std::holds_alternative<nn::FactorsOptions>(setup);
        CHECK(linear->weight.is_low_rank());
        CHECK(linear->weight.rank() == 4);
        CHECK((linear->weight.held_as<nn::SubspaceOptions>() != nullptr) == !free);
        CHECK((linear->weight.held_as<nn::FactorsOptions>() != nullptr) == free);
        CHECK(linear->weight.bytes() == sizeof(Real) * 4 * (12 + 8));
        CHECK(memory.of(Tag{Use::weight, layer}).current == linear->weight.bytes());
        CHECK(relative_distance(product(), before) <= 1e-14);
    }
    auto other = make_layer<Real>(memory, 8, 12);
    CHECK_THROWS_AS((nn::FactorsWeight<Real, EigenStorage>(
                        other->weight, wasi::subspace::FreeFactors<Real, EigenStorage>::from_factors(
                                           random_tensor(memory, {12, 2}, 1), random_tensor(memory, {2, 8}, 2)))),
                    wasi::shape_error);
}

TEST_CASE("a frozen weight stays frozen in every form, and saves nothing")
{
    wasi::Ledger memory;
    auto linear = make_layer<Real>(memory, 12, 8);
    linear->weight.set_trainable(false);
    for (const auto& setup : {wish<nn::SubspaceOptions>(4), wish<nn::FactorsOptions>(4)}) {
        nn::set_up(linear->weight, setup);
        for (const auto& parameter : linear->weight.form().parameters()) {
            CHECK_FALSE(parameter.identity().trainable());
        }
        RecordingSink<Real> sink;
        Tape tape(memory);
        const auto y = linear->forward({memory, &tape}, Variable::leaf(random_tensor(memory, {3, 4, 8}, 1)));
        CHECK(memory.of(Tag{Use::saved_input, layer}).current == 0);
        tape.backward(y, sink);
        CHECK(sink.size() == 1);
        CHECK(sink.has("bias"));
    }
}

}  // namespace
