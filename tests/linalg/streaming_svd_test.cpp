#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/linalg/streaming_svd.hpp>

/// Streams against the SVD of everything that has arrived, errors in double.
namespace {

using wasi::Index;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::Stack;
using wasi::linalg::Status;
using wasi::linalg::StreamingSvd;
using wasi::linalg::StreamingSvdOptions;
using wasi::linalg::Tolerance;
using wasi_tests::tolerance;
using wasi_tests::Values;

template <class T>
using Dense = Eigen::MatrixX<T>;

template <class T>
Dense<T> matrix_with(Index rows, Index cols, const Values& values, std::uint64_t seed)
{
    const auto a = wasi_tests::matrix_with_spectrum<T>(rows, cols, values, seed);
    Dense<T> result(rows, cols);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            result(i, j) = a(i, j);
        }
    }
    return result;
}

Values values_of(const Eigen::MatrixXd& a)
{
    return wasi_tests::singular_values(wasi::ConstMatrixView<double>::col_major(a.data(), a.rows(), a.cols()));
}

/// Feeds a matrix by batches of `height` rows (columns).
template <class T>
StreamingSvd<T> stream(const Dense<T>& a, Index height, const StreamingSvdOptions& options)
{
    StreamingSvd<T> result(options);
    const bool by_rows = options.arriving == Stack::rows;
    const Index length = by_rows ? a.rows() : a.cols();
    for (Index first = 0; first < length; first += height) {
        const Index count = std::min(height, length - first);
        if (by_rows) {
            result.add(a.middleRows(first, count));
        } else {
            result.add(a.middleCols(first, count));
        }
    }
    return result;
}

/// A - U diag(s) Vᵀ in double.
template <class T, class Svd>
double error_of(const Dense<T>& a, const Svd& f)
{
    const Eigen::MatrixXd u = f.u.template cast<double>();
    const Eigen::VectorXd s = f.s.template cast<double>();
    const Eigen::MatrixXd v = f.v.template cast<double>();
    return (a.template cast<double>() - u * s.asDiagonal() * v.transpose()).norm();
}

template <class M>
double defect(const M& basis)
{
    const Eigen::MatrixXd q = basis.template cast<double>();
    return (q.transpose() * q - Eigen::MatrixXd::Identity(q.cols(), q.cols())).norm();
}

TEST_CASE_TEMPLATE("streaming svd: all of a matrix, when the rank suffices: its SVD, to rounding", T, float, double)
{
    for (const auto& size : {std::pair<Index, Index>{90, 25}, {25, 90}, {40, 40}, {1, 7}, {7, 1}}) {
        const Index rows = size.first;
        const Index cols = size.second;
        const Index rank = std::min<Index>(12, std::min(rows, cols));
        const auto a = matrix_with<T>(rows, cols, wasi_tests::exponential(rank, 0.7), 1);
        const Values exact = values_of(a.template cast<double>());
        for (const Stack arriving : {Stack::rows, Stack::columns}) {
            for (const Index height : {1, 7, 1000}) {
                INFO("(", rows, ", ", cols, "), by columns ", arriving == Stack::columns, ", batches of ", height);
                const auto s = stream<T>(a, height, {.rank = rank, .arriving = arriving, .growing_side = true});
                const auto f = s.template svd_as<Dense<T>>();
                const auto steps = std::sqrt(static_cast<double>(s.info().batches));
                const double rounding = steps * tolerance<T>(cols + rows, 1.0);
                CHECK(s.info().status == Status::ok);
                CHECK(s.info().count == (arriving == Stack::rows ? rows : cols));
                CHECK(f.s.size() == rank);
                CHECK(error_of(a, f) <= rounding);
                CHECK(error_of(a, f) <= s.info().residual_bound);
                CHECK(s.info().residual_estimate <= rounding);
                CHECK(s.info().captured_energy >= 1.0 - rounding);
                CHECK(defect(f.u) <= rounding);
                CHECK(defect(f.v) <= rounding);
                for (Index j = 0; j < rank; ++j) {
                    CHECK(std::abs(static_cast<double>(f.s(j)) - exact[static_cast<std::size_t>(j)]) <= rounding);
                    Index at = 0;
                    f.v.col(j).cwiseAbs().maxCoeff(&at);
                    CHECK((f.v(at, j) > T(0) || f.v.rows() > 1));
                }
                // Without the growing side: the same of the other one.
                const auto thin = stream<T>(a, height, {.rank = rank, .arriving = arriving});
                const auto g = thin.template svd_as<Dense<T>>();
                CHECK(static_cast<double>((g.s - f.s).norm()) <= (arriving == Stack::rows ? 0.0 : rounding));
                CHECK((arriving == Stack::rows ? g.u : g.v).rows() == 0);
                CHECK(thin.vectors().rows == (arriving == Stack::rows ? cols : rows));
            }
        }
    }
}

TEST_CASE_TEMPLATE("streaming svd: what is discarded is known exactly, whatever the order and size of batches", T,
                   float, double)
{
    for (const auto& spectrum : wasi_tests::all_spectra(40)) {
        const auto& values = spectrum.values;
        if (values.empty()) {
            continue;
        }
        const auto a = matrix_with<T>(120, 40, values, 2);
        const Dense<T> reversed = a.colwise().reverse();
        const Values exact = values_of(a.template cast<double>());
        for (const Index extra : {0, 10}) {
            for (const Index height : {1, 16, 50}) {
                for (const bool backwards : {false, true}) {
                    INFO(spectrum.name, ", extra ", extra, ", batches of ", height, ", backwards ", backwards);
                    const Dense<T>& whole = backwards ? reversed : a;
                    const auto s = stream<T>(whole, height, {.rank = 6, .extra = extra, .growing_side = true});
                    const auto f = s.template svd_as<Dense<T>>();
                    const auto steps = std::sqrt(static_cast<double>(s.info().batches));
                    const double rounding = steps * tolerance<T>(120, exact[0]);
                    const double error = error_of(whole, f);
                    const double claimed = s.info().residual_estimate;
                    const double norm = whole.template cast<double>().norm();
                    CHECK(std::abs(error - claimed) <= rounding);
                    CHECK(error <= s.info().residual_bound);
                    CHECK(s.info().residual_bound <= claimed + 10.0 * rounding * norm / exact[0]);
                    CHECK(std::abs(s.info().captured_energy - (1.0 - error * error / (norm * norm))) <= rounding);
                    for (Index j = 0; j < f.s.size(); ++j) {
                        const double found = static_cast<double>(f.s(j));
                        const double truth = exact[static_cast<std::size_t>(j)];
                        CHECK(found <= truth + rounding);
                        CHECK(truth <= std::hypot(found, claimed) + rounding);
                    }
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("streaming svd: energies and tolerances are met by the true error of the whole", T, float, double)
{
    for (const auto& spectrum : wasi_tests::all_spectra(40)) {
        const auto& values = spectrum.values;
        if (values.empty()) {
            continue;
        }
        const auto a = matrix_with<T>(150, 40, values, 3);
        const double norm = a.template cast<double>().norm();
        for (const double share : {0.5, 0.9, 0.999}) {
            for (const Index extra : {0, 5}) {
                INFO(spectrum.name, ", energy ", share, ", extra ", extra);
                const auto s = stream<T>(a, 20, {.rank = Energy{share}, .extra = extra, .growing_side = true});
                const double error = error_of(a, s.template svd_as<Dense<T>>()) / norm;
                CHECK(s.info().status == Status::ok);
                CHECK(error * error <= (1.0 - share) * (1.0 + 1e-9));
            }
        }
        for (const double allowed : {0.1, 1e-3, 1e-5, 1e-9, 1e-13}) {
            INFO(spectrum.name, ", tolerance ", allowed);
            const auto s = stream<T>(a, 20, {.rank = Tolerance{allowed}, .growing_side = true});
            const double error = error_of(a, s.template svd_as<Dense<T>>()) / norm;
            CHECK((error <= allowed || s.info().status == Status::rule_not_met));
            CHECK((s.info().status == Status::ok || allowed < 100.0 * static_cast<double>(wasi::epsilon<T>)));
        }
    }
}

TEST_CASE_TEMPLATE("streaming svd: forgetting weighs batches by their age", T, float, double)
{
    const auto a = matrix_with<T>(60, 20, wasi_tests::polynomial(20, 0.5), 4);
    Dense<T> weighted = a;
    for (Index batch = 0; batch < 6; ++batch) {
        weighted.middleRows(10 * batch, 10) *= static_cast<T>(std::pow(0.8, 5.0 - static_cast<double>(batch)));
    }
    const Values exact = values_of(weighted.template cast<double>());
    const auto s = stream<T>(a, 10, {.rank = 20, .forgetting = 0.8, .growing_side = true});
    const auto f = s.template svd_as<Dense<T>>();
    CHECK(error_of(weighted, f) <= tolerance<T>(60, 3.0));
    for (Index j = 0; j < 20; ++j) {
        CHECK(std::abs(static_cast<double>(f.s(j)) - exact[static_cast<std::size_t>(j)]) <= tolerance<T>(60, 1.0));
    }
    const auto few = stream<T>(a, 10, {.rank = 5, .forgetting = 0.8, .extra = 2, .growing_side = true});
    const double error = error_of(weighted, few.template svd_as<Dense<T>>());
    CHECK(std::abs(error - few.info().residual_estimate) <= tolerance<T>(60, 3.0));
    // What is old enough is gone, and units follow the data down.
    StreamingSvd<T> fading({.rank = 2, .forgetting = 1e-3});
    const Dense<T> unit = Dense<T>::Identity(2, 2);
    const int far = sizeof(T) == 4 ? 60 : 500;
    fading.add(Dense<T>(unit * std::ldexp(T(1), far)));
    for (int i = 0; i < 4 * far / 10; ++i) {
        fading.add(Dense<T>(unit * std::ldexp(T(1), -far)));
    }
    CHECK(std::abs(std::ldexp(fading.template svd_as<Dense<T>>().s(1), far) - T(1)) <= T(1e-5));
}

TEST_CASE_TEMPLATE("streaming svd: the same at every scale, also when it changes on the way", T, float, double)
{
    const auto a = matrix_with<T>(40, 12, wasi_tests::exponential(12, 0.6), 5);
    const auto plain = stream<T>(a, 9, {.rank = 5}).template svd_as<Dense<T>>();
    for (const int exponent : sizeof(T) == 4 ? std::vector{-110, -60, 60, 110} : std::vector{-1000, -500, 500, 1000}) {
        CAPTURE(exponent);
        const Dense<T> scaled = a.unaryExpr([exponent](T x) { return std::ldexp(x, exponent); });
        const auto s = stream<T>(scaled, 9, {.rank = 5});
        const auto f = s.template svd_as<Dense<T>>();
        CHECK(s.info().status == Status::ok);
        CHECK((f.v - plain.v).norm() <= static_cast<T>(tolerance<T>(40, 10.0)));
        for (Index j = 0; j < 5; ++j) {
            CHECK(std::abs(std::ldexp(f.s(j), -exponent) - plain.s(j)) <= static_cast<T>(tolerance<T>(40, 1.0)));
        }
        CHECK(std::abs(f.info.captured_energy - plain.info.captured_energy) <= tolerance<T>(40, 1.0));
        CHECK(std::abs(std::ldexp(f.info.residual_estimate, -exponent) - plain.info.residual_estimate) <=
              tolerance<T>(40, 1.0));
        // Zeros first, then tiny rows, then large ones: what is small beside them does not matter, nor harm.
        StreamingSvd<T> growing({.rank = 5});
        growing.add(Dense<T>(Dense<T>::Zero(3, 12)));
        CHECK(growing.info().captured_energy == 1.0);
        growing.add(Dense<T>(scaled.unaryExpr([](T x) { return x * T(1e-12); })));
        for (Index first = 0; first < 40; first += 10) {
            growing.add(Dense<T>(scaled.middleRows(first, 10)));
        }
        const auto g = growing.template svd_as<Dense<T>>();
        CHECK((g.v - plain.v).norm() <= static_cast<T>(tolerance<T>(40, 10.0)));
    }
}

TEST_CASE_TEMPLATE("streaming svd: goes on from a state with the same bits", T, float, double)
{
    const auto a = matrix_with<T>(60, 15, wasi_tests::polynomial(15, 1.0), 6);
    const StreamingSvdOptions options{.rank = Energy{0.9}, .forgetting = 0.95, .extra = 3, .growing_side = true};
    StreamingSvd<T> whole(options);
    StreamingSvd<T> before(options);
    for (Index first = 0; first < 30; first += 6) {
        whole.add(a.middleRows(first, 6));
        before.add(a.middleRows(first, 6));
    }
    const auto state = before.state();
    StreamingSvd<T> after(options, state);
    CHECK(after.state() == state);
    for (Index first = 30; first < 60; first += 6) {
        whole.add(a.middleRows(first, 6));
        after.add(a.middleRows(first, 6));
    }
    CHECK(after.state() == whole.state());
    CHECK(after.info().residual_estimate == whole.info().residual_estimate);

    auto bad = state;
    bad.vectors.pop_back();
    CHECK_THROWS_AS((StreamingSvd<T>(options, bad)), wasi::shape_error);
    bad = state;
    bad.values[0] = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS((StreamingSvd<T>(options, bad)), wasi::argument_error);
    bad = state;
    bad.growing.clear();
    CHECK_THROWS_AS((StreamingSvd<T>(options, bad)), wasi::shape_error);
}

TEST_CASE_TEMPLATE("streaming svd: same bits for any number of threads", T, float, double)
{
    const int before = wasi::thread_count();
    const auto a = matrix_with<T>(300, 150, wasi_tests::polynomial(150, 0.5), 7);
    wasi::set_thread_count(1);
    const auto one = stream<T>(a, 100, {.rank = 20, .growing_side = true}).state();
    for (const int threads : {2, 5}) {
        wasi::set_thread_count(threads);
        CHECK(stream<T>(a, 100, {.rank = 20, .growing_side = true}).state() == one);
    }
    wasi::set_thread_count(before);
}

TEST_CASE_TEMPLATE("streaming svd: two streams merged are one", T, float, double)
{
    const auto a = matrix_with<T>(80, 30, wasi_tests::polynomial(30, 0.7), 8);
    for (const Stack arriving : {Stack::rows, Stack::columns}) {
        const Dense<T> whole = arriving == Stack::rows ? a : Dense<T>(a.transpose());
        for (const Index rank : {30, 6}) {
            const StreamingSvdOptions options{.rank = rank, .arriving = arriving, .extra = 2, .growing_side = true};
            const bool rows = arriving == Stack::rows;
            auto first = stream<T>(rows ? Dense<T>(whole.topRows(35)) : Dense<T>(whole.leftCols(35)), 10, options);
            const auto second =
                stream<T>(rows ? Dense<T>(whole.bottomRows(45)) : Dense<T>(whole.rightCols(45)), 10, options);
            first.merge(second);
            CHECK(first.info().count == 80);
            CHECK(first.info().batches == 9);
            const double error = error_of(whole, first.template svd_as<Dense<T>>());
            CHECK(std::abs(error - first.info().residual_estimate) <= tolerance<T>(80, 5.0));
            CHECK(error <= first.info().residual_bound);
            // It goes on, with itself too.
            first.merge(first);
            CHECK(first.info().count == 160);
            Dense<T> twice(rows ? 160 : 30, rows ? 30 : 160);
            if (rows) {
                twice << whole, whole;
            } else {
                twice << whole, whole;
            }
            const double doubled = error_of(twice, first.template svd_as<Dense<T>>());
            CHECK(std::abs(doubled - first.info().residual_estimate) <= tolerance<T>(80, 10.0));
        }
    }
    StreamingSvd<T> empty({.rank = 3});
    empty.merge(StreamingSvd<T>({.rank = 3}));
    CHECK(empty.info().count == 0);
    CHECK(empty.vectors().size() == 0);
    CHECK(empty.template svd_as<Dense<T>>().s.size() == 0);
    empty.merge(stream<T>(a, 40, {.rank = 3}));
    CHECK(empty.info().count == 80);
    CHECK_THROWS_AS(empty.merge(stream<T>(Dense<T>(a.leftCols(20)), 40, {.rank = 3})), wasi::shape_error);
    CHECK_THROWS_AS(empty.merge(stream<T>(a, 40, {.rank = 3, .growing_side = true})), wasi::argument_error);
}

TEST_CASE("streaming svd: refusals leave everything as it was; a limit is told")
{
    const Eigen::MatrixXd a = Eigen::MatrixXd::Random(20, 8);
    StreamingSvd<double> s({.rank = Energy{0.9999}, .max_rank = 2, .extra = 0});
    s.add(a);
    CHECK(s.info().status == Status::rank_limit);
    CHECK(s.info().rank == 2);
    const auto before = s.state();
    Eigen::MatrixXd bad = a;
    bad(3, 4) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(s.add(bad), wasi::argument_error);
    bad(3, 4) = std::numeric_limits<double>::infinity();
    CHECK_THROWS_AS(s.add(bad), wasi::argument_error);
    CHECK_THROWS_AS(s.add(a.leftCols(3)), wasi::shape_error);
    CHECK_THROWS_AS(s.add(a.topRows(0)), wasi::shape_error);
    CHECK(s.state() == before);
    CHECK_THROWS_AS(StreamingSvd<double>({.forgetting = 0.0}), wasi::argument_error);
    CHECK_THROWS_AS(StreamingSvd<double>({.forgetting = 1.1}), wasi::argument_error);
    CHECK_THROWS_AS(StreamingSvd<double>({.max_rank = 0}), wasi::argument_error);
    CHECK_THROWS_AS(StreamingSvd<double>({.extra = -1}), wasi::argument_error);
    CHECK_THROWS_AS(StreamingSvd<double>({.rank = wasi::linalg::GavishDonoho{}}), wasi::argument_error);
}

TEST_CASE_TEMPLATE("streaming svd: rounding over a thousand batches stays within the bound", T, float, double)
{
    const auto a = matrix_with<T>(1000, 6, wasi_tests::exponential(6, 0.5), 9);
    const auto s = stream<T>(a, 1, {.rank = 6});
    const auto f = s.template svd_as<Dense<T>>();
    const Values exact = values_of(a.template cast<double>());
    double worst = 0.0;
    for (Index j = 0; j < 6; ++j) {
        worst = std::max(worst, std::abs(static_cast<double>(f.s(j)) - exact[static_cast<std::size_t>(j)]));
    }
    CHECK(worst <= s.info().residual_bound);
    CHECK(worst <= tolerance<T>(1000, 2.0));
    CHECK(s.info().residual_bound <= 1000.0 * static_cast<double>(wasi::epsilon<T>));
}

TEST_CASE_TEMPLATE("svd merge: of two truncated SVDs, above one another or side by side", T, float, double)
{
    using wasi::linalg::merge;
    using wasi::linalg::truncated_svd;
    const auto a = matrix_with<T>(70, 50, wasi_tests::polynomial(50, 0.6), 10);
    for (const Stack along : {Stack::rows, Stack::columns}) {
        const auto part = [&](bool first) -> Dense<T> {
            if (along == Stack::rows) {
                return first ? a.topRows(20) : a.bottomRows(50);
            }
            return first ? a.leftCols(30) : a.rightCols(20);
        };
        const auto whole = merge(truncated_svd(part(true)), truncated_svd(part(false)), {.along = along});
        CHECK(whole.info.status == Status::ok);
        CHECK(error_of(a, whole) <= tolerance<T>(70, 3.0));
        CHECK(defect(whole.u) <= tolerance<T>(70, 1.0));
        CHECK(defect(whole.v) <= tolerance<T>(70, 1.0));
        const auto same = truncated_svd(a);
        CHECK((whole.s - same.s).norm() <= static_cast<T>(tolerance<T>(70, 1.0)));
        CHECK((whole.v.col(0) - same.v.col(0)).norm() <= static_cast<T>(tolerance<T>(70, 4.0)));  // signs too
        // Truncated: the error is the one that is told.
        const auto few = merge(truncated_svd(part(true), {.rank = 8}), truncated_svd(part(false), {.rank = 10}),
                               {.rank = 6, .along = along});
        const double error = error_of(a, few);
        CHECK(few.info.rank == 6);
        CHECK(std::abs(few.info.residual_estimate - error) <= tolerance<T>(70, 3.0));
        CHECK(error <= few.info.residual_bound);
        const double norm = a.template cast<double>().norm();
        CHECK(std::abs(few.info.captured_energy - (1.0 - error * error / (norm * norm))) <= tolerance<T>(70, 1.0));
        // An energy that the parts have lost already cannot be met.
        CHECK(merge(truncated_svd(part(true), {.rank = 8}), truncated_svd(part(false), {.rank = 8}),
                    {.rank = Energy{0.99}, .along = along})
                  .info.status == Status::rule_not_met);
        const auto met =
            merge(truncated_svd(part(true)), truncated_svd(part(false)), {.rank = Energy{0.9}, .along = along});
        const double left = error_of(a, met) / norm;
        CHECK(met.info.status == Status::ok);
        CHECK(left * left <= 0.1);
        CHECK(met.info.rank < 50);
    }
    // Far-off scales.
    for (const int exponent : sizeof(T) == 4 ? std::vector{-110, 110} : std::vector{-1000, 1000}) {
        const Dense<T> scaled = a.unaryExpr([exponent](T x) { return std::ldexp(x, exponent); });
        const auto f = merge(truncated_svd(Dense<T>(scaled.topRows(20))),
                             truncated_svd(Dense<T>(scaled.bottomRows(50))), {.rank = 5});
        const auto plain =
            merge(truncated_svd(Dense<T>(a.topRows(20))), truncated_svd(Dense<T>(a.bottomRows(50))), {.rank = 5});
        CHECK(std::abs(std::ldexp(f.s(4), -exponent) - plain.s(4)) <= static_cast<T>(tolerance<T>(70, 1.0)));
        CHECK(std::abs(std::ldexp(f.info.residual_estimate, -exponent) - plain.info.residual_estimate) <=
              tolerance<T>(70, 1.0));
    }
    const auto top = truncated_svd(Dense<T>(a.topRows(20)));
    CHECK_THROWS_AS(static_cast<void>(merge(top, truncated_svd(Dense<T>(a.leftCols(3))))), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(merge(top, top, {.max_rank = 0})), wasi::argument_error);
    auto bad = top;
    bad.v(1, 1) = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_AS(static_cast<void>(merge(top, bad)), wasi::argument_error);
}

}  // namespace
