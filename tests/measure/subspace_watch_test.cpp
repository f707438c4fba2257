// Subspaces that are watched: shares and angles against plain formulas, gradients against those of a backward pass of
// their own, and a run that does not notice.
#include <doctest/doctest.h>
#include <Eigen/Dense>

#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include <support/files.hpp>
#include <support/matrices.hpp>
#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/files/file_state.hpp>
#include <wasi/measure/subspace_watch.hpp>
#include <wasi/optim/sgd.hpp>

namespace {

using namespace wasi_tests;
namespace measure = wasi::measure;
namespace nn = wasi::nn;
namespace train = wasi::train;

using Dense = Eigen::MatrixXd;

[[nodiscard]] Dense orthonormal(Index n, Index k, std::uint64_t seed)
{
    const auto a = random_matrix<double>(n, k, seed);
    Dense dense(n, k);
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < k; ++j) {
            dense(i, j) = a.view()(i, j);
        }
    }
    return Eigen::HouseholderQR<Dense>(dense).householderQ() * Dense::Identity(n, k);
}

[[nodiscard]] wasi::ConstMatrixView<double> view(const Dense& a)
{
    return wasi::ConstMatrixView<double>::col_major(a.data(), a.rows(), a.cols());
}

/// The share of G in the tangent space, from projectors written out.
[[nodiscard]] double plain_share(const Dense& g, const Dense& u, const Dense& v)
{
    const Dense pu = u * u.transpose();
    const Dense pv = v * v.transpose();
    return (pu * g + g * pv - pu * g * pv).squaredNorm() / g.squaredNorm();
}

/// Of G = 1ᵀ G.
[[nodiscard]] std::vector<double> parts(const Dense& g, const Dense& u, const Dense& v)
{
    const std::array<Index, 2> ranks{u.cols(), 0};
    return wasi::subspace::tangent_parts<EigenStorage, double>(view(Dense::Identity(g.rows(), g.rows())), view(g),
                                                               view(u), view(v), ranks, wasi::plain_memory());
}
[[nodiscard]] double share(const Dense& g, const Dense& u, const Dense& v)
{
    const auto found = parts(g, u, v);
    return found[0] / found[1];
}

[[nodiscard]] Dense dense_of(const std::vector<double>& values, Index rows, Index cols)
{
    return Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(values.data(), rows,
                                                                                                    cols);
}

[[nodiscard]] nn::Source<double> source_of(const Dataset<double>& data, const std::vector<Index>& which)
{
    return [&data, which](wasi::Memory& memory) { return data.gather(which, wasi::RandomKey(0), memory); };
}

TEST_CASE("what lies in the tangent space, and overlap: projectors written out, all of it, nothing of it, no gradient")
{
    auto& memory = wasi::plain_memory();
    const Index o = 9;
    const Index i = 14;
    for (const Index k : {1, 3, 9}) {
        CAPTURE(k);
        const Dense u = orthonormal(o, k, 1);
        const Dense v = orthonormal(i, k, 2);
        const Dense g = orthonormal(o, 5, 3) * orthonormal(i, 5, 4).transpose();
        CHECK(share(g, u, v) == doctest::Approx(plain_share(g, u, v)).epsilon(1e-12));
        const Dense inside = u * orthonormal(i, k, 5).transpose();
        CHECK(share(inside, u, v) == doctest::Approx(1.0).epsilon(1e-12));
        const Dense outside =
            (Dense::Identity(o, o) - u * u.transpose()) * g * (Dense::Identity(i, i) - v * v.transpose());
        if (k < o) {
            CHECK(share(outside, u, v) <= 1e-20);
        }
        CHECK(parts(Dense::Zero(o, i), u, v) == std::vector<double>{0.0, 0.0});
        const Dense w = orthonormal(i, 4, 6);
        CHECK(measure::subspace_overlap<EigenStorage, double>(view(v), view(w), memory) ==
              doctest::Approx((v.transpose() * w).squaredNorm() / static_cast<double>(std::min<Index>(k, 4))));
    }
}

TEST_CASE("a basis that turns: angle and overlaps, to the start and to the last")
{
    auto& memory = wasi::plain_memory();
    const auto turned = [&](double degrees) {
        wasi::Tensor<double> basis(memory, wasi::Tag{}, wasi::Shape{6, 2});
        const double angle = degrees * std::numbers::pi / 180.0;
        const auto m = basis.matrix();
        EigenStorage::fill(m, 0.0);
        m(0, 0) = 1.0;
        m(1, 1) = std::cos(angle);
        m(4, 1) = std::sin(angle);
        return basis;
    };
    measure::WatchedBasis<double, EigenStorage> basis;
    CHECK(basis.rank() == 0);
    const auto first = basis.move_to(turned(0.0), memory);
    CHECK(first.overlap == 1.0);
    CHECK(basis.rank() == 2);
    for (const double degrees : {1e-7, 0.5, 30.0, 90.0}) {
        CAPTURE(degrees);
        static_cast<void>(basis.move_to(turned(degrees / 2.0), memory));
        const auto drift = basis.move_to(turned(degrees), memory);
        const double c = std::cos(degrees * std::numbers::pi / 180.0);
        const double half = std::cos(degrees / 2.0 * std::numbers::pi / 180.0);
        CHECK(drift.largest_angle == doctest::Approx(degrees).epsilon(1e-6));
        CHECK(drift.overlap == doctest::Approx(0.5 * (1.0 + c * c)));
        CHECK(drift.overlap_last == doctest::Approx(0.5 * (1.0 + half * half)));
    }
}

TEST_CASE("watched: gradients are those of the weights as they are held, and nothing moves where nothing was trained")
{
    for (const char* name : {"vanilla", "wasi", "factors", "lora", "head"}) {
        CAPTURE(name);
        wasi::Ledger memory;
        Model<double> model(tiny_config, memory);
        randomize(model, 1);
        const auto data = random_images<double>(tiny_config, 6, 2);
        const std::vector<Index> which{0, 1, 2, 3, 4, 5};
        // The same function with dense weights, and its gradients.
        apply(model,
              {.method = train::method(name), .layers = nn::Layers::all, .weight_rank = wasi::linalg::FixedRank{5}});
        const auto kept = snapshot(model);
        const std::size_t before = memory.total().current;
        {
            measure::SubspaceWatch<Model<double>> watch(model);
            const auto start = watch.measure(source_of(data, which), data.gather_labels(which));
            const auto again = watch.measure(source_of(data, which), data.gather_labels(which));
            REQUIRE(start.size() == 8);
            wasi::Ledger other;
            Model<double> dense(tiny_config, other);
            auto from = nn::selected_layers(model, nn::Layers::all);
            randomize(dense, 1);
            auto to = nn::selected_layers(dense, nn::Layers::all);
            for (std::size_t l = 0; l < from.size(); ++l) {
                const Index o = from[l]->weight.outputs();
                const Dense one = Dense::Identity(o, o);
                static_cast<void>(from[l]->weight.form().adjoint(to[l]->weight.matrix(), view(one), memory));
            }
            RecordingSink<double> sink;
            static_cast<void>(loss_and_gradients(dense, data, sink));
            for (std::size_t l = 0; l < start.size(); ++l) {
                const auto& found = start[l];
                CAPTURE(found.layer);
                const Dense g = dense_of(sink.at(found.layer).dense, found.outputs, found.inputs);
                CHECK(found.gradient == doctest::Approx(g.norm()).epsilon(1e-9));
                const auto w = std::as_const(to[l]->weight).matrix();
                const Eigen::JacobiSVD<Dense> svd(dense_of(elements(w), found.outputs, found.inputs),
                                                  Eigen::ComputeThinU | Eigen::ComputeThinV);
                const Dense u = svd.matrixU().leftCols(found.rank);
                const Dense v = svd.matrixV().leftCols(found.rank);
                CHECK(found.tangent == doctest::Approx(plain_share(g, u, v)).epsilon(1e-7));
                CHECK(found.rank == (found.rank == 5 ? 5 : [&] {  // the fewest that keep 0.9
                          const double all = svd.singularValues().squaredNorm();
                          Index k = 0;
                          for (double sum = 0.0; sum < 0.9 * all; ++k) {
                              sum += std::pow(svd.singularValues()(k), 2);
                          }
                          return k;
                      }()));
                CHECK(found.input_energy >= 0.9);
                CHECK(again[l].gradient == found.gradient);
                CHECK(again[l].tangent == again[l].tangent_of_start);
                for (const auto& drift : {again[l].left, again[l].right, again[l].input}) {
                    CHECK(drift.overlap == doctest::Approx(1.0).epsilon(1e-12));
                    CHECK(drift.overlap_last == doctest::Approx(1.0).epsilon(1e-12));
                    CHECK(drift.largest_angle <= 1e-5);
                }
                CHECK(again[l].held == doctest::Approx(1.0).epsilon(1e-12));
                CHECK(again[l].spectrum <= 1e-12);
            }
        }
        CHECK(memory.total().current == before);
        CHECK(snapshot(model) == kept);
    }
}

TEST_CASE("watched: a weight that moves, against its decompositions written out")
{
    wasi::Ledger memory;
    Model<double> model(tiny_config, memory);
    randomize(model, 1);
    const auto data = random_images<double>(tiny_config, 4, 2);
    const std::vector<Index> which{0, 1, 2, 3};
    measure::SubspaceWatch<Model<double>> watch(model);
    const auto start = watch.measure(source_of(data, which), data.gather_labels(which));
    auto& weight = nn::selected_layers(model, nn::Layers::all).front()->weight;
    const auto dense = [&] {
        return dense_of(elements(std::as_const(weight).matrix()), weight.outputs(), weight.inputs());
    };
    const Dense before = dense();
    EigenStorage::add_scaled(weight.matrix(), 1.0, 0.3,
                             random_matrix<double>(weight.outputs(), weight.inputs(), 9).view());
    const Dense after = dense();
    const auto all = watch.measure(source_of(data, which), data.gather_labels(which));
    const auto& found = all.front();
    const Eigen::JacobiSVD<Dense> first(before, Eigen::ComputeThinU | Eigen::ComputeThinV);
    const Eigen::JacobiSVD<Dense> second(after, Eigen::ComputeThinU | Eigen::ComputeThinV);
    const Index k = start.front().rank;
    CHECK(found.rank == k);
    const Dense u0 = first.matrixU().leftCols(k);
    const Dense v0 = first.matrixV().leftCols(k);
    const Dense u = second.matrixU().leftCols(k);
    const Dense v = second.matrixV().leftCols(k);
    const Eigen::VectorXd s0 = first.singularValues().head(k);
    const Eigen::VectorXd s = second.singularValues().head(k);
    CHECK(found.left.overlap == doctest::Approx((u0.transpose() * u).squaredNorm() / static_cast<double>(k)));
    CHECK(found.left.overlap < 0.99);
    CHECK(found.right.overlap == doctest::Approx((v0.transpose() * v).squaredNorm() / static_cast<double>(k)));
    CHECK(found.spectrum == doctest::Approx((s - s0).norm() / s0.norm()));
    const Dense low = u * s.asDiagonal() * v.transpose();
    CHECK(found.held == doctest::Approx((u0.transpose() * low * v0).squaredNorm() / low.squaredNorm()));
    RecordingSink<double> sink;
    static_cast<void>(loss_and_gradients(model, data, sink));
    const Dense g = dense_of(sink.at(found.layer).dense, found.outputs, found.inputs);
    CHECK(found.tangent == doctest::Approx(plain_share(g, u, v)));
    CHECK(found.tangent_of_start == doctest::Approx(plain_share(g, u0, v0)));
    CHECK(std::abs(found.tangent - found.tangent_of_start) > 1e-3);
    CHECK(found.input.overlap == doctest::Approx(1.0).epsilon(1e-10));  // the first layer's input is as it was
    CHECK(found.input_held == doctest::Approx(found.input_energy).epsilon(1e-10));
    CHECK(all[1].input.overlap < 1.0 - 1e-6);  // that of the next is not
    CHECK(all[1].input_held < all[1].input_energy);
}

TEST_CASE("watched: state goes on where it was")
{
    wasi::Ledger memory;
    Model<double> model(tiny_config, memory);
    randomize(model, 1);
    const auto data = random_images<double>(tiny_config, 4, 2);
    const std::vector<Index> which{0, 1, 2, 3};
    const auto labels = data.gather_labels(which);
    measure::SubspaceWatch<Model<double>> one(model);
    static_cast<void>(one.measure(source_of(data, which), labels));
    const wasi_tests::TemporaryFolder folder;
    const auto path = folder.path() / "watch.safetensors";
    {
        wasi::files::StateWriter writer(false);
        one.state(writer);
        writer.write(path);
    }
    measure::SubspaceWatch<Model<double>> other(model);
    {
        const wasi::io::SafetensorsFile file(path);
        wasi::files::StateReader reader(file, path, false);
        other.state(reader);
        reader.require_all_read();
    }
    auto& weight = nn::selected_layers(model, nn::Layers::all).back()->weight;
    EigenStorage::add_scaled(weight.matrix(), 1.0, 0.3,
                             random_matrix<double>(weight.outputs(), weight.inputs(), 9).view());
    const auto here = one.measure(source_of(data, which), labels);
    const auto there = other.measure(source_of(data, which), labels);
    for (std::size_t l = 0; l < here.size(); ++l) {
        CHECK(here[l].left.overlap == there[l].left.overlap);
        CHECK(here[l].left.largest_angle == there[l].left.largest_angle);
        CHECK(here[l].tangent_of_start == there[l].tangent_of_start);
        CHECK(here[l].input.overlap_last == there[l].input.overlap_last);
        CHECK(here[l].spectrum == there[l].spectrum);
    }
    CHECK(here.back().left.overlap < 0.99);
}

TEST_CASE("watched: no energy, no examples, numbers that are none")
{
    wasi::Ledger memory;
    Model<double> model(tiny_config, memory);
    randomize(model, 1);
    using Watch = measure::SubspaceWatch<Model<double>>;
    CHECK_THROWS_AS(Watch(model, {.energy = 0.0}), wasi::argument_error);
    CHECK_THROWS_AS(Watch(model, {.energy = 1.5}), wasi::argument_error);
    auto data = random_images<double>(tiny_config, 2, 2);
    data.images.front() = std::numeric_limits<double>::quiet_NaN();
    Watch watch(model, {.layers = nn::Layers::mlp});
    const std::vector<Index> which{0, 1};
    CHECK_THROWS_AS(static_cast<void>(watch.measure(source_of(data, which), data.gather_labels(which))), wasi::error);
}

}  // namespace
