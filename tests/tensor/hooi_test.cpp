#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/tensor/hooi.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::tensor::hooi;
using wasi::tensor::HooiOptions;
using wasi::tensor::HooiSweeps;
using wasi::tensor::hosvd;
using wasi::tensor::Status;
using wasi::tensor::Tucker;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <std::size_t N>
using Extents = std::array<Index, N>;

/// Independent normal elements: a flat spectrum, where HOSVD is far from the best.
template <class T, std::size_t N>
PlainTensor<T, N> noise(const Extents<N>& shape, std::uint64_t seed)
{
    PlainTensor<T, N> x(shape);
    for (std::size_t i = 0; i < x.elements.size(); ++i) {
        x.elements[i] = static_cast<T>(wasi::RandomKey(seed).normal(i));
    }
    return x;
}

template <class T, std::size_t N>
void check_form(const PlainTensor<T, N>& x, const Tucker<T, N>& tucker)
{
    const double whole = wasi_tests::squares(x.view());
    const double error = wasi_tests::squared_error<T, N>(x.view(), tucker);
    CHECK(tucker.shape() == x.shape);
    CHECK(wasi_tests::basis_defect(tucker) <= tolerance<T>(x.view().size(), 1.0));
    CHECK(std::abs(error - (1.0 - tucker.captured_energy) * whole) <= tolerance<T>(x.view().size(), whole));
    CHECK(std::abs(tucker.error - std::sqrt(error / whole)) <= 0.02 * tucker.error + tolerance<T>(1, 1.0));
}

template <class E, std::size_t N>
void check_monotone(const Extents<N>& shape, const Extents<N>& ranks, bool flat, std::uint64_t seed)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    INFO("shape ", wasi::shape_text(shape), ", ranks ", wasi::shape_text(ranks), ", flat ", flat, ", seed ", seed);
    const auto x = flat ? noise<T, N>(shape, seed) : wasi_tests::random_tensor<T, N>(shape, seed);
    auto tucker = hosvd<S, T, N>(x.view(), ranks, memory);
    const double start = tucker.captured_energy;
    double before = start;
    for (Index sweep = 0; sweep < 8; ++sweep) {
        tucker = hooi<S, T, N>(x.view(), std::move(tucker), HooiSweeps{.tolerance = 0.0, .max_sweeps = 1}, memory);
        check_form(x, tucker);
        CHECK(tucker.ranks() == ranks);
        CHECK(tucker.sweeps == 1);
        CHECK(tucker.captured_energy >= before - tolerance<T>(1, 1.0));  // rounding of the core made again
        before = tucker.captured_energy;
    }
    const auto whole = hooi<S, T, N>(x.view(), HooiOptions<N>{.ranks = ranks, .max_sweeps = 8}, memory);
    check_form(x, whole);
    CHECK(whole.sweeps >= 1);
    if (flat) {
        CHECK(before > start + 1e-4);  // that something is gained at all
    }
    // From the same start, in one call: never below it.
    const auto from =
        hooi<S, T, N>(x.view(), hosvd<S, T, N>(x.view(), ranks, memory), HooiSweeps{.max_sweeps = 8}, memory);
    CHECK(from.captured_energy >= start - tolerance<T>(1, 1.0));
    CHECK(std::abs(from.captured_energy - before) <= 1e-3);
}

TEST_CASE_TEMPLATE("hooi: every sweep captures as much or more; orthonormal bases; 3 and 4 modes", E, WASI_TEST_ENGINES)
{
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        check_monotone<E, 3>({6, 7, 8}, {2, 3, 2}, true, seed);
        check_monotone<E, 3>({6, 7, 8}, {2, 3, 4}, false, seed);
        check_monotone<E, 3>({1, 7, 8}, {1, 2, 2}, false, seed);
        check_monotone<E, 4>({4, 5, 3, 6}, {2, 2, 2, 2}, true, seed);
    }
}

TEST_CASE_TEMPLATE("hooi: a last sweep that loses to rounding is thrown away", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        INFO("seed ", seed);
        const auto x = noise<T, 3>({4, 5, 6}, seed);
        const auto run = [&](Index max_sweeps) {
            return hooi<S, T, 3>(x.view(), HooiOptions<3>{.ranks = 2, .tolerance = 0.0, .max_sweeps = max_sweeps},
                                 memory);
        };
        const auto last = run(300);
        CHECK(last.captured_energy >= run(last.sweeps - 1).captured_energy);  // to the last bit
    }
}

TEST_CASE_TEMPLATE("hooi: at a stop, no mode can be improved alone", E, WASI_TEST_DOUBLE_ENGINES)
{
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const auto x = noise<double, 3>({6, 7, 8}, 5);
    const auto tucker = hooi<S, double, 3>(
        x.view(), HooiOptions<3>{.ranks = {2, 3, 2}, .tolerance = 1e-13, .max_sweeps = 2000}, memory);
    CHECK(tucker.status == Status::ok);
    const double kept = wasi_tests::squares(tucker.core.template view<3>());
    for (std::size_t m = 0; m < 3; ++m) {
        PlainTensor<double, 3> image = x;
        for (std::size_t other = 0; other < 3; ++other) {
            if (other != m) {
                image =
                    wasi_tests::mode_product_by_loops(image.view(), tucker.bases[other].matrix().transposed(), other);
            }
        }
        const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(image.view(), m).view());
        CHECK(wasi_tests::energy(values, 0, tucker.ranks()[m]) <= kept * (1.0 + 1e-9));
    }
}

TEST_CASE_TEMPLATE("hooi: a matrix keeps the best approximation, an exactly low-rank tensor is recovered", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const auto matrix = wasi_tests::random_tensor<T, 2>({9, 12}, 3);
    const auto best = hooi<S, T, 2>(matrix.view(), HooiOptions<2>{.ranks = 3}, memory);
    const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(matrix.view(), 0).view());
    CHECK(std::abs(wasi_tests::squared_error<T, 2>(matrix.view(), best) - wasi_tests::tail_energy(values, 3)) <=
          tolerance<T>(108, wasi_tests::energy(values)));
    CHECK(best.status == Status::ok);

    PlainTensor<double, 3> grown({2, 3, 2});
    for (std::size_t i = 0; i < grown.elements.size(); ++i) {
        grown.elements[i] = wasi::RandomKey(4).normal(i);
    }
    for (std::size_t m = 0; m < 3; ++m) {
        grown = wasi_tests::mode_product_by_loops(
            grown.view(), wasi_tests::random_orthonormal(8 + static_cast<Index>(m), grown.shape[m], m).view(), m);
    }
    PlainTensor<T, 3> x(grown.shape);
    for (std::size_t i = 0; i < x.elements.size(); ++i) {
        x.elements[i] = static_cast<T>(grown.elements[i]);
    }
    const auto exact = hooi<S, T, 3>(x.view(), HooiOptions<3>{.ranks = {2, 3, 2}}, memory);
    CHECK(exact.status == Status::ok);
    CHECK(exact.error <= tolerance<T>(x.view().size(), 1.0));
    check_form(x, exact);
}

TEST_CASE("hooi: status and sweeps say how it ended; what cannot be throws")
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto x = noise<double, 3>({6, 7, 8}, 1);
    const auto run = [&](const HooiOptions<3>& options) { return hooi<S, double, 3>(x.view(), options, memory); };
    const auto cut = run({.ranks = 2, .tolerance = 0.0, .max_sweeps = 2});
    CHECK(cut.status == Status::sweep_limit);
    CHECK(cut.sweeps == 2);
    const auto none = run({.ranks = 2, .max_sweeps = 0});
    CHECK(none.sweeps == 0);
    CHECK(none.status == Status::sweep_limit);
    const auto done = run({.ranks = 2, .tolerance = 1e-3, .max_sweeps = 1000});
    CHECK(done.status == Status::ok);
    CHECK(done.sweeps < 100);
    CHECK(done.captured_energy > none.captured_energy);
    const PlainTensor<double, 3> zero({3, 4, 2});
    const auto nothing = hooi<S, double, 3>(zero.view(), HooiOptions<3>{.ranks = Energy{0.9}}, memory);
    CHECK(nothing.status == Status::ok);
    CHECK(nothing.captured_energy == 1.0);
    CHECK(nothing.error == 0.0);
    CHECK(wasi_tests::basis_defect(nothing) <= tolerance<double>(4, 1.0));

    CHECK_THROWS_AS(static_cast<void>(run({.tolerance = -1.0})), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(run({.tolerance = std::numeric_limits<double>::quiet_NaN()})),
                    wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(run({.max_sweeps = -1})), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(run({.ranks = 2, .order = {0, 0, 1}})), wasi::argument_error);
    const PlainTensor<double, 3> other({6, 7, 9});
    CHECK_THROWS_AS(
        static_cast<void>(hooi<S, double, 3>(other.view(), hosvd<S, double, 3>(x.view(), 2, memory), {}, memory)),
        wasi::shape_error);
    auto spoiled = x;
    spoiled.elements[5] = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(static_cast<void>(hooi<S, double, 3>(std::as_const(spoiled).view(),
                                                         hosvd<S, double, 3>(x.view(), 2, memory), {}, memory)),
                    wasi::argument_error);
    const PlainTensor<double, 3> empty({0, 7, 9});
    CHECK_THROWS_AS(static_cast<void>(hooi<S, double, 3>(empty.view(), HooiOptions<3>{}, memory)), wasi::shape_error);
}

}  // namespace
