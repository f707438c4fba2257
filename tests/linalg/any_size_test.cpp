// Numbers of any size that the type holds: what is computed of 2^k A has the bits of what is computed of A.
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <cmath>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/powers.hpp>
#include <wasi/linalg/factored.hpp>
#include <wasi/linalg/subspace_tracker.hpp>

namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::plain_memory;
using wasi::RandomKey;
using namespace wasi_tests;
namespace linalg = wasi::linalg;

/// Eight columns that span what Aᵀ (A V) spans, from products in long double, whose range holds every square.
template <class T>
[[nodiscard]] Matrix<double> true_product(const Matrix<T>& a, const Matrix<T>& v)
{
    const Index m = a.view().rows;
    const Index n = a.view().cols;
    const Index r = v.view().cols;
    std::vector<long double> sum(static_cast<std::size_t>(n * r), 0);
    for (Index i = 0; i < m; ++i) {
        for (Index j = 0; j < r; ++j) {
            long double image = 0;
            for (Index p = 0; p < n; ++p) {
                image += static_cast<long double>(a(i, p)) * static_cast<long double>(v(p, j));
            }
            for (Index p = 0; p < n; ++p) {
                sum[static_cast<std::size_t>(p * r + j)] += static_cast<long double>(a(i, p)) * image;
            }
        }
    }
    long double largest = 0;
    for (const long double x : sum) {
        largest = std::max(largest, std::abs(x));
    }
    Matrix<double> g(n, r);
    for (Index p = 0; p < n; ++p) {
        for (Index j = 0; j < r; ++j) {
            g(p, j) = static_cast<double>(sum[static_cast<std::size_t>(p * r + j)] / largest);
        }
    }
    return g;
}

template <class T>
[[nodiscard]] Matrix<T> start_basis(Index rows, Index cols)
{
    Matrix<T> v(rows, cols);
    wasi::EigenStorage::convert(v.view(), ConstMatrixView<double>(random_orthonormal(rows, cols, 7).view()));
    return v;
}

TEST_CASE_TEMPLATE("subspace step: the same bits at every size, and the true subspace", E, WASI_SHIPPED_ENGINES)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    for (const auto& layout : {row_major, col_major}) {
        for (const Index rank : {1, 5, 12}) {
            const auto a = random_matrix<T>(150, 24, 1, layout);
            const auto v = start_basis<T>(24, rank);
            Matrix<T> expected = v;
            linalg::subspace_step<S, T>(a.view(), expected.view(), plain_memory());
            for (const int k : powers<T>()) {
                INFO("2^", k, ", rank ", rank, ", ", layout.text());
                const auto scaled = times_power(a, k, layout);
                Matrix<T> basis = v;
                linalg::subspace_step<S, T>(scaled.view(), basis.view(), plain_memory());
                CHECK(same_bits(basis.view(), expected.view()));
                const auto truth = true_product(scaled, v);
                CHECK(distance_from_span(basis.view(), truth.view()) <=
                      tolerance<T>(150, frobenius_norm(truth.view())));
            }
        }
    }
}

TEST_CASE("subspace step: elements of sizes far apart, bases that are no unit, users' types")
{
    // What is 1e-30 beside 1 in float adds nothing and spoils nothing.
    auto mixed = random_matrix<float>(60, 10, 2);
    for (Index i = 0; i < 60; ++i) {
        for (Index j = 5; j < 10; ++j) {
            mixed(i, j) *= 1e-30F;
        }
    }
    const auto v = start_basis<float>(10, 3);
    for (const int k : {-40, 0, 40}) {
        const auto scaled = times_power(mixed, k);
        Matrix<float> basis = v;
        linalg::subspace_step<wasi::EigenStorage, float>(scaled.view(), basis.view(), plain_memory());
        CHECK(orthonormality_defect(basis.view()) <= tolerance<float>(10, 1.0));
        CHECK(distance_from_span(basis.view(), true_product(scaled, v).view()) <= tolerance<float>(60, 4.0));
    }
    Matrix<float> small = times_power(v, -105);
    Matrix<float> basis = v;
    const auto a = random_matrix<float>(60, 10, 2);
    const auto tiny = times_power(a, -90);
    linalg::subspace_step<wasi::EigenStorage, float>(tiny.view(), small.view(), plain_memory());
    linalg::subspace_step<wasi::EigenStorage, float>(a.view(), basis.view(), plain_memory());
    CHECK(same_bits(small.view(), basis.view()));

    const Eigen::MatrixXf data = Eigen::MatrixXf::Random(80, 12);
    Eigen::MatrixXf expected = Eigen::MatrixXf::Identity(12, 4);
    linalg::subspace_step(data, expected);
    for (const float size : {0x1p-77F, 0x1p63F}) {
        Eigen::MatrixXf moved = Eigen::MatrixXf::Identity(12, 4);
        linalg::subspace_step(size * data, moved);
        CHECK(moved == expected);
    }
    // Zeros stay what they were: any basis will do.
    Eigen::MatrixXf any = Eigen::MatrixXf::Identity(12, 4);
    linalg::subspace_step(Eigen::MatrixXf(Eigen::MatrixXf::Zero(80, 12)), any);
    CHECK((any.transpose() * any - Eigen::MatrixXf::Identity(4, 4)).norm() <= 1e-6F);
}

TEST_CASE_TEMPLATE("orthonormalize: the same bits at every size, columns of sizes far apart too", E,
                   WASI_SHIPPED_ENGINES)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    using enum linalg::OrthonormalizeMethod;
    for (const auto& layout : {row_major, col_major}) {
        const auto a = random_matrix<T>(70, 9, 3, layout);
        for (const auto method : {cholesky_qr, householder}) {
            Matrix<T> expected = a;
            const auto wanted = linalg::orthonormalize_columns<S, T>(expected.view(), plain_memory(), {method});
            auto exponents = powers<T>();
            exponents.push_back(sizeof(T) == 4 ? 124 : 1020);  // the inverse of a column's length is no normal number
            for (const int k : exponents) {
                INFO("2^", k, ", ", layout.text());
                Matrix<T> q = times_power(a, k, layout);
                const auto info = linalg::orthonormalize_columns<S, T>(q.view(), plain_memory(), {method});
                CHECK(info.method == method);
                CHECK(info.rank == wanted.rank);
                CHECK(same_bits(q.view(), expected.view()));
            }
        }
        // Each column keeps its direction, whatever the others are; by R_jj only the longest counts.
        const int far = sizeof(T) == 4 ? 100 : 1000;
        Matrix<T> spread = a;
        for (Index i = 0; i < 70; ++i) {
            spread(i, 1) = std::ldexp(spread(i, 1), far);
            spread(i, 4) = std::ldexp(spread(i, 4), -far);
        }
        Matrix<T> q = spread;
        CHECK(S::cholesky_orthonormalize(q.view(), plain_memory()) == 1);
        Matrix<T> expected = a;
        CHECK(S::cholesky_orthonormalize(expected.view(), plain_memory()) == 9);
        CHECK(same_bits(q.view(), expected.view()));
        // A zero column is still refused, and the matrix as it was.
        for (Index i = 0; i < 70; ++i) {
            spread(i, 2) = T(0);
        }
        Matrix<T> kept = spread;
        CHECK(S::cholesky_orthonormalize(kept.view(), plain_memory()) == -1);
        CHECK(same_bits(kept.view(), spread.view()));
    }
}

TEST_CASE_TEMPLATE("tracker: bases, ranks, energies and drift of 2^k A_1, 2^k A_2, ... are those of A_1, A_2, ...", E,
                   WASI_SHIPPED_ENGINES)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    using Tracker = linalg::SubspaceTracker<T, S>;
    const auto data = [](int step, int k) {
        // Singular values 0.7^j, the subspace turned a little in each step; step 4 has another spectrum.
        std::vector<double> values;
        for (int j = 0; j < 20; ++j) {
            values.push_back(step == 4 ? 1.0 : std::pow(0.7, j));
        }
        auto a = matrix_with_spectrum<T>(60, 20, values, step == 4 ? 9 : 8);
        const auto noise = random_matrix<T>(60, 20, static_cast<std::uint64_t>(step) + 20);
        wasi::EigenStorage::add_scaled(a.view(), T(1), T(1e-3), noise.view());
        return times_power(a, k);
    };
    for (const linalg::RankRule& rule : {linalg::RankRule(4), linalg::RankRule(linalg::Energy{0.9})}) {
        for (const auto side : {linalg::Side::right, linalg::Side::left}) {
            const auto follow = [&](int k) {
                Tracker tracker({.rank = rule, .side = side}, RandomKey(5), plain_memory());
                std::vector<linalg::TrackingInfo> infos;
                for (int step = 0; step < 6; ++step) {
                    infos.push_back(tracker.follow(data(step, k).view()));
                }
                return std::pair(std::move(tracker), infos);
            };
            const auto [expected, wanted] = follow(0);
            for (const int k : powers<T>()) {
                INFO("2^", k);
                const auto [tracker, infos] = follow(k);
                CHECK(same_bits(tracker.basis(), expected.basis()));
                for (std::size_t step = 0; step < infos.size(); ++step) {
                    CAPTURE(step);
                    CHECK(infos[step].status == wanted[step].status);
                    CHECK(infos[step].rank == wanted[step].rank);
                    CHECK(infos[step].wanted == wanted[step].wanted);
                    CHECK(infos[step].restarted == wanted[step].restarted);
                    CHECK(infos[step].captured_energy == doctest::Approx(wanted[step].captured_energy).epsilon(1e-12));
                    CHECK(infos[step].drift == doctest::Approx(wanted[step].drift).epsilon(1e-12));
                }
            }
        }
    }
}

TEST_CASE("tracker: half a million rows do not make values of 4 % rounding")
{
    auto a = random_matrix<float>(500000, 4, 1);
    const float sizes[] = {1.0F, 0.5F, 0.25F, 0.04F};
    for (Index i = 0; i < 500000; ++i) {
        for (Index j = 0; j < 4; ++j) {
            a(i, j) *= sizes[j];
        }
    }
    linalg::SubspaceTracker<float> tracker({.rank = linalg::Energy{1.0}}, RandomKey(1));
    CHECK(tracker.follow(a.view()).rank == 4);
    const auto& info = tracker.follow(a.view());
    CHECK_FALSE(info.restarted);
    CHECK(info.wanted == 4);
}

TEST_CASE_TEMPLATE("factored: ||P Qᵀ||² at every size of P and Q", T, float, double)
{
    const auto p = random_matrix<T>(30, 4, 1);
    const auto q = random_matrix<T>(20, 4, 2);
    const linalg::Factored<T> m{p.view(), q.view()};
    const double expected = linalg::squared_norm<wasi::EigenStorage, T>(m, plain_memory());
    for (const int k : powers<T>()) {
        for (const int l : {0, -k, k / 3, -500}) {
            if (2 * std::abs(k + l) > 960 || (sizeof(T) == 4 && l == -500)) {
                continue;  // beyond what a double holds
            }
            INFO("P 2^", k, ", Q 2^", l);
            const auto large = times_power(p, k);
            const auto small = times_power(q, l);
            CHECK(linalg::squared_norm<wasi::EigenStorage, T>({large.view(), small.view()}, plain_memory()) ==
                  std::ldexp(expected, 2 * (k + l)));
        }
    }
}

TEST_CASE_TEMPLATE("principal angles do not know sizes", T, float, double)
{
    using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
    const Matrix u = Matrix::Random(30, 3);
    const Matrix v = Matrix::Random(30, 5);
    const auto expected = linalg::principal_angles(u, v);
    for (const int k : powers<T>()) {
        CAPTURE(k);
        const Matrix scaled = v.unaryExpr([k](T x) { return std::ldexp(x, k); });
        CHECK(linalg::principal_angles(u, scaled) == expected);
        CHECK(linalg::principal_angles(scaled, u) == expected);
    }
}

}  // namespace
