#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/tensor/warm_tucker.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::RankRule;
using wasi::tensor::Tucker;
using wasi::tensor::warm_tucker_step;
using wasi_tests::Matrix;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;
using wasi_tests::Values;

/// X (batch, tokens, features) whose last unfolding has the given singular values.
template <class T>
PlainTensor<T, 3> tensor_with_spectrum(Index batch, Index tokens, Index features, const Values& values,
                                       std::uint64_t seed)
{
    const auto rows = wasi_tests::matrix_with_spectrum<T>(batch * tokens, features, values, seed);
    PlainTensor<T, 3> x({batch, tokens, features});
    for (Index i = 0; i < rows.view().rows; ++i) {
        for (Index j = 0; j < features; ++j) {
            x.elements[static_cast<std::size_t>(i * features + j)] = rows(i, j);
        }
    }
    return x;
}

/// The leading `rank` feature directions of X, in double.
template <class T>
Matrix<double> leading_features(const PlainTensor<T, 3>& x, Index rank)
{
    const auto unfolded = wasi_tests::unfold_by_loops(x.view(), 2);
    const Index k = std::min(unfolded.view().rows, unfolded.view().cols);
    Matrix<double> u(unfolded.view().rows, k);
    Matrix<double> v(unfolded.view().cols, k);
    Values s(static_cast<std::size_t>(k));
    REQUIRE(wasi::EigenStorage::svd(std::as_const(unfolded).view(), u.view(), std::span<double>(s), v.view(),
                                    wasi::plain_memory()));
    Matrix<double> result(unfolded.view().rows, rank);
    wasi_tests::NaiveStorage::copy(result.view(), u.view().col_block(0, rank));
    return result;
}

/// A random basis, or one at some distance from `near`.
template <class T>
Matrix<T> start_basis(Index features, Index rank, std::uint64_t seed, const Matrix<double>* near = nullptr,
                      double distance = 1.0)
{
    auto v = wasi_tests::random_matrix<double>(features, rank, seed);
    if (near != nullptr) {
        wasi_tests::NaiveStorage::add_scaled(v.view(), distance, 1.0, near->view());
    }
    static_cast<void>(wasi_tests::naive::orthonormalize(v.view()));
    Matrix<T> result(features, rank);
    for (Index i = 0; i < features; ++i) {
        for (Index j = 0; j < rank; ++j) {
            result(i, j) = static_cast<T>(v(i, j));
        }
    }
    return result;
}

/// tan² of the largest angle between an orthonormal basis and the leading one.
template <class T>
double squared_tangent(const Matrix<double>& leading, const Matrix<T>& basis)
{
    const Index rank = basis.view().cols;
    Matrix<double> outside(basis.view().rows, rank);
    for (Index j = 0; j < rank; ++j) {
        for (Index i = 0; i < outside.view().rows; ++i) {
            outside(i, j) = static_cast<double>(basis(i, j));
        }
        for (Index k = 0; k < rank; ++k) {
            double along = 0.0;
            for (Index i = 0; i < outside.view().rows; ++i) {
                along += leading(i, k) * static_cast<double>(basis(i, j));
            }
            for (Index i = 0; i < outside.view().rows; ++i) {
                outside(i, j) -= along * leading(i, k);
            }
        }
    }
    const double sine = wasi_tests::spectral_norm(outside);
    return sine * sine / (1.0 - sine * sine);
}

/// What holds for every warm step: orthonormal bases, the energy identity, and token and batch modes that discard
/// exactly the tail of what they are given. Returns what the feature mode discards.
template <class T>
double check_step(const PlainTensor<T, 3>& x, const Tucker<T, 3>& tucker)
{
    const double whole = wasi_tests::squares(x.view());
    const double rounding = tolerance<T>(x.view().size(), whole);
    REQUIRE(tucker.shape() == x.shape);
    CHECK(wasi_tests::basis_defect(tucker) <= tolerance<T>(x.shape[2], 1.0));
    const double error = wasi_tests::squared_error<T, 3>(x.view(), tucker);
    CHECK(std::abs(error - (whole - wasi_tests::squares(tucker.core.template view<3>()))) <= rounding);
    CHECK(std::abs(tucker.captured_energy - (whole > 0.0 ? 1.0 - error / whole : 1.0)) <=
          tolerance<T>(x.view().size(), 1.0));
    auto left = wasi_tests::mode_product_by_loops(x.view(), tucker.bases[2].matrix().transposed(), 2);
    const double by_features = whole - wasi_tests::squares(left.view());
    double discarded = by_features;
    for (const std::size_t m : {std::size_t{1}, std::size_t{0}}) {
        const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(left.view(), m).view());
        const auto smaller = wasi_tests::mode_product_by_loops(left.view(), tucker.bases[m].matrix().transposed(), m);
        const double lost = wasi_tests::squares(left.view()) - wasi_tests::squares(smaller.view());
        CHECK(std::abs(lost - wasi_tests::tail_energy(values, tucker.ranks()[m])) <= rounding);
        discarded += lost;
        left = smaller;
    }
    CHECK(std::abs(error - discarded) <= rounding);
    return by_features;
}

TEST_CASE_TEMPLATE("warm tucker step: the feature mode discards at most tail² (1 + (s_{r+1} / s_r)² tan² theta)", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    constexpr Index rank = 4;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        for (const Values& values :
             {wasi_tests::polynomial(14, 0.5), wasi_tests::exponential(14, 0.7), wasi_tests::step(14, 4, 0.2)}) {
            const auto x = tensor_with_spectrum<T>(6, 5, 14, values, seed);
            const auto leading = leading_features(x, rank);
            for (const double distance : {0.05, 0.3, 1.0}) {
                const auto old = start_basis<T>(14, rank, seed + 50, &leading, distance);
                const double tangent = squared_tangent(leading, old);
                INFO("seed ", seed, ", tan² theta ", tangent);
                const auto tucker = warm_tucker_step<typename E::Storage, T>(x.view(), old.view(), RankRule(3),
                                                                             RankRule(3), wasi::plain_memory());
                CHECK(tucker.ranks() == std::array<Index, 3>{3, 3, rank});
                const double discarded = check_step(x, tucker);
                const double tail = wasi_tests::tail_energy(values, rank);
                const double gap = values[rank] / values[rank - 1];
                const double rounding = tolerance<T>(x.view().size(), wasi_tests::energy(values));
                CHECK(discarded <= tail * (1.0 + gap * gap * tangent) + rounding);
                CHECK(discarded >= tail - rounding);
            }
        }
    }
}

TEST_CASE_TEMPLATE("warm tucker step: repeated on one tensor the feature basis becomes the leading one", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const Values values{4.0, 3.0, 2.5, 1.0, 0.8, 0.5};
    const auto x = tensor_with_spectrum<T>(7, 4, 10, values, 5);
    auto basis = start_basis<T>(10, 3, 6);
    for (int step = 0; step < 25; ++step) {
        const auto tucker = warm_tucker_step<typename E::Storage, T>(x.view(), basis.view(), RankRule(7), RankRule(4),
                                                                     wasi::plain_memory());
        E::Storage::copy(basis.view(), tucker.bases[2].matrix());
        static_cast<void>(check_step(x, tucker));
    }
    CHECK(wasi_tests::projector_distance(basis.view(), leading_features(x, 3).view()) <= tolerance<T>(28, 4.0));
}

TEST_CASE_TEMPLATE("warm tucker step: batches of any size, ranks above what there is, zero and deficient tensors", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto basis = start_basis<T>(12, 5, 7);
    for (const Index batch : {1, 2, 3, 7, 19}) {
        INFO("batch ", batch);
        const auto x =
            tensor_with_spectrum<T>(batch, 3, 12, wasi_tests::exponential(std::min<Index>(12, 3 * batch), 0.7), 8);
        // Feature rank 5 is above what a batch of one (3 rows) has.
        const auto tucker =
            warm_tucker_step<S, T>(x.view(), basis.view(), RankRule(4), RankRule(2), wasi::plain_memory());
        CHECK(tucker.ranks() == std::array<Index, 3>{std::min<Index>(4, batch), 2, 5});
        const double discarded = check_step(x, tucker);
        if (batch == 1) {
            CHECK(discarded <= tolerance<T>(36, wasi_tests::squares(x.view())));
        }
        const auto exact =
            warm_tucker_step<S, T>(x.view(), basis.view(), RankRule(100), RankRule(Energy{1.0}), wasi::plain_memory());
        CHECK(std::abs(wasi_tests::squared_error<T, 3>(x.view(), exact) - check_step(x, exact)) <=
              tolerance<T>(684, wasi_tests::squares(x.view())));
    }
    const PlainTensor<T, 3> zero({2, 3, 12});
    const auto nothing =
        warm_tucker_step<S, T>(zero.view(), basis.view(), Energy{0.9}, Energy{0.9}, wasi::plain_memory());
    CHECK(nothing.ranks() == std::array<Index, 3>{1, 1, 5});
    CHECK(nothing.captured_energy == 1.0);
    static_cast<void>(check_step(zero, nothing));
    const auto one_token = tensor_with_spectrum<T>(6, 1, 12, {2.0, 1.0}, 9);
    static_cast<void>(check_step(one_token, warm_tucker_step<S, T>(one_token.view(), basis.view(), RankRule(2),
                                                                   RankRule(1), wasi::plain_memory())));
}

/// What holds for a warm step of any order, in double: orthonormal bases, and the modes from the last to the first
/// discard exactly the tail of what they are given. Returns what the feature mode discards.
template <class T, std::size_t N>
double check_any_order(const PlainTensor<T, N>& x, const Tucker<T, N>& tucker)
{
    const double whole = wasi_tests::squares(x.view());
    const double rounding = tolerance<T>(x.view().size(), whole);
    REQUIRE(tucker.shape() == x.shape);
    CHECK(wasi_tests::basis_defect(tucker) <= tolerance<T>(x.shape[N - 1], 1.0));
    auto left = wasi_tests::mode_product_by_loops(x.view(), tucker.bases[N - 1].matrix().transposed(), N - 1);
    const double by_features = whole - wasi_tests::squares(left.view());
    double discarded = by_features;
    for (std::size_t m = N - 1; m-- > 0;) {
        const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(left.view(), m).view());
        const auto smaller = wasi_tests::mode_product_by_loops(left.view(), tucker.bases[m].matrix().transposed(), m);
        const double lost = wasi_tests::squares(left.view()) - wasi_tests::squares(smaller.view());
        CHECK(std::abs(lost - wasi_tests::tail_energy(values, tucker.ranks()[m])) <= rounding);
        discarded += lost;
        left = smaller;
    }
    const double error = wasi_tests::squared_error<T, N>(x.view(), tucker);
    CHECK(std::abs(error - discarded) <= rounding);
    CHECK(std::abs(error - (1.0 - tucker.captured_energy) * whole) <= rounding);
    CHECK(std::abs(tucker.error * tucker.error * whole - error) <= rounding);
    return by_features;
}

TEST_CASE_TEMPLATE("warm tucker step: four modes (batch, height, width, features), and two", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const Values values{4.0, 3.0, 2.5, 1.0, 0.8, 0.5};
    for (const auto& extents : {std::array<Index, 4>{3, 4, 5, 12},
                                {1, 4, 5, 12},
                                {5, 1, 3, 12},
                                {75, 4, 2, 12}}) {  // the last: several blocks in each piece
        INFO("shape ", wasi::shape_text(extents));
        const Index rows = extents[0] * extents[1] * extents[2];
        const auto matrix = wasi_tests::matrix_with_spectrum<T>(rows, 12, values, 5);
        PlainTensor<T, 4> x(extents);
        PlainTensor<T, 2> flat({rows, 12});
        for (Index i = 0; i < rows * 12; ++i) {
            x.elements[static_cast<std::size_t>(i)] = matrix(i / 12, i % 12);
        }
        flat.elements = x.elements;
        const auto old = start_basis<T>(12, 3, 6);
        const auto four = warm_tucker_step<S, T, 4>(x.view(), old.view(), {2, Energy{0.9}, 2}, memory);
        const auto two = warm_tucker_step<S, T, 2>(flat.view(), old.view(), Energy{0.9}, memory);
        CHECK(four.ranks()[3] == 3);
        CHECK(four.ranks()[0] == std::min<Index>(2, extents[0]));
        const double discarded = check_any_order(x, four);
        // The same rows, so the same feature basis, whatever the other modes are called.
        const double rounding = tolerance<T>(x.view().size(), wasi_tests::energy(values));
        CHECK(std::abs(check_any_order(flat, two) - discarded) <= rounding);
        CHECK(wasi_tests::projector_distance(four.bases[3].matrix(), two.bases[1].matrix()) <= tolerance<T>(rows, 4.0));
        const double tangent = squared_tangent(leading_features(wasi_tests::PlainTensor<T, 3>{[&] {
                                                                    PlainTensor<T, 3> three({1, rows, 12});
                                                                    three.elements = x.elements;
                                                                    return three;
                                                                }()},
                                                                3),
                                               old);
        CHECK(discarded <=
              wasi_tests::tail_energy(values, 3) * (1.0 + std::pow(values[3] / values[2], 2.0) * tangent) + rounding);
        // The step for three modes is the step for three modes.
        PlainTensor<T, 3> three({extents[0], extents[1] * extents[2], 12});
        three.elements = x.elements;
        const auto named = warm_tucker_step<S, T>(three.view(), old.view(), RankRule(2), RankRule(Energy{0.9}), memory);
        const auto listed = warm_tucker_step<S, T, 3>(three.view(), old.view(), {2, Energy{0.9}}, memory);
        CHECK(wasi_tests::same_bits(named.core.matrix(), listed.core.matrix()));
        static_cast<void>(check_any_order(three, listed));
    }
}

TEST_CASE_TEMPLATE("warm tucker step: energies are fractions of the whole tensor's", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const auto x = wasi_tests::random_tensor<T, 3>({9, 8, 12}, 10);
    const double whole = wasi_tests::squares(x.view());
    const auto basis = start_basis<T>(12, 6, 11);
    for (const double fraction : {0.5, 0.8, 0.95}) {
        INFO("fraction ", fraction);
        const auto tucker = warm_tucker_step<typename E::Storage, T>(x.view(), basis.view(), Energy{fraction},
                                                                     Energy{fraction}, wasi::plain_memory());
        const double by_features = check_step(x, tucker);
        const double error = wasi_tests::squared_error<T, 3>(x.view(), tucker);
        CHECK(error - by_features <= 2.0 * (1.0 - fraction) * whole + tolerance<T>(864, whole));
        auto left = wasi_tests::mode_product_by_loops(x.view(), tucker.bases[2].matrix().transposed(), 2);
        for (const std::size_t m : {std::size_t{1}, std::size_t{0}}) {
            const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(left.view(), m).view());
            const Index rank = tucker.ranks()[m];
            CHECK(wasi_tests::tail_energy(values, rank) <= (1.0 - fraction) * whole);
            CHECK((rank == 1 || wasi_tests::tail_energy(values, rank - 1) > (1.0 - fraction) * whole));
            left = wasi_tests::mode_product_by_loops(left.view(), tucker.bases[m].matrix().transposed(), m);
        }
    }
}

TEST_CASE_TEMPLATE("warm tucker step: same bits for one and two threads, and the workspace comes back", T, float,
                   double)
{
    const int before = wasi::thread_count();
    const auto elements = wasi_tests::random_matrix<T>(16 * 25, 96, 12);
    const wasi::ConstTensorView<T, 3> x{elements.view().data, {16, 25, 96}};
    const auto basis = start_basis<T>(96, 16, 13);
    wasi::Ledger ledger;
    {
        const auto run = [&](int threads) {
            wasi::set_thread_count(threads);
            return warm_tucker_step<wasi::EigenStorage, T>(x, basis.view(), RankRule(8), RankRule(8), ledger);
        };
        const auto one = run(1);
        const auto two = run(2);
        wasi::set_thread_count(before);
        CHECK(wasi_tests::same_bits(one.core.matrix(), two.core.matrix()));
        for (std::size_t m = 0; m < 3; ++m) {
            CHECK(wasi_tests::same_bits(one.bases[m].matrix(), two.bases[m].matrix()));
        }
        CHECK(ledger.total().current == one.bytes() + two.bytes());
    }
    CHECK(ledger.total().current == 0);
}

TEST_CASE_TEMPLATE("warm tucker step: what cannot be throws and names the argument", T, float, double)
{
    auto x = wasi_tests::random_tensor<T, 3>({2, 3, 6}, 14);
    const auto attempt = [&](const Matrix<T>& basis) {
        static_cast<void>(warm_tucker_step<wasi::EigenStorage, T>(std::as_const(x).view(), basis.view(), RankRule(1),
                                                                  RankRule(1), wasi::plain_memory()));
    };
    CHECK_NOTHROW(attempt(start_basis<T>(6, 6, 1)));
    CHECK_THROWS_WITH_AS(attempt(start_basis<T>(5, 2, 1)),
                         "warm_tucker_step: a feature basis (5, 2) does not fit X (2, 3, 6)", wasi::shape_error);
    CHECK_THROWS_AS(attempt(wasi_tests::random_matrix<T>(6, 7, 1)), wasi::shape_error);
    CHECK_THROWS_AS(attempt(Matrix<T>(6, 0)), wasi::shape_error);
    auto spoiled = start_basis<T>(6, 2, 1);
    spoiled(5, 1) = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_WITH_AS(attempt(spoiled), "warm_tucker_step: feature_basis (6, 2) holds NaN or infinity",
                         wasi::argument_error);
    x.elements[20] = std::numeric_limits<T>::infinity();
    CHECK_THROWS_AS(attempt(start_basis<T>(6, 2, 1)), wasi::argument_error);
    x = PlainTensor<T, 3>({0, 3, 6});
    CHECK_THROWS_WITH_AS(attempt(start_basis<T>(6, 2, 1)), "warm_tucker_step: empty tensor (0, 3, 6)",
                         wasi::shape_error);
}

}  // namespace
