// A linear classifier on features: its leave-one-out error against fits without each example, and its guesses.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include <support/matrices.hpp>
#include <support/naive_storage.hpp>
#include <wasi/measure/features.hpp>
#include <wasi/measure/linear_probe.hpp>
#include <wasi/storage/eigen.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::ConstMatrixView;
using wasi::EigenStorage;

/// Classes that lie apart by `apart` deviations along feature 0.
struct Clouds {
    Clouds(Index count, Index features, Index classes, double apart, std::uint64_t seed)
        : values(random_matrix<float>(count, features, seed))
    {
        for (Index i = 0; i < count; ++i) {
            labels.push_back(i % classes);
            values.view()(i, 0) += static_cast<float>(apart * static_cast<double>(labels.back()));
            values.view()(i, 1) *= 1e3F;  // scales do not matter
        }
    }
    Matrix<float> values;
    std::vector<std::int64_t> labels;
};

/// Mean square of what fits without each example miss, each fit by the normal equations with an intercept that is not
/// penalised. Features standardised on all examples.
[[nodiscard]] double left_out(const Clouds& data, Index classes, double penalty)
{
    const Index n = data.values.view().rows;
    const Index f = data.values.view().cols;
    const auto scale = wasi::measure::detail::ColumnScale::of(ConstMatrixView<float>(data.values.view()));
    const auto x = scale.applied(ConstMatrixView<float>(data.values.view()), wasi::plain_memory());
    double trace = 0.0;
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < f; ++j) {
            trace += x.matrix()(i, j) * x.matrix()(i, j);
        }
    }
    const auto at = [&](Index i, Index j) { return j == f ? 1.0 : x.matrix()(i, j); };
    double sum = 0.0;
    for (Index out = 0; out < n; ++out) {
        Matrix<double> a(f + 1, f + 1);
        Matrix<double> b(f + 1, classes);
        for (Index j = 0; j <= f; ++j) {
            for (Index k = 0; k <= f; ++k) {
                a.view()(j, k) = j == k && j < f ? penalty * trace / static_cast<double>(f) : 0.0;
                for (Index i = 0; i < n; ++i) {
                    a.view()(j, k) += i == out ? 0.0 : at(i, j) * at(i, k);
                }
            }
            for (Index c = 0; c < classes; ++c) {
                b.view()(j, c) = 0.0;
                for (Index i = 0; i < n; ++i) {
                    b.view()(j, c) += i != out && data.labels[static_cast<std::size_t>(i)] == c ? at(i, j) : 0.0;
                }
            }
        }
        REQUIRE(NaiveStorage::solve_spd(a.view(), b.view(), wasi::plain_memory()));
        for (Index c = 0; c < classes; ++c) {
            double guess = 0.0;
            for (Index j = 0; j <= f; ++j) {
                guess += at(out, j) * b.view()(j, c);
            }
            const double rest = (data.labels[static_cast<std::size_t>(out)] == c ? 1.0 : 0.0) - guess;
            sum += rest * rest / static_cast<double>(n);
        }
    }
    return sum;
}

TEST_CASE("linear probe: the penalty has the least error of fits that leave one example out")
{
    const Clouds data(20, 4, 3, 1.0, 1);
    const auto probe = wasi::measure::linear_probe<EigenStorage, float>(
        data.values.view(), data.labels, data.values.view(), data.labels, 3, wasi::plain_memory());
    CHECK(probe.count == 20);
    CHECK(probe.error == doctest::Approx(left_out(data, 3, probe.penalty)).epsilon(1e-9));
    for (int third = -12; third <= 12; ++third) {
        CHECK(left_out(data, 3, std::pow(10.0, third / 3.0)) >= probe.error * (1.0 - 1e-9));
    }
}

TEST_CASE("linear probe: tells what lies apart from what does not, on other examples")
{
    const Clouds train(300, 6, 3, 8.0, 2);
    const Clouds test(150, 6, 3, 8.0, 3);
    const Clouds alike(300, 6, 3, 0.0, 4);
    const auto guess = [](const Clouds& from, const Clouds& to) {
        return wasi::measure::linear_probe<EigenStorage, float>(from.values.view(), from.labels, to.values.view(),
                                                                to.labels, 3, wasi::plain_memory())
            .correct;
    };
    CHECK(guess(train, test) >= 95);  // indicators of a class in the middle are not linear
    CHECK(guess(alike, test) <= 75);
    CHECK(guess(train, train) >= 190);
    // Two classes far apart are told without fail.
    const Clouds two(60, 3, 2, 20.0, 5);
    CHECK(wasi::measure::linear_probe<EigenStorage, float>(two.values.view(), two.labels, two.values.view(), two.labels,
                                                           2, wasi::plain_memory())
              .correct == 60);
}

TEST_CASE("linear probe: what an example is taken for does not depend on the other test examples")
{
    const Clouds train(300, 6, 3, 8.0, 2);
    const Clouds test(150, 6, 3, 8.0, 3);
    const auto correct = [&](ConstMatrixView<float> features, const std::vector<std::int64_t>& labels) {
        return wasi::measure::linear_probe<EigenStorage, float>(train.values.view(), train.labels, features, labels, 3,
                                                                wasi::plain_memory())
            .correct;
    };
    Index sum = 0;
    for (Index label = 0; label < 3; ++label) {
        Matrix<float> part(50, 6);
        for (Index i = 0; i < 50; ++i) {
            for (Index j = 0; j < 6; ++j) {
                part.view()(i, j) = test.values.view()(3 * i + label, j);
            }
        }
        sum += correct(part.view(), std::vector<std::int64_t>(50, label));
    }
    CHECK(sum == correct(test.values.view(), test.labels));
}

TEST_CASE("linear probe: features without spread say nothing; what does not fit is refused")
{
    Clouds data(10, 3, 2, 1.0, 6);
    const auto probe = [&](ConstMatrixView<float> test, const std::vector<std::int64_t>& labels, Index classes) {
        return wasi::measure::linear_probe<EigenStorage, float>(data.values.view(), data.labels, test, labels, classes,
                                                                wasi::plain_memory());
    };
    const std::vector<std::int64_t> one{1};
    CHECK_THROWS_AS(static_cast<void>(probe(data.values.view().block(0, 0, 1, 2), one, 2)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(probe(data.values.view(), one, 2)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(probe(data.values.view(), data.labels, 1)), wasi::argument_error);
    for (Index i = 0; i < 10; ++i) {
        for (Index j = 0; j < 3; ++j) {
            data.values.view()(i, j) = 7.0F;
        }
    }
    data.labels.assign(10, 1);
    data.labels[0] = 0;
    CHECK(probe(data.values.view(), data.labels, 2).correct == 9);  // the class that there is more of
    data.values.view()(0, 0) = std::nanf("");
    CHECK_THROWS_AS(static_cast<void>(probe(data.values.view(), data.labels, 2)), wasi::argument_error);
}

TEST_CASE("agreement: 1 for the same up to length, 0 for nothing in common, by the others' mean")
{
    const auto a = random_matrix<float>(50, 8, 7);
    auto b = a;
    CHECK(wasi::measure::agreement<float>(a.view(), b.view()) == doctest::Approx(1.0));
    std::vector<double> mean(8, 0.0);
    for (Index i = 0; i < 50; ++i) {
        for (Index j = 0; j < 8; ++j) {
            mean[static_cast<std::size_t>(j)] += a.view()(i, j) / 50.0;
        }
    }
    for (Index i = 0; i < 50; ++i) {
        for (Index j = 0; j < 8; ++j) {
            const auto middle = static_cast<float>(mean[static_cast<std::size_t>(j)]);
            b.view()(i, j) = middle + (i % 2 == 0 ? 2.0F : -0.5F) * (a.view()(i, j) - middle);
        }
    }
    CHECK(std::abs(wasi::measure::agreement<float>(b.view(), a.view())) <= 1e-6);
    const auto other = random_matrix<float>(50, 8, 8);
    CHECK(std::abs(wasi::measure::agreement<float>(other.view(), a.view())) <= 0.25);
    CHECK_THROWS_AS(static_cast<void>(wasi::measure::agreement<float>(other.view().row_block(0, 3), a.view())),
                    wasi::shape_error);
}

}  // namespace
