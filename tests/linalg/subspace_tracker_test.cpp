// Following a drifting matrix: the bound of a warm step, energies, drift, restarts, ranks under hysteresis.
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/linalg/subspace_tracker.hpp>

namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::RandomKey;
using wasi::Tag;
using wasi::Use;
using wasi_tests::EigenDouble;
using wasi_tests::EigenFloat;
using wasi_tests::Matrix;
using wasi_tests::NaiveDouble;
using wasi_tests::NaiveFloat;
using wasi_tests::Values;
namespace linalg = wasi::linalg;
using linalg::FollowedRank;
using linalg::RestartPolicy;
using linalg::SubspaceTrackerOptions;
template <class T>
using Tracker = linalg::SubspaceTracker<T, wasi::EigenStorage>;

/// A (rows,cols) with given singular values and right singular vectors f_j of a fixed frame, the leading `rank` of them
/// turned by `angle` towards the next ones (the last leading one towards the first of the rest): all principal angles
/// between the leading subspaces of two such matrices are the difference of their angles.
template <class T>
[[nodiscard]] Matrix<T> turned(Index rows, Index cols, const Values& values, Index rank, double angle,
                               std::uint64_t seed)
{
    const auto k = static_cast<Index>(values.size());
    const auto u = wasi_tests::random_orthonormal(rows, k, seed);
    const auto frame = wasi_tests::random_orthonormal(cols, std::max(k, 2 * rank), 1);
    Matrix<T> a(rows, cols);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            double sum = 0.0;
            for (Index p = 0; p < k; ++p) {
                double v = frame(j, p);
                if (p < 2 * rank) {
                    const double other = frame(j, 2 * rank - 1 - p);
                    v = std::cos(angle) * v + (p < rank ? std::sin(angle) : -std::sin(angle)) * other;
                }
                sum += u(i, p) * values[static_cast<std::size_t>(p)] * v;
            }
            a(i, j) = static_cast<T>(sum);
        }
    }
    return a;
}

/// ||A V||² / ||A||² in double.
template <class T>
[[nodiscard]] double captured(ConstMatrixView<T> a, ConstMatrixView<T> v)
{
    double sum = 0.0;
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < v.cols; ++j) {
            double along = 0.0;
            for (Index p = 0; p < a.cols; ++p) {
                along += static_cast<double>(a(i, p)) * static_cast<double>(v(p, j));
            }
            sum += along * along;
        }
    }
    const double norm = wasi_tests::frobenius_norm(a);
    return sum / (norm * norm);
}

TEST_CASE_TEMPLATE("a warm step discards at most tail² (1 + (s_{r+1}/s_r)² tan² theta)", E, EigenFloat, EigenDouble,
                   NaiveFloat, NaiveDouble)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    constexpr Index rank = 4;
    for (const auto& values : {wasi_tests::polynomial(12, 0.5), wasi_tests::exponential(12, 0.7),
                               wasi_tests::step(12, rank, 0.3), Values(12, 1.0)}) {
        for (const double angle : {0.0, 0.1, 0.6, 1.2}) {
            CAPTURE(angle);
            // The tracker is at the leading subspace of the first matrix; that of the second lies at `angle` to it.
            linalg::SubspaceTracker<T, S> tracker({.rank = rank, .oversampling = 0, .restart = RestartPolicy::never()},
                                                  RandomKey(2));
            const auto first = turned<T>(30, 24, wasi_tests::step(12, rank, 0.0), rank, 0.0, 5);
            tracker.follow(first.view());
            CHECK(tracker.info().captured_energy == doctest::Approx(1.0).epsilon(1e-5));
            const auto second = turned<T>(30, 24, values, rank, angle, 6);
            tracker.follow(second.view());
            CHECK_FALSE(tracker.info().restarted);
            const double total = wasi_tests::energy(values);
            const double tail = wasi_tests::tail_energy(values, rank);
            const double gap = values[rank] / values[rank - 1];
            const double bound = tail * (1.0 + gap * gap * std::tan(angle) * std::tan(angle));
            const double discarded = (1.0 - captured<T>(second.view(), tracker.basis())) * total;
            const double rounding = wasi_tests::tolerance<T>(24, total);
            CHECK(discarded <= bound + rounding);
            CHECK(discarded >= tail - rounding);  // Eckart and Young
            CHECK(tracker.info().captured_energy ==
                  doctest::Approx(1.0 - discarded / total).epsilon(100.0 * static_cast<double>(wasi::epsilon<T>)));
            CHECK(wasi_tests::orthonormality_defect(tracker.basis()) <= wasi_tests::tolerance<T>(24, 1.0));
        }
    }
}

TEST_CASE_TEMPLATE("drift is the sine of the angle between the old and the new basis", T, float, double)
{
    // Rank 3 without noise: the basis is the exact subspace after every step.
    const Values values{3.0, 2.0, 1.0};
    Tracker<T> tracker({.rank = 3, .oversampling = 0, .restart = RestartPolicy::never()}, RandomKey(1));
    double angle = 0.0;
    tracker.follow(turned<T>(20, 16, values, 3, angle, 9).view());
    CHECK(tracker.info().drift == 0.0);
    for (const double turn : {1e-6, 1e-3, 0.2, 1.0}) {
        angle += turn;
        tracker.follow(turned<T>(20, 16, values, 3, angle, 9).view());
        CHECK(std::abs(tracker.info().drift - std::sin(turn)) <= wasi_tests::tolerance<T>(20, 3.0));
    }
    CHECK(tracker.info().restarts == 1);
    CHECK(tracker.info().steps == 5);
}

TEST_CASE("a drifting matrix is followed; oversampling brings a step closer to the best")
{
    const Values values = wasi_tests::polynomial(20, 0.5);
    std::vector<double> worst;
    for (const Index oversampling : {0, 5}) {
        Tracker<double> tracker({.rank = 5, .oversampling = oversampling}, RandomKey(1));
        double least = 1.0;
        for (int step = 0; step <= 30; ++step) {
            const auto a = turned<double>(60, 40, values, 5, 0.04 * step, 11);
            tracker.follow(a.view());
            const double best = wasi_tests::energy(values, 0, 5) / wasi_tests::energy(values);
            CHECK(tracker.info().captured_energy <= best + 1e-12);
            least = std::min(least, tracker.info().captured_energy / best);
        }
        CHECK(tracker.info().restarts == 1);
        worst.push_back(least);
    }
    CHECK(worst[0] > 0.98);
    CHECK(1.0 - worst[1] < 0.5 * (1.0 - worst[0]));
}

TEST_CASE("restart: by energy, by period, never")
{
    // From step 4 on the matrix has 12 equal values: no subspace of rank 3 holds more than a quarter of it.
    const auto run = [&](RestartPolicy policy, bool jump) {
        Tracker<double> tracker({.rank = 3, .oversampling = 0, .restart = policy}, RandomKey(1));
        std::string restarted;
        for (int step = 0; step < 9; ++step) {
            const Values values = step < 4 || !jump ? Values{3.0, 2.0, 1.0} : Values(12, 1.0);
            restarted += tracker.follow(turned<double>(20, 16, values, 3, 0.0, 9).view()).restarted ? 'r' : '.';
        }
        CHECK(tracker.info().restarts == std::count(restarted.begin(), restarted.end(), 'r'));
        return restarted;
    };
    CHECK(run(RestartPolicy::when_below(0.9), true) == "r...r....");
    CHECK(run(RestartPolicy::when_below(0.9), false) == "r........");
    CHECK(run(RestartPolicy::never(), true) == "r........");
    CHECK(run(RestartPolicy::every(3), false) == "r..r..r..");
    CHECK(run({.below = 0.9, .period = 3}, true) == "r..rr..r.");
}

TEST_CASE("a restart is judged by a share of what the rank could capture")
{
    // Rank 2 of a flat spectrum captures a tenth; that alone is no reason to restart.
    Tracker<double> tracker({.rank = 2, .oversampling = 0}, RandomKey(1));
    const Values flat = wasi_tests::values_from(20, [](double j) { return 1.0 - 0.001 * j; });
    for (int step = 0; step < 5; ++step) {
        tracker.follow(turned<double>(40, 40, flat, 2, 0.0, 3).view());
        CHECK(tracker.info().captured_energy < 0.11);
    }
    CHECK(tracker.info().restarts == 1);
}

TEST_CASE("hysteresis: a rank changes only after wishes on one side of the band, several in a row")
{
    const auto ranks = [](linalg::RankHysteresis hysteresis, Index start, const std::vector<Index>& wishes) {
        FollowedRank rank(hysteresis);
        rank.reset(start);
        std::vector<Index> result;
        for (const Index wish : wishes) {
            result.push_back(rank.follow(wish));
        }
        return result;
    };
    using Ranks = std::vector<Index>;
    // Inside the band (9 to 11) nothing happens, however long.
    CHECK(ranks({.band = 0.1, .patience = 2}, 10, {9, 11, 9, 9, 9, 11}) == Ranks{10, 10, 10, 10, 10, 10});
    // Outside it for `patience` steps: to the nearest of those wishes.
    CHECK(ranks({.band = 0.1, .patience = 3}, 10, {14, 12, 13, 14}) == Ranks{10, 10, 12, 12});
    CHECK(ranks({.band = 0.1, .patience = 3}, 10, {4, 7, 5, 7}) == Ranks{10, 10, 7, 7});
    // A step inside the band or on the other side starts the count anew.
    CHECK(ranks({.band = 0.1, .patience = 2}, 10, {14, 10, 14, 6, 14, 14}) == Ranks{10, 10, 10, 10, 10, 14});
    CHECK(ranks({.band = 0.0, .patience = 1}, 10, {11, 9, 9}) == Ranks{11, 9, 9});
    CHECK_THROWS_AS(FollowedRank({.band = 1.0}), wasi::argument_error);
    CHECK_THROWS_AS(FollowedRank({.band = -0.1}), wasi::argument_error);
    CHECK_THROWS_AS(FollowedRank({.patience = 0}), wasi::argument_error);
}

TEST_CASE("ranks by a rule: a rank grows and falls with the spectrum, with the delay of the hysteresis")
{
    Tracker<double> tracker({.rank = linalg::Energy{0.95},
                             .oversampling = 4,
                             .restart = RestartPolicy::never(),
                             .hysteresis = {.band = 0.0, .patience = 2}},
                            RandomKey(1));
    const auto follow = [&](Index dimensions, int steps) {
        for (int step = 0; step < steps; ++step) {
            tracker.follow(turned<double>(50, 40, Values(static_cast<std::size_t>(dimensions), 1.0), 1, 0.0, 3).view());
        }
        return tracker.info().rank;
    };
    CHECK(follow(4, 1) == 4);
    CHECK(tracker.info().rank_changes == 0);
    CHECK(follow(7, 1) == 4);  // wants more, once
    CHECK(tracker.info().wanted > 4);
    CHECK(follow(7, 6) == 7);
    CHECK(tracker.info().captured_energy >= 0.95);
    CHECK(tracker.info().rank_changes >= 1);
    CHECK(follow(15, 20) == 15);  // more than the oversampling: in several changes
    CHECK(tracker.info().captured_energy >= 0.95);
    CHECK(follow(3, 1) == 15);
    CHECK(follow(3, 1) == 3);
    CHECK(tracker.info().rank_changed);
    CHECK(wasi_tests::orthonormality_defect(tracker.basis()) <= 1e-13);
    CHECK(tracker.info().restarts == 1);
}

TEST_CASE("max_rank: the rule stops there and the status says so")
{
    Tracker<double> tracker({.rank = linalg::Energy{0.99}, .max_rank = 3}, RandomKey(1));
    const auto a = turned<double>(30, 30, Values(8, 1.0), 1, 0.0, 3);
    for (int step = 0; step < 3; ++step) {
        const auto& info = tracker.follow(a.view());
        CHECK(info.rank == 3);
        CHECK(info.status == linalg::Status::rank_limit);
    }
}

TEST_CASE("the left side follows left singular vectors, and a side may change its length")
{
    Tracker<double> left({.rank = 3, .side = linalg::Side::left}, RandomKey(1));
    Tracker<double> right({.rank = 3}, RandomKey(1));
    for (const Index rows : {20, 33, 9}) {
        const auto a = turned<double>(rows, 16, {3.0, 2.0, 1.0}, 3, 0.01 * static_cast<double>(rows), 9);
        right.follow(a.view());
        left.follow(a.view().transposed());
        CHECK(wasi_tests::same_bits(left.basis(), right.basis()));
        CHECK(right.info().captured_energy == doctest::Approx(1.0).epsilon(1e-12));
    }
    const auto other = wasi_tests::random_matrix<double>(16, 15, 3);
    CHECK_THROWS_WITH_AS(right.follow(other.view()),
                         "SubspaceTracker: a matrix (16, 15) after matrices with 16 columns", wasi::shape_error);
    CHECK_THROWS_WITH_AS(left.follow(other.view().transposed()),
                         "SubspaceTracker: a matrix (15, 16) after matrices with 16 rows", wasi::shape_error);
    CHECK(right.info().steps == 3);
}

TEST_CASE("zeros, one column, Eigen matrices, and what is refused")
{
    Tracker<double> tracker({.rank = linalg::Energy{0.9}}, RandomKey(1));
    Eigen::MatrixXd a = Eigen::MatrixXd::Zero(7, 5);
    for (int step = 0; step < 3; ++step) {
        CHECK(tracker.follow(a).captured_energy == 1.0);
        CHECK(wasi_tests::orthonormality_defect(tracker.basis()) <= 1e-14);
    }
    a.col(2).setOnes();
    tracker.follow(a);
    tracker.follow(a);
    const auto basis = tracker.basis_as<Eigen::MatrixXd>();
    CHECK(basis.cols() == tracker.info().rank);
    CHECK(std::abs(basis(2, 0)) == doctest::Approx(1.0));
    a(1, 1) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(tracker.follow(a), wasi::argument_error);
    CHECK_THROWS_AS(tracker.follow(Eigen::MatrixXd(0, 5)), wasi::shape_error);
    CHECK(tracker.info().steps == 5);

    Tracker<float> thin({.rank = 4}, RandomKey(1));
    for (int step = 0; step < 2; ++step) {
        thin.follow(wasi_tests::random_matrix<float>(6, 1, 3).view());
        CHECK(thin.info().rank == 1);
        CHECK(thin.info().captured_energy == doctest::Approx(1.0));
    }
    const auto make = [](SubspaceTrackerOptions options) {
        const Tracker<double> made(std::move(options), RandomKey(1));
    };
    CHECK_THROWS_AS(make({.oversampling = -1}), wasi::argument_error);
    CHECK_THROWS_AS(make({.max_rank = 0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.restart = RestartPolicy::when_below(1.5)}), wasi::argument_error);
    CHECK_THROWS_AS(make({.restart = RestartPolicy::every(-1)}), wasi::argument_error);
    CHECK_THROWS_AS(make({.hysteresis = {.patience = 0}}), wasi::argument_error);
    CHECK_THROWS_AS(make({.rank = linalg::GavishDonoho{}}), wasi::argument_error);
}

TEST_CASE("the same bits from one and several threads; memory is booked and given back")
{
    const int before = wasi::thread_count();
    std::vector<Matrix<float>> bases;
    for (const int threads : {1, 2, 3}) {
        wasi::set_thread_count(threads);
        wasi::Ledger memory;
        {
            linalg::SubspaceTracker<float, wasi::EigenStorage> tracker({.rank = 12}, RandomKey(1), memory,
                                                                       Tag{Use::weight, 2});
            for (std::uint64_t step = 0; step < 3; ++step) {
                tracker.follow(wasi_tests::random_matrix<float>(700, 90, step).view());
            }
            CHECK(memory.total().current == 90 * 17 * sizeof(float));
            CHECK(memory.of(Tag{Use::weight, 2}).current == memory.total().current);
            bases.emplace_back(90, 12);
            wasi::EigenStorage::copy(bases.back().view(), tracker.basis());
        }
        CHECK(memory.total().current == 0);
    }
    wasi::set_thread_count(before);
    CHECK(wasi_tests::same_bits(bases[0].view(), bases[1].view()));
    CHECK(wasi_tests::same_bits(bases[0].view(), bases[2].view()));
}

}  // namespace
