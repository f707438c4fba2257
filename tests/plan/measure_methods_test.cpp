// What ways to train would do to features and gradients: against dense projectors, SVDs by Eigen, and gradients that
// were really made with rounded saves; and the bytes that looking takes, against the ledger.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <Eigen/Dense>

#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/plan/measure_methods.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using Eigen::MatrixXd;
using wasi::ConstMatrixView;
using wasi::Precision;
using wasi::RandomKey;
using wasi::Tensor;
using wasi::nn::VisionTransformerConfig;
using wasi::plan::MethodErrors;
using wasi::plan::MethodMeasurement;

constexpr VisionTransformerConfig config{
    .image = 16, .patch = 4, .dim = 24, .depth = 2, .heads = 3, .mlp = 48, .classes = 5};

template <class T>
[[nodiscard]] MatrixXd dense(ConstMatrixView<T> view)
{
    MatrixXd result(view.rows, view.cols);
    for (Index i = 0; i < view.rows; ++i) {
        for (Index j = 0; j < view.cols; ++j) {
            result(i, j) = static_cast<double>(view(i, j));
        }
    }
    return result;
}

template <class T>
[[nodiscard]] Tensor<T> random(Index rows, Index cols, std::uint64_t seed)
{
    Tensor<T> result(wasi::plain_memory(), {}, {rows, cols});
    EigenStorage::fill_normal(result.matrix(), RandomKey(seed));
    return result;
}

/// The projector on the columns of a matrix.
[[nodiscard]] MatrixXd projector(const MatrixXd& a)
{
    return a * (a.transpose() * a).inverse() * a.transpose();
}

/// ||P_T dW||² with dense projectors.
[[nodiscard]] double tangent_part(const MatrixXd& dw, const MatrixXd& left, const MatrixXd& right)
{
    const MatrixXd l = projector(left);
    const MatrixXd r = projector(right);
    return (l * dw + dw * r - l * dw * r).squaredNorm();
}

TEST_CASE_TEMPLATE("held gradient: the parts are those of dense projectors, gradients formed or not", T, float, double)
{
    const auto close = [](double value) {
        return doctest::Approx(value).epsilon(200.0 * static_cast<double>(std::numeric_limits<T>::epsilon()));
    };
    auto& memory = wasi::plain_memory();
    for (const Index rows : {4, 60}) {  // 4 rows: from Gram matrices of 4 x 4
        const auto dy = random<T>(rows, 14, 1);
        const auto x = random<T>(rows, 9, 2);
        const MatrixXd dw = dense<T>(dy.matrix()).transpose() * dense<T>(x.matrix());
        auto left = random<T>(14, 5, 3);
        auto right = random<T>(9, 5, 4);
        wasi::linalg::orthonormalize_columns<EigenStorage, T>(left.matrix(), memory);
        wasi::linalg::orthonormalize_columns<EigenStorage, T>(right.matrix(), memory);
        const std::vector<Index> ranks{1, 0, 3, 5};
        const auto parts = wasi::subspace::tangent_parts<EigenStorage, T>(
            dy.matrix(), x.matrix(), std::as_const(left).matrix(), std::as_const(right).matrix(), ranks, memory);
        for (std::size_t i = 0; i < ranks.size(); ++i) {
            CAPTURE(ranks[i]);
            const double expected = ranks[i] == 0
                                        ? dw.squaredNorm()
                                        : tangent_part(dw, dense<T>(std::as_const(left).matrix()).leftCols(ranks[i]),
                                                       dense<T>(std::as_const(right).matrix()).leftCols(ranks[i]));
            CHECK(parts[i] == close(expected));
        }
        for (const Index half : {Index{0}, rows / 2}) {
            const auto found =
                wasi::plan::adapter_parts<EigenStorage, T>(dy.matrix(), x.matrix(), half, 3, RandomKey(7), memory);
            const MatrixXd a = dense<T>(random<T>(9, 3, 7).matrix());  // Aᵀ, as it is drawn
            const Index fitted = half == 0 ? rows : half;
            const MatrixXd first =
                dense<T>(dy.matrix()).topRows(fitted).transpose() * dense<T>(x.matrix()).topRows(fitted);
            const MatrixXd rest = dense<T>(dy.matrix()).bottomRows(rows - half).transpose() *
                                  dense<T>(x.matrix()).bottomRows(rows - half);
            CHECK(found.gradient == close(rest.squaredNorm()));
            CHECK(found.b_alone == close((rest * projector(a)).squaredNorm()));
            if (fitted >= 3) {
                CHECK(found.both == close(tangent_part(rest, first * projector(a) * a, a)));
            }
        }
    }
}

[[nodiscard]] std::vector<Index> range(Index first, Index last)
{
    std::vector<Index> numbers(static_cast<std::size_t>(last - first));
    std::iota(numbers.begin(), numbers.end(), first);
    return numbers;
}

[[nodiscard]] Dataset<float> part_of(const Dataset<float>& data, Index first, Index last)
{
    Dataset<float> part = data;
    const auto pixels = data.channels * data.height * data.width;
    part.count = last - first;
    part.images.assign(data.images.begin() + first * pixels, data.images.begin() + last * pixels);
    part.labels.assign(data.labels.begin() + first, data.labels.begin() + last);
    return part;
}

[[nodiscard]] MethodMeasurement usual()
{
    MethodMeasurement options;
    options.adapter_rank = 4;
    options.weight_ranks.assign(8, {0, 3, 8});
    return options;
}

/// Gradients of the weights of the blocks on these images.
[[nodiscard]] std::vector<MatrixXd> gradients(Model<float>& model, const Dataset<float>& data)
{
    RecordingSink<float> sink;
    static_cast<void>(loss_and_gradients(model, data, sink));
    std::vector<MatrixXd> result;
    for (const auto* layer : wasi::nn::selected_layers(model, wasi::nn::Layers::all)) {
        const auto& entry = sink.at(layer->weight.name()).dense;
        result.emplace_back(Eigen::Map<const Eigen::Matrix<double, -1, -1, Eigen::RowMajor>>(
            entry.data(), layer->weight.outputs(), layer->weight.inputs()));
    }
    return result;
}

TEST_CASE("method errors: features and gradients as SVDs, projectors and rounding by hand have them")
{
    wasi::Ledger ledger;
    Model<float> model(config, ledger);
    randomize(model, 3);
    const auto data = random_images<float>(config, 8, 5);
    const auto which = range(0, 8);
    const auto before = snapshot(model);
    const MethodErrors found = wasi::plan::measure_methods(model, data, which, usual());
    CHECK(snapshot(model) == before);
    const auto layers = wasi::nn::selected_layers(model, wasi::nn::Layers::all);
    REQUIRE(found.layers.size() == layers.size());
    const auto gains = wasi::plan::output_gains(model, std::span<wasi::nn::Linear<float, EigenStorage>* const>(layers),
                                                data, which, 8);
    // The loss is a mean, so half of the images have half of it.
    const auto checked = gradients(model, part_of(data, 4, 8));
    double said = 0.0;
    double made = 0.0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        CAPTURE(found.layers[i].layer);
        CHECK(found.layers[i].layer == layers[i]->weight.name());
        MatrixXd x;
        auto observer = std::make_shared<wasi::nn::LayerObserver<float>>();
        observer->forward = [&](ConstMatrixView<float> seen, ConstMatrixView<float>) { x = dense(seen); };
        layers[i]->observe(observer);
        const wasi::autograd::Context<float, EigenStorage> context{ledger, nullptr};
        static_cast<void>(model.forward(context, wasi::nn::Source<float>([&](wasi::Memory& memory) {
                                            return data.gather(which, RandomKey(0), memory);
                                        })));
        layers[i]->observe(nullptr);
        const MatrixXd w = dense(std::as_const(layers[i]->weight).matrix());
        const Eigen::RowVectorXd gain = dense(gains[i].gain.matrix()).row(0);
        const auto error = [&](const MatrixXd& apart) {
            return (x * apart.transpose() * gain.asDiagonal()).squaredNorm() / static_cast<double>(x.rows());
        };
        const Eigen::JacobiSVD<MatrixXd> svd(w, Eigen::ComputeThinU | Eigen::ComputeThinV);
        const MatrixXd dw = 0.5 * checked[i];
        CHECK(found.layers[i].adapter.gradient == doctest::Approx(dw.squaredNorm()).epsilon(1e-4));
        CHECK(found.layers[i].output_errors[0] == 0.0);
        CHECK(found.layers[i].weight_parts[0] == doctest::Approx(dw.squaredNorm()).epsilon(1e-4));
        for (const std::size_t j : {1U, 2U}) {
            const Index rank = usual().weight_ranks[i][j];
            const MatrixXd u = svd.matrixU().leftCols(rank);
            const MatrixXd v = svd.matrixV().leftCols(rank);
            CHECK(found.layers[i].output_errors[j] ==
                  doctest::Approx(error(w - u * svd.singularValues().head(rank).asDiagonal() * v.transpose()))
                      .epsilon(1e-3));
            CHECK(found.layers[i].weight_parts[j] == doctest::Approx(tangent_part(dw, u, v)).epsilon(1e-3));
        }
        for (const auto format : {Precision::bfloat16, Precision::int8}) {
            wasi::nn::FrozenMatrix<float, EigenStorage> rounded;
            rounded.values = Tensor<float>(ledger, {}, layers[i]->weight.shape());
            EigenStorage::copy(rounded.values.matrix(), std::as_const(layers[i]->weight).matrix());
            rounded.pack(format);
            Tensor<float> back(ledger, {}, layers[i]->weight.shape());
            rounded.copy_rows(back.matrix(), 0);
            const MatrixXd apart = dense(std::as_const(back).matrix()) - w;
            const auto rows =
                wasi::plan::rounding_rows<EigenStorage>(std::as_const(layers[i]->weight).matrix(), format, ledger);
            for (Index o = 0; o < w.rows(); ++o) {
                CHECK(rows[static_cast<std::size_t>(o)] == doctest::Approx(apart.row(o).squaredNorm()).epsilon(1e-3));
            }
            if (format == Precision::int8) {
                said += found.layers[i].rounding_error(rows);
                made += error(apart);
            }
        }
    }
    // Rounding is taken to know nothing of the inputs; in so small a layer it is not quite so.
    CHECK(std::abs(said - made) <= 0.2 * made);
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::measure_methods(model, data, range(0, 1), usual())),
                    wasi::argument_error);
    auto too_few = usual();
    too_few.weight_ranks.pop_back();
    CHECK_THROWS_AS(static_cast<void>(wasi::plan::measure_methods(model, data, which, too_few)), wasi::argument_error);
}

TEST_CASE("method errors: of saves in fewer bits, what the gradients really err")
{
    wasi::Ledger ledger;
    Model<float> model(config, ledger);
    randomize(model, 3);
    const auto data = random_images<float>(config, 8, 5);
    const MethodErrors found = wasi::plan::measure_methods(model, data, range(0, 8), usual());
    wasi::nn::KeepOptions keep{.recompute = wasi::nn::Recompute::block};
    const auto exact = gradients(model, data);
    for (const auto format : {Precision::bfloat16, Precision::int8, Precision::int4}) {
        CAPTURE(to_string(format));
        keep.saved_as = format;
        wasi::nn::keep(model, keep);
        const auto rounded = gradients(model, data);
        double apart = 0.0;
        double all = 0.0;
        for (std::size_t i = 0; i < exact.size(); ++i) {
            apart += (rounded[i] - exact[i]).squaredNorm();
            all += exact[i].squaredNorm();
        }
        CHECK(found.save_error(format) == doctest::Approx(std::sqrt(apart / all)).epsilon(0.25));
    }
    CHECK(found.save_error(Precision::full) == 0.0);
    CHECK(found.save_error(Precision::bfloat16) < found.save_error(Precision::int8));
    CHECK(found.save_error(Precision::int8) < found.save_error(Precision::int4));
}

TEST_CASE("method errors: looking takes what is forecast, and sees the same in adapters that do nothing")
{
    const auto threads = wasi::thread_count();
    wasi::set_thread_count(1);
    const auto data = random_images<float>(config, 12, 5);
    const auto which = range(0, 8);
    std::vector<MethodErrors> seen;
    for (const auto held : {Precision::full, Precision::bfloat16, Precision::int8}) {
        CAPTURE(to_string(held));
        wasi::Ledger ledger;
        Model<float> model(config, ledger);
        randomize(model, 3);
        wasi::plan::hold_for_measurement(model, held);
        ledger.reset_peaks();
        seen.push_back(wasi::plan::measure_methods(model, data, which, usual()));
        const std::size_t said = wasi::plan::forecast_measurement<Model<float>>(config, 8, held, usual(), 1);
        CHECK(ledger.total().peak <= said);
        CHECK(said < 2 * ledger.total().peak);
        const double all = seen.front().layers[2].adapter.both;
        CHECK(seen.back().layers[2].adapter.both == doctest::Approx(all).epsilon(0.05));
    }
    wasi::Ledger ledger;
    Model<float> model(config, ledger);
    randomize(model, 3);
    const auto as_dense = wasi::plan::measure_methods(model, data, which, usual());
    for (std::size_t i = 0; i < as_dense.layers.size(); ++i) {
        CHECK(seen[0].layers[i].adapter.both == doctest::Approx(as_dense.layers[i].adapter.both).epsilon(1e-4));
        CHECK(seen[0].layers[i].output_errors[1] == doctest::Approx(as_dense.layers[i].output_errors[1]).epsilon(1e-3));
    }
    // With outputs that were calibrated before: parts of the gradient at these ranks, and their bytes.
    ledger.reset_peaks();
    {
        const auto outputs = wasi::plan::calibrate_outputs(model, data, range(0, 8), range(8, 12), {.batch_size = 4});
        wasi::plan::hold_for_measurement(model, Precision::full);
        auto options = usual();
        options.output_ranks.assign(8, {4, 8});
        const std::span<const wasi::plan::LayerOutputs<float>> found(outputs);
        const auto errors = wasi::plan::measure_methods(model, data, which, options, found);
        for (std::size_t i = 0; i < errors.layers.size(); ++i) {
            const auto& layer = errors.layers[i];
            CHECK(layer.output_parts[0] <= layer.output_parts[1] * (1.0 + 1e-5));
            CHECK(layer.output_parts[1] <= layer.adapter.gradient * (1.0 + 1e-5));
            CHECK(layer.output_parts[0] > 0.0);
        }
        const auto layers = wasi::nn::selected_layers(model, wasi::nn::Layers::all);
        for (auto* layer : layers) {
            wasi::nn::drop_adapter(layer->weight);
        }
        const std::vector<Index> ranks(8, 8);
        const auto checked = gradients(model, part_of(data, 4, 8));  // of the dense model
        wasi::plan::hold_outputs(model, found, std::span<const Index>(ranks));
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const auto product = layers[i]->weight.low_rank();
            CHECK(errors.layers[i].output_parts[1] ==
                  doctest::Approx(
                      tangent_part(0.5 * checked[i], dense(product.left()), dense(product.right()).transpose()))
                      .epsilon(1e-3));
        }
    }
    CHECK(ledger.total().peak <=
          wasi::plan::forecast_output_measurement<Model<float>>(config, {8, 4, 8}, {.batch_size = 4}, usual(), 1));
    wasi::set_thread_count(threads);
}

}  // namespace
