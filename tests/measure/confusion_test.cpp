#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <wasi/measure/confusion.hpp>

namespace {

using wasi::Index;
using wasi::measure::ConfusionMatrix;
using wasi::measure::Guess;
using wasi::measure::likeliest;

TEST_CASE("confusion: counts, accuracy and macro F1 as scikit-learn has them")
{
    const std::vector<int> labels{0, 0, 0, 1, 1, 2, 2, 2, 2, 4};
    const std::vector<Index> predicted{0, 0, 1, 1, 2, 2, 2, 0, 3, 2};
    ConfusionMatrix matrix(6);
    for (std::size_t i = 0; i < labels.size(); ++i) {
        matrix.add(labels[i], predicted[i]);
    }
    CHECK(matrix.total() == 10);
    CHECK(matrix.correct() == 5);
    CHECK(matrix.count(0, 1) == 1);
    CHECK(matrix.count(1, 0) == 0);
    CHECK(matrix.count(2, 2) == 2);
    CHECK(matrix.mistakes().size() == 5);
    CHECK(matrix.mistakes().at({2, 3}) == 1);
    CHECK(matrix.examples(2) == 4);
    CHECK(matrix.predictions(2) == 4);
    // f1_score(labels, predicted, average=None) and average="macro" of scikit-learn 1.9.
    CHECK(matrix.f1(0) == doctest::Approx(0.66666667));
    CHECK(matrix.f1(1) == doctest::Approx(0.5));
    CHECK(matrix.f1(2) == doctest::Approx(0.5));
    CHECK(matrix.f1(3) == 0.0);  // predicted, and there is none
    CHECK(matrix.f1(4) == 0.0);  // there is one, and nobody saw it
    CHECK(std::isnan(matrix.f1(5)));
    CHECK(matrix.macro_f1() == doctest::Approx(0.3333333333333333));
    CHECK(std::isnan(ConfusionMatrix(3).macro_f1()));
    CHECK_THROWS_AS(matrix.add(-1, 0), wasi::argument_error);
    CHECK_THROWS_AS(matrix.add(6, 0), wasi::argument_error);
    CHECK_THROWS_AS(matrix.add(0, 6), wasi::argument_error);
    CHECK_THROWS_AS(ConfusionMatrix(0), wasi::argument_error);
}

TEST_CASE("likeliest: softmax's probabilities, the largest first, of equal ones the first")
{
    const std::vector<float> logits{1.0F, 3.0F, -2.0F, 3.0F, 0.5F};
    const auto all = likeliest(std::span<const float>(logits), 9);
    REQUIRE(all.size() == 5);
    const std::vector<Index> order{1, 3, 0, 4, 2};
    double sum = 0.0;
    for (const float z : logits) {
        sum += std::exp(static_cast<double>(z));
    }
    double total = 0.0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        CHECK(all[i].label == order[i]);
        CHECK(all[i].probability ==
              doctest::Approx(std::exp(static_cast<double>(logits[static_cast<std::size_t>(order[i])])) / sum));
        total += all[i].probability;
    }
    CHECK(total == doctest::Approx(1.0));
    CHECK(likeliest(std::span<const float>(logits), 2).size() == 2);
    CHECK(likeliest(std::span<const float>(logits), 0).empty());
    CHECK(likeliest(std::span<const float>(), 3).empty());
    const std::vector<double> huge{1e300, -1e300};
    CHECK(likeliest(std::span<const double>(huge), 1).front().probability == 1.0);
}

}  // namespace
