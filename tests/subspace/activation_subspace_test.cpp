// The warm-started subspace of saved inputs: ranks, energies, restarts, bits.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <support/matrices.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/subspace/activation_subspace.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;
using namespace wasi_tests;
namespace linalg = wasi::linalg;
using Options = wasi::subspace::ActivationSubspaceOptions;

template <class T>
using Subspace = wasi::subspace::ActivationSubspace<T, EigenStorage>;

constexpr Index inputs = 40;

/// Activations (B, 9, 40) around an eight-dimensional feature subspace whose singular values fall off, with noise on
/// top. `where` turns the subspace: 0 and 1 are orthogonal, values between lie on the way.
template <class T>
[[nodiscard]] Tensor<T> activations(Index batch, double where, std::uint64_t seed, double noise = 0.02)
{
    auto& memory = wasi::plain_memory();
    Matrix<double> both = random_matrix<double>(inputs, 16, 1);
    (void)EigenStorage::orthonormalize(both.view(), memory);
    const auto sources = random_matrix<double>(batch * 9, 8, seed);
    const auto rest = random_matrix<double>(batch * 9, inputs, seed + 1000);
    const double angle = where * 1.5707963267948966;
    Tensor<T> x(memory, {}, {batch, 9, inputs});
    for (Index row = 0; row < batch * 9; ++row) {
        for (Index i = 0; i < inputs; ++i) {
            double sum = noise * rest(row, i);
            for (Index k = 0; k < 8; ++k) {
                sum += sources(row, k) / static_cast<double>(k + 1) *
                       (std::cos(angle) * both(i, k) + std::sin(angle) * both(i, 8 + k));
            }
            x.matrix()(row, i) = static_cast<T>(sum);
        }
    }
    return x;
}

template <class T>
[[nodiscard]] Subspace<T> make(Options options, wasi::Memory& memory = wasi::plain_memory())
{
    return Subspace<T>(std::move(options), wasi::RandomKey(3), memory, Tag{Use::weight, 5});
}

/// 1 - ||X - X~||² / ||X||² from the restored tensor.
template <class T>
[[nodiscard]] double true_energy(const Tensor<T>& x, const wasi::tensor::Tucker<T, 3>& factors)
{
    const auto restored = wasi::tensor::reconstruct<EigenStorage, T, 3>(factors, wasi::plain_memory());
    double lost = 0.0;
    double total = 0.0;
    for (Index i = 0; i < x.size(); ++i) {
        const double value = static_cast<double>(x.data()[i]);
        const double gap = value - static_cast<double>(restored.data()[i]);
        lost += gap * gap;
        total += value * value;
    }
    return 1.0 - lost / total;
}

TEST_CASE_TEMPLATE("fixed ranks: as asked, clipped to what a batch has, smaller last batches included", T, float,
                   double)
{
    auto subspace = make<T>({.ranks = {6, 4, 5}});
    CHECK(subspace.ranks() == std::array<Index, 3>{0, 0, 0});
    std::uint64_t seed = 0;
    for (const Index batch : {8, 8, 3, 8, 1}) {
        CAPTURE(batch);
        const auto x = activations<T>(batch, 0.0, ++seed);
        const auto factors = subspace.compress(std::as_const(x).template view<3>());
        CHECK(factors.ranks() == std::array<Index, 3>{std::min<Index>(batch, 6), 4, 5});
        CHECK(factors.shape() == std::array<Index, 3>{batch, 9, inputs});
        CHECK(subspace.ranks() == factors.ranks());
        CHECK(subspace.captured_energy() == factors.captured_energy);
        for (const auto& basis : factors.bases) {
            CHECK(orthonormality_defect(basis.matrix()) <= tolerance<T>(inputs, 1.0));
        }
        CHECK(factors.captured_energy ==
              doctest::Approx(true_energy(x, factors)).epsilon(200.0 * static_cast<double>(wasi::epsilon<T>)));
        CHECK(max_difference(subspace.basis(), std::as_const(factors.bases[2]).matrix()) == 0.0);
    }
    CHECK(subspace.restarts() == 1);
}

TEST_CASE_TEMPLATE("energy ranks: each mode loses no more than its share, and the feature rank stands still", T, float,
                   double)
{
    const double energy = 0.95;
    auto subspace = make<T>({.ranks = {linalg::Energy{energy}, linalg::Energy{energy}, linalg::Energy{energy}}});
    Index feature_rank = 0;
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        const auto x = activations<T>(8, 0.0, seed);
        const auto factors = subspace.compress(std::as_const(x).template view<3>());
        if (seed == 1) {
            feature_rank = factors.ranks()[2];
            // Three modes, each keeping 95 %: exact at the restart, by Pythagoras.
            CHECK(factors.captured_energy >= 1.0 - 3.0 * (1.0 - energy) - 1e-6);
            CHECK(feature_rank >= 2);
            CHECK(feature_rank < 8);
        }
        CHECK(factors.ranks()[2] == feature_rank);
        CHECK(factors.captured_energy ==
              doctest::Approx(true_energy(x, factors)).epsilon(200.0 * static_cast<double>(wasi::epsilon<T>)));
    }
    CHECK(subspace.restarts() == 1);
}

TEST_CASE("energy 1 keeps everything")
{
    auto subspace = make<double>({.ranks = {linalg::Energy{1.0}, linalg::Energy{1.0}, linalg::Energy{1.0}}});
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        const auto x = activations<double>(8, 0.0, seed);
        const auto factors = subspace.compress(x.view<3>());
        CHECK(factors.ranks() == std::array<Index, 3>{8, 9, inputs});
        CHECK(true_energy(x, factors) == doctest::Approx(1.0).epsilon(1e-13));
    }
}

TEST_CASE("warm steps come close to the best subspace of each batch")
{
    // Full batch and token ranks: only the feature mode can lose, and the best it can do is the truncated SVD.
    auto subspace = make<double>({.ranks = {8, 9, 5}});
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        const auto x = activations<double>(8, 0.0, seed);
        const auto factors = subspace.compress(x.view<3>());
        const auto svd = linalg::truncated_svd<EigenStorage, double>(x.matrix(), {.rank = linalg::FixedRank{5}},
                                                                     wasi::plain_memory());
        CHECK(factors.captured_energy <= svd.info.captured_energy + 1e-12);
        CHECK(1.0 - factors.captured_energy <= 1.25 * (1.0 - svd.info.captured_energy));
    }
    CHECK(subspace.restarts() == 1);
}

TEST_CASE("a subspace that drifts is followed without a restart")
{
    auto subspace = make<double>({.ranks = {8, 9, 8}});
    double least = 1.0;
    for (int step = 0; step <= 40; ++step) {  // from the first subspace all the way to the one orthogonal to it
        const auto x = activations<double>(8, step / 40.0, static_cast<std::uint64_t>(step) + 1);
        least = std::min(least, subspace.compress(x.view<3>()).captured_energy);
    }
    CHECK(subspace.restarts() == 1);
    CHECK(least > 0.95);
}

TEST_CASE("a subspace that jumps causes one restart, and ranks are chosen anew there")
{
    // 97 % with noise; after the jump the data has more dimensions.
    auto subspace = make<double>({.ranks = {linalg::Energy{0.97}, linalg::Energy{0.97}, linalg::Energy{0.97}}});
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        (void)subspace.compress(activations<double>(8, 0.0, seed).view<3>());
    }
    CHECK(subspace.restarts() == 1);
    const Index before = subspace.ranks()[2];
    // Nothing but noise: no subspace of the old rank holds much of it.
    auto x = activations<double>(8, 0.0, 4);
    EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(77));
    const auto factors = subspace.compress(std::as_const(x).view<3>());
    CHECK(subspace.restarts() == 2);
    CHECK(subspace.ranks()[2] > 2 * before);
    CHECK(factors.captured_energy >= 0.9);
    const Index after = subspace.ranks()[2];
    EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(78));
    (void)subspace.compress(std::as_const(x).view<3>());
    CHECK(subspace.restarts() == 2);
    CHECK(subspace.ranks()[2] == after);
}

TEST_CASE("a slow decline: the restart comes when the energy is below the share of the start, however small each step")
{
    // Fixed ranks, and noise that grows: some per cent of the energy are lost in every step.
    auto watched = make<double>({.ranks = {8, 9, 8}});
    auto patient = make<double>({.ranks = {8, 9, 8}, .restart_below = 0.0});
    double first = 0.0;
    double before = 0.0;
    bool fallen = false;
    for (int step = 0; step < 40 && !fallen; ++step) {
        CAPTURE(step);
        const auto x =
            activations<double>(8, 0.0, static_cast<std::uint64_t>(step) + 1, 0.02 + 0.01 * static_cast<double>(step));
        (void)watched.compress(x.view<3>());
        const double energy = patient.compress(x.view<3>()).captured_energy;
        if (step == 0) {
            first = energy;
        } else {
            REQUIRE(energy > 0.92 * before);
        }
        before = energy;
        fallen = energy < 0.9 * first;
        CHECK(watched.restarts() == (fallen ? 2 : 1));
    }
    CHECK(fallen);
    CHECK(patient.restarts() == 1);
}

TEST_CASE("restart_below 0 never restarts: the energy falls and the feature rank stays")
{
    auto subspace = make<double>(
        {.ranks = {linalg::Energy{0.97}, linalg::Energy{0.97}, linalg::Energy{0.97}}, .restart_below = 0.0});
    (void)subspace.compress(activations<double>(8, 0.0, 1).view<3>());
    const Index before = subspace.ranks()[2];
    auto x = activations<double>(8, 0.0, 4);
    EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(77));
    const auto factors = subspace.compress(std::as_const(x).view<3>());
    CHECK(subspace.restarts() == 1);
    CHECK(subspace.ranks()[2] == before);
    CHECK(factors.captured_energy < 0.7);
}

TEST_CASE("restart_every takes a fresh basis by the clock")
{
    auto subspace = make<double>({.ranks = {8, 9, 5}, .restart_every = 3});
    std::vector<Index> restarts;
    for (std::uint64_t seed = 1; seed <= 7; ++seed) {
        (void)subspace.compress(activations<double>(8, 0.0, seed).view<3>());
        restarts.push_back(subspace.restarts());
    }
    CHECK(restarts == std::vector<Index>{1, 1, 1, 2, 2, 2, 3});
}

TEST_CASE("drift: small in a standing subspace, the angle itself in one that turns")
{
    auto subspace = make<double>({.ranks = {8, 9, 8}});
    CHECK(subspace.drift() == 0.0);
    double where = 0.0;
    (void)subspace.compress(activations<double>(16, where, 1, 0.0).view<3>());
    CHECK(subspace.drift() == 0.0);
    // Eight dimensions without noise: the basis is exact after every step.
    for (const double turn : {0.0, 0.01, 0.1, 0.5}) {
        where += turn;
        (void)subspace.compress(activations<double>(16, where, 2, 0.0).view<3>());
        CHECK(subspace.drift() == doctest::Approx(std::sin(turn * 1.5707963267948966)).epsilon(1e-9));
    }
}

TEST_CASE("a jump to an orthogonal subspace of the same size is found in one step")
{
    // Hardly anything of the new data is seen by the old basis, but one product with X and its transpose turns it
    // there.
    auto subspace = make<double>({.ranks = {8, 9, 8}});
    (void)subspace.compress(activations<double>(8, 0.0, 1).view<3>());
    const auto x = activations<double>(8, 1.0, 2);
    CHECK(subspace.compress(x.view<3>()).captured_energy > 0.95);
    CHECK(true_energy(x, subspace.compress(x.view<3>())) > 0.98);
}

TEST_CASE_TEMPLATE("the same bits from one and several threads, and from equal keys", T, float, double)
{
    const int before = wasi::thread_count();
    std::vector<Tensor<T>> cores;
    std::vector<Tensor<T>> bases;
    for (const int threads : {1, 2, 3}) {
        wasi::set_thread_count(threads);
        auto subspace = make<T>({.ranks = {linalg::Energy{0.9}, linalg::Energy{0.9}, 6}});
        for (std::uint64_t seed = 1; seed <= 3; ++seed) {
            const auto x = activations<T>(64, 0.0, seed);
            auto factors = subspace.compress(x.template view<3>());
            if (seed == 3) {
                cores.push_back(std::move(factors.core));
                bases.push_back(std::move(factors.bases[2]));
            }
        }
    }
    wasi::set_thread_count(before);
    for (std::size_t i = 1; i < cores.size(); ++i) {
        CHECK(same_bits(cores[0].matrix(), cores[i].matrix()));
        CHECK(same_bits(bases[0].matrix(), bases[i].matrix()));
    }
}

TEST_CASE("the basis is booked where it belongs, and nothing else stays")
{
    wasi::Ledger memory;
    {
        auto subspace = make<float>({.ranks = {6, 4, 5}}, memory);
        (void)subspace.compress(activations<float>(8, 0.0, 1).view<3>());
        (void)subspace.compress(activations<float>(8, 0.0, 2).view<3>());
        CHECK(memory.of(Tag{Use::weight, 5}).current == sizeof(float) * inputs * 5);
        CHECK(memory.total().current == sizeof(float) * inputs * 5);
    }
    CHECK(memory.total().current == 0);
}

TEST_CASE("zeros, and input that is refused")
{
    auto subspace = make<double>({.ranks = {linalg::Energy{0.9}, linalg::Energy{0.9}, linalg::Energy{0.9}}});
    Tensor<double> zeros(wasi::plain_memory(), {}, {2, 9, inputs});
    std::ranges::fill(zeros.span(), 0.0);
    const auto factors = subspace.compress(std::as_const(zeros).view<3>());
    CHECK(factors.captured_energy == 1.0);
    CHECK(orthonormality_defect(factors.bases[2].matrix()) <= 1e-13);

    const auto x = activations<double>(4, 0.0, 1);
    (void)subspace.compress(x.view<3>());
    const auto other = random_matrix<double>(1, 4 * 9 * 39, 3);
    CHECK_THROWS_AS((void)subspace.compress({other.view().data, {4, 9, 39}}), wasi::shape_error);
    CHECK_THROWS_AS((void)subspace.compress({other.view().data, {0, 9, inputs}}), wasi::shape_error);
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        auto spoilt = activations<double>(4, 0.0, 2);
        spoilt.data()[17] = bad;
        CHECK_THROWS_AS((void)subspace.compress(std::as_const(spoilt).view<3>()), wasi::argument_error);
        auto fresh = make<double>({});
        CHECK_THROWS_AS((void)fresh.compress(std::as_const(spoilt).view<3>()), wasi::argument_error);
    }
    CHECK_THROWS_AS((void)make<double>({.restart_every = -1}), wasi::argument_error);
    for (const double share : {-0.1, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
        CHECK_THROWS_AS((void)make<double>({.restart_below = share}), wasi::argument_error);
    }
    CHECK_THROWS_WITH_AS((void)linalg::RankRule(linalg::Energy{1.2}), "energy must be in (0, 1], got 1.2",
                         wasi::argument_error);
}

}  // namespace
