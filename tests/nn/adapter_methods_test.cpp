// Relatives of LoRA on one layer: how adapters start, what is frozen, gradients that are divided by a Gram matrix, and
// trained row lengths, each against the dense weight that it comes to.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <support/matrices.hpp>
#include <wasi/nn/adapters.hpp>
#include <wasi/nn/dense_values.hpp>

namespace {

using namespace wasi_tests;
using wasi::ConstMatrixView;
using wasi::EigenStorage;
using wasi::Shape;
using wasi::Tensor;
namespace nn = wasi::nn;
using nn::AdapterStart;

using Linear = nn::Linear<Real, EigenStorage>;
using Rows = std::vector<std::vector<double>>;

constexpr Index outputs = 7;
constexpr Index inputs = 5;
constexpr Index rank = 3;

[[nodiscard]] std::unique_ptr<Linear> make_layer(Index o = outputs, Index i = inputs)
{
    auto& memory = wasi::plain_memory();
    auto layer = std::make_unique<Linear>("weight", "bias", memory, Shape{o, i}, 3);
    layer->weight.dense() = random_tensor(memory, {o, i}, 31);
    layer->bias.values = random_tensor(memory, {o}, 32);
    return layer;
}

[[nodiscard]] Rows rows_of(ConstMatrixView<Real> a)
{
    Rows rows(static_cast<std::size_t>(a.rows), std::vector<double>(static_cast<std::size_t>(a.cols)));
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] = a(i, j);
        }
    }
    return rows;
}
[[nodiscard]] Rows transposed(const Rows& a)
{
    Rows t(a[0].size(), std::vector<double>(a.size()));
    for (std::size_t i = 0; i < a.size(); ++i) {
        for (std::size_t j = 0; j < a[0].size(); ++j) {
            t[j][i] = a[i][j];
        }
    }
    return t;
}
[[nodiscard]] Rows product(const Rows& a, const Rows& b, double scale = 1.0)
{
    Rows c(a.size(), std::vector<double>(b[0].size(), 0.0));
    for (std::size_t i = 0; i < a.size(); ++i) {
        for (std::size_t k = 0; k < b.size(); ++k) {
            for (std::size_t j = 0; j < b[0].size(); ++j) {
                c[i][j] += scale * a[i][k] * b[k][j];
            }
        }
    }
    return c;
}
[[nodiscard]] Rows sum(Rows a, const Rows& b)
{
    for (std::size_t i = 0; i < a.size(); ++i) {
        for (std::size_t j = 0; j < a[0].size(); ++j) {
            a[i][j] += b[i][j];
        }
    }
    return a;
}
[[nodiscard]] Rows scaled_rows(Rows a, const std::vector<double>& by)
{
    for (std::size_t i = 0; i < a.size(); ++i) {
        for (double& value : a[i]) {
            value *= by[i];
        }
    }
    return a;
}
[[nodiscard]] std::vector<double> flat(const Rows& a)
{
    std::vector<double> all;
    for (const auto& row : a) {
        all.insert(all.end(), row.begin(), row.end());
    }
    return all;
}
[[nodiscard]] Rows folded(const std::vector<double>& all, Index cols)
{
    Rows rows;
    for (std::size_t first = 0; first < all.size(); first += static_cast<std::size_t>(cols)) {
        rows.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(first),
                          all.begin() + static_cast<std::ptrdiff_t>(first) + cols);
    }
    return rows;
}
[[nodiscard]] double norm(const Rows& a)
{
    double total = 0.0;
    for (const double value : flat(a)) {
        total += value * value;
    }
    return std::sqrt(total);
}
[[nodiscard]] double distance_from_identity(Rows a)
{
    for (std::size_t i = 0; i < a.size(); ++i) {
        a[i][i] -= 1.0;
    }
    return norm(a);
}

/// The weight multiplied out, whatever holds it.
[[nodiscard]] Rows dense_of(const Linear& layer)
{
    return rows_of(nn::dense_rows(layer.weight, 0, layer.weight.outputs()).matrix());
}

[[nodiscard]] Graph graph_of(Linear& layer)
{
    auto& memory = wasi::plain_memory();
    Graph graph{memory, {}, {}, [&](const Context& c, const auto& x) { return layer.forward(c, x[0]); }};
    graph.inputs.push_back(random_tensor(memory, {2, 3, layer.weight.inputs()}, 1));
    return graph;
}

/// dW of a dense layer of this weight, and dX.
struct DenseGradients {
    Rows weight;
    std::vector<double> input;
};
[[nodiscard]] DenseGradients dense_gradients(const Rows& w)
{
    auto layer = make_layer(static_cast<Index>(w.size()), static_cast<Index>(w[0].size()));
    std::copy_n(flat(w).data(), layer->weight.dense().size(), layer->weight.dense().data());
    RecordingSink<Real> sink;
    auto input = graph_of(*layer).backward(sink);
    return {folded(sink.at("weight").dense, layer->weight.inputs()), std::move(input[0])};
}

/// `seen`: with directions of the inputs, one more than `rank`.
[[nodiscard]] nn::AdapterWeight<Real, EigenStorage>& adapt(Linear& layer, const nn::WeightSetup& setup,
                                                           bool seen = false)
{
    const auto directions = random_tensor(wasi::plain_memory(), {rank + 1, layer.weight.inputs()}, 36);
    const nn::LayerStatistics statistics{directions.matrix()};
    nn::set_up(layer.weight, setup, seen ? &statistics : nullptr);
    return *nn::adapter_of(layer.weight);
}

[[nodiscard]] nn::AdapterWeight<Real, EigenStorage>& randomised(nn::AdapterWeight<Real, EigenStorage>& adapter)
{
    randomize(adapter.a, 33);
    randomize(adapter.b, 34);
    return adapter;
}

}  // namespace

TEST_CASE("every start leaves the weight as it was, and W0 gives up what the factors bring")
{
    for (const bool tall : {true, false}) {
        for (const bool stabilized : {false, true}) {
            for (const auto& named : nn::adapter_starts) {
                const AdapterStart start = named.second;
                CAPTURE(named.first);
                CAPTURE(tall);
                auto layer = tall ? make_layer() : make_layer(inputs, outputs);
                const Rows before = dense_of(*layer);
                const auto& adapter =
                    adapt(*layer,
                          nn::AdapterOptions{.rank = rank, .alpha = 7.0, .rank_stabilized = stabilized, .start = start},
                          start == AdapterStart::eva);
                CHECK(relative_distance(flat(dense_of(*layer)), flat(before)) <= 1e-14);
                const double scale = 7.0 / (stabilized ? std::sqrt(3.0) : 3.0);
                const Rows part = product(rows_of(adapter.b_matrix()), rows_of(adapter.a_matrix()), scale);
                CHECK(relative_distance(flat(sum(rows_of(adapter.base_matrix()), part)), flat(before)) <= 1e-14);
                CHECK((norm(part) > 0.0) == nn::moves_weight(start));
                CHECK(adapter.b.trainable() == (start != AdapterStart::mica));
            }
        }
    }
}

TEST_CASE("what the starts are: leading and minor singular vectors, and a QR factorisation")
{
    const auto layer_with = [](AdapterStart start, std::unique_ptr<Linear> & layer) -> auto&
    {
        layer = make_layer();
        return adapt(*layer, nn::AdapterOptions{.rank = rank, .alpha = 2.0, .start = start, .power_iterations = 30});
    };
    std::unique_ptr<Linear> layer;
    const Rows w = dense_of(*make_layer());
    const auto svd = wasi::linalg::truncated_svd<EigenStorage>(
        std::as_const(make_layer()->weight).matrix(), {.rank = wasi::linalg::FixedRank{inputs}}, wasi::plain_memory());
    const auto value = [&](Index k) { return static_cast<double>(svd.s.data()[k]); };
    for (const auto start : {AdapterStart::pissa, AdapterStart::pissa_fast}) {
        const auto& adapter = layer_with(start, layer);
        // What is left of W has the other singular values, and the two factors are balanced.
        double rest = 0.0;
        for (Index k = rank; k < inputs; ++k) {
            rest += value(k) * value(k);
        }
        CHECK(norm(rows_of(adapter.base_matrix())) == doctest::Approx(std::sqrt(rest)).epsilon(1e-12));
        const Rows a = rows_of(adapter.a_matrix());
        const Rows b = rows_of(adapter.b_matrix());
        CHECK(norm(product(a, transposed(a))) == doctest::Approx(norm(product(transposed(b), b))).epsilon(1e-12));
    }
    {
        const auto& adapter = layer_with(AdapterStart::olora, layer);
        const Rows a = rows_of(adapter.a_matrix());
        const Rows b = rows_of(adapter.b_matrix());
        CHECK(distance_from_identity(product(transposed(b), b)) <= 1e-14);
        for (std::size_t i = 0; i < rank; ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                CHECK(std::abs(a[i][j]) <= 1e-14);
            }
        }
        CHECK(relative_distance(flat(a), flat(product(transposed(b), w))) <= 1e-14);
    }
    {
        const auto& adapter = layer_with(AdapterStart::mica, layer);
        const Rows b = rows_of(adapter.b_matrix());
        CHECK(distance_from_identity(product(transposed(b), b)) <= 1e-13);
        double minor = 0.0;
        for (Index k = inputs - rank; k < inputs; ++k) {
            minor += value(k) * value(k);
        }
        CHECK(norm(product(transposed(b), w)) == doctest::Approx(std::sqrt(minor)).epsilon(1e-12));
    }
}

TEST_CASE("EVA's start: the first directions of the layer's inputs, without which it is refused")
{
    auto layer = make_layer();
    const auto& adapter =
        adapt(*layer, nn::DoraOptions{{.rank = rank, .alpha = 2.0, .start = AdapterStart::eva}}, true);
    const auto directions = random_tensor(wasi::plain_memory(), {rank + 1, inputs}, 36);
    CHECK(rows_of(adapter.a_matrix()) == rows_of(directions.matrix().row_block(0, rank)));
    CHECK(norm(rows_of(adapter.b_matrix())) == 0.0);
    CHECK(adapter.options().start == AdapterStart::kaiming);  // nothing of the data is asked for again
    auto other = make_layer();
    CHECK_THROWS_AS(nn::set_up(other->weight, nn::WeightSetup(nn::AdapterOptions{.start = AdapterStart::eva})),
                    wasi::argument_error);
    const nn::LayerStatistics few{directions.matrix().row_block(0, rank)};
    CHECK_THROWS_AS(
        nn::set_up(other->weight, nn::WeightSetup(nn::AdapterOptions{.rank = 4, .start = AdapterStart::eva}), &few),
        wasi::argument_error);
    CHECK(other->weight.held_as<nn::DenseOptions>() != nullptr);
}

TEST_CASE("the randomized PiSSA of a weight that is large enough for a sketch comes near the exact one")
{
    std::vector<double> rest;
    Rows first;
    for (const auto start : {AdapterStart::pissa, AdapterStart::pissa_fast}) {
        auto layer = make_layer(120, 100);
        const Rows before = dense_of(*layer);
        const auto& adapter =
            adapt(*layer, nn::AdapterOptions{.rank = 4, .alpha = 2.0, .start = start, .power_iterations = 6});
        CHECK(relative_distance(flat(dense_of(*layer)), flat(before)) <= 1e-14);
        rest.push_back(norm(rows_of(adapter.base_matrix())));
        if (start == AdapterStart::pissa) {
            first = rows_of(adapter.a_matrix());
        } else {
            CHECK(rest[1] > rest[0]);  // a sketch, not the dense decomposition
            CHECK(rest[1] <= 1.01 * rest[0]);
            CHECK(rows_of(adapter.a_matrix()) != first);
        }
    }
}

TEST_CASE("rsLoRA's scale and MiCA's frozen B: gradients against central differences")
{
    for (const auto start : {AdapterStart::kaiming, AdapterStart::mica}) {
        auto layer = make_layer();
        auto& adapter = randomised(
            adapt(*layer, nn::AdapterOptions{.rank = rank, .alpha = 4.0, .rank_stabilized = true, .start = start}));
        Graph graph = graph_of(*layer);
        graph.parameters = {&adapter.a, &adapter.b};
        graph.check();
    }
}

TEST_CASE("divide_by_gram, also by a Gram matrix that is singular")
{
    auto& memory = wasi::plain_memory();
    const auto f = random_tensor(memory, {3, 6}, 5);
    auto d = random_tensor(memory, {4, 3}, 6);
    const Rows before = rows_of(std::as_const(d).matrix());
    nn::divide_by_gram<EigenStorage, Real>(d.matrix(), f.matrix(), 0.5, 2.0, memory);
    Rows gram = product(rows_of(f.matrix()), transposed(rows_of(f.matrix())));
    for (std::size_t i = 0; i < 3; ++i) {
        gram[i][i] += 0.5;
    }
    CHECK(relative_distance(flat(product(rows_of(std::as_const(d).matrix()), gram, 0.5)), flat(before)) <= 1e-13);

    // Two equal rows: D (F Fᵀ)⁺ is the part of D in the span, divided.
    auto g = random_tensor(memory, {2, 6}, 7);
    EigenStorage::copy(g.matrix().row_block(1, 1), std::as_const(g).matrix().row_block(0, 1));
    const double square =
        2.0 * EigenStorage::dot(std::as_const(g).matrix().row_block(0, 1), std::as_const(g).matrix().row_block(0, 1));
    auto e = random_tensor(memory, {4, 2}, 8);
    const Rows old = rows_of(std::as_const(e).matrix());
    nn::divide_by_gram<EigenStorage, Real>(e.matrix(), std::as_const(g).matrix(), 0.0, 1.0, memory);
    for (std::size_t i = 0; i < 4; ++i) {
        const double wanted = 0.5 * (old[i][0] + old[i][1]) / square;
        CHECK(e.data()[2 * i] == doctest::Approx(wanted).epsilon(1e-12));
        CHECK(e.data()[2 * i + 1] == doctest::Approx(wanted).epsilon(1e-12));
    }
}

TEST_CASE("LoRA-FA: s dB A is the nearest to dW of all that B can do")
{
    auto layer = make_layer();
    auto& adapter =
        randomised(adapt(*layer, nn::AdapterOptions{.rank = rank, .alpha = 4.0, .train_a = false, .correct_b = true}));
    const auto dense = dense_gradients(dense_of(*layer));
    RecordingSink<Real> sink;
    const auto input = graph_of(*layer).backward(sink);
    CHECK(relative_distance(input[0], dense.input) <= 1e-14);
    CHECK_FALSE(sink.has("weight.lora_A"));
    const Rows a = rows_of(adapter.a_matrix());
    const Rows moved = product(folded(sink.at("weight.lora_B").dense, rank), a, 4.0 / 3.0);
    // The normal equations: what is missing is orthogonal to the rows of A.
    CHECK(relative_distance(flat(product(moved, transposed(a))), flat(product(dense.weight, transposed(a)))) <= 1e-7);
}

TEST_CASE("the preconditioner, of an adapter and of free factors, whatever way the input is saved")
{
    const double delta = 0.3;
    const auto check = [&](Linear& layer, const char* right_name, const char* left_name, const Rows& left,
                           const Rows& right, double scale) {
        const auto dense = dense_gradients(dense_of(layer));
        const auto with_delta = [&](Rows gram) {
            for (std::size_t i = 0; i < gram.size(); ++i) {
                gram[i][i] += delta;
            }
            return gram;
        };
        for (const bool compressed : {false, true}) {
            CAPTURE(compressed);
            if (compressed) {
                nn::TuckerOptions tucker;
                tucker.ranks = std::array<Index, 3>{1000, 1000, 1000};
                nn::set_up(layer, nn::InputSetup(tucker), wasi::RandomKey(1));
            }
            RecordingSink<Real> sink;
            (void)graph_of(layer).backward(sink);
            const Rows d_right = folded(sink.at(right_name).dense, layer.weight.inputs());
            const Rows d_left = folded(sink.at(left_name).dense, rank);
            CHECK(relative_distance(flat(product(with_delta(product(transposed(left), left)), d_right)),
                                    flat(product(transposed(left), dense.weight, scale))) <= 1e-12);
            CHECK(relative_distance(flat(product(d_left, with_delta(product(right, transposed(right))))),
                                    flat(product(dense.weight, transposed(right), scale))) <= 1e-12);
        }
    };
    auto layer = make_layer();
    auto& adapter = randomised(adapt(*layer, nn::AdapterOptions{.rank = rank, .alpha = 4.0, .precondition = delta}));
    check(*layer, "weight.lora_A", "weight.lora_B", rows_of(adapter.b_matrix()), rows_of(adapter.a_matrix()),
          4.0 / 3.0);
    auto other = make_layer();
    nn::set_up(other->weight, nn::WeightSetup(nn::FactorsOptions{{wasi::linalg::FixedRank{rank}, false}, delta}));
    const auto factors = std::as_const(other->weight).low_rank();
    check(*other, "weight.right", "weight.left", rows_of(factors.left()), rows_of(factors.right()), 1.0);
    CHECK(std::get<nn::FactorsOptions>(nn::setup_of(other->weight)).precondition == delta);
}

TEST_CASE("DoRA: the dense weight that it comes to, lengths without B A, and the gradients of the paper")
{
    for (const bool compressed : {false, true}) {
        CAPTURE(compressed);
        auto layer = make_layer();
        auto& adapter = randomised(adapt(*layer, nn::DoraOptions{{.rank = rank, .alpha = 4.0}}));
        auto& dora = *layer->weight.held_as<nn::DoraOptions>();
        if (compressed) {
            nn::TuckerOptions tucker;
            tucker.ranks = std::array<Index, 3>{1000, 1000, 1000};
            nn::set_up(*layer, nn::InputSetup(tucker), wasi::RandomKey(1));
        }
        const double s = 4.0 / 3.0;
        const Rows a = rows_of(adapter.a_matrix());
        const Rows b = rows_of(adapter.b_matrix());
        const Rows v = sum(rows_of(adapter.base_matrix()), product(b, a, s));
        std::vector<double> inverse_norm;
        for (const auto& row : v) {
            inverse_norm.push_back(1.0 / norm({row}));
        }
        dora.reset_magnitude();
        CHECK(relative_distance(flat(dense_of(*layer)), flat(v)) <= 1e-14);

        randomize(dora.magnitude, 35);
        std::vector<double> stretch;
        for (std::size_t o = 0; o < outputs; ++o) {
            stretch.push_back(dora.magnitude.values.data()[o] * inverse_norm[o]);
        }
        const Rows w = scaled_rows(v, stretch);
        CHECK(relative_distance(flat(dense_of(*layer)), flat(w)) <= 1e-14);

        const auto dense = dense_gradients(w);
        RecordingSink<Real> sink;
        const auto input = graph_of(*layer).backward(sink);
        CHECK(relative_distance(input[0], dense.input) <= 1e-13);
        const Rows d_v = scaled_rows(dense.weight, stretch);
        CHECK(relative_distance(sink.at("weight.lora_A").dense, flat(product(transposed(b), d_v, s))) <= 1e-12);
        CHECK(relative_distance(sink.at("weight.lora_B").dense, flat(product(d_v, transposed(a), s))) <= 1e-12);
        std::vector<double> d_magnitude;
        for (std::size_t o = 0; o < outputs; ++o) {
            double along = 0.0;
            for (std::size_t i = 0; i < inputs; ++i) {
                along += dense.weight[o][i] * v[o][i] * inverse_norm[o];
            }
            d_magnitude.push_back(along);
        }
        CHECK(relative_distance(sink.at("weight.lora_magnitude_vector").dense, d_magnitude) <= 1e-12);
        CHECK_FALSE(sink.has("weight"));
    }
}

TEST_CASE("an adapter is taken out of a weight that it was merged into")
{
    auto layer = make_layer();
    auto& adapter = randomised(adapt(*layer, nn::AdapterOptions{.rank = rank, .alpha = 4.0}));
    const Rows before = rows_of(adapter.base_matrix());
    const Rows merged = dense_of(*layer);
    std::copy_n(flat(merged).data(), adapter.base.values.size(), adapter.base.values.data());
    adapter.unmerge();
    CHECK(relative_distance(flat(rows_of(adapter.base_matrix())), flat(before)) <= 1e-15);
}

TEST_CASE("options that make no sense together are refused, and a wish changes how an adapter is trained, no more")
{
    const auto refuses = [](const nn::WeightSetup& setup) {
        auto layer = make_layer();
        CHECK_THROWS_AS(nn::set_up(layer->weight, setup), wasi::argument_error);
        CHECK(layer->weight.held_as<nn::DenseOptions>() != nullptr);
    };
    refuses(nn::AdapterOptions{.rank = 6, .start = AdapterStart::pissa});
    refuses(nn::AdapterOptions{.rank = 6, .start = AdapterStart::mica});
    refuses(nn::AdapterOptions{.alpha = 0.0, .start = AdapterStart::pissa});
    refuses(nn::AdapterOptions{.rank = 2, .start = AdapterStart::mica, .train_a = false});
    refuses(nn::AdapterOptions{.correct_b = true});
    refuses(nn::AdapterOptions{.train_a = false, .precondition = 0.1});
    refuses(nn::AdapterOptions{.precondition = -1.0});
    refuses(nn::DoraOptions{{.train_a = false}});
    refuses(nn::FactorsOptions{{wasi::linalg::FixedRank{2}, false}, -1.0});

    auto layer = make_layer();
    auto& adapter = randomised(adapt(*layer, nn::AdapterOptions{.rank = rank, .alpha = 4.0}));
    const Rows a = rows_of(adapter.a_matrix());
    nn::set_up(layer->weight, nn::WeightSetup(nn::AdapterOptions{.rank = 2, .train_a = false, .correct_b = true}));
    CHECK(nn::adapter_of(layer->weight) == &adapter);
    CHECK(rows_of(adapter.a_matrix()) == a);
    CHECK_FALSE(adapter.a.trainable());
    CHECK(adapter.options().alpha == 4.0);
    CHECK_THROWS_AS(nn::set_up(layer->weight, nn::WeightSetup(nn::AdapterOptions{.correct_b = true})),
                    wasi::argument_error);
    CHECK_FALSE(adapter.a.trainable());
    CHECK_THROWS_AS(nn::set_up(layer->weight, nn::WeightSetup(nn::DoraOptions{})), wasi::argument_error);
    auto zero_row = make_layer();
    EigenStorage::fill(zero_row->weight.matrix().row_block(2, 1), 0.0);
    CHECK_THROWS_AS(nn::set_up(zero_row->weight, nn::WeightSetup(nn::DoraOptions{{.rank = 2}})), wasi::argument_error);
}
