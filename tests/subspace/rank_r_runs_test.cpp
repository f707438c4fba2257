// Many rank-r updates: thousands of steps in float, orthogonality, which form is taken, memory, bits.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include <subspace/weight_steps.hpp>
#include <wasi/core/parallel.hpp>

namespace {

using wasi::Index;
using wasi::Tag;
using wasi::Use;
using namespace wasi_tests;

/// SGD towards a matrix of rank K: dW = (W - W*) Q Qᵀ, Q one of 64 random bases in turn, so P = (W - W*) Q.
template <class T>
class Descent {
public:
    Descent(Index outputs, Index inputs, Index rank, Index r)
        : r_(r),
          goal_(outputs, rank, rank, inputs),
          held_(Subspace<T>::from_factors(filled<T>(outputs, rank, 1, true), filled<T>(rank, inputs, 2)))
    {
        for (std::uint64_t n = 0; n < 64; ++n) {  // the same Q in either precision
            bases_.push_back(
                as<T, double>(ConstMatrixView<double>(filled<double>(inputs, r, 1000 + n, true).matrix())));
        }
    }

    void step(std::uint64_t n, double eta, double shrink, UpdateForm form)
    {
        const Tensor<T>& q = bases_[static_cast<std::size_t>(n) % bases_.size()];
        Tensor<T> small(wasi::plain_memory(), {}, {held_.rank(), r_});
        Tensor<T> p(wasi::plain_memory(), {}, {held_.outputs(), r_});
        auto& memory = wasi::plain_memory();
        EigenStorage::multiply(small.matrix(), T(1), held_.right(), q.matrix(), T(0), memory);
        EigenStorage::multiply(p.matrix(), T(1), held_.left(), std::as_const(small).matrix(), T(0), memory);
        EigenStorage::multiply(small.matrix(), T(1), goal_.right.matrix(), q.matrix(), T(0), memory);
        EigenStorage::multiply(p.matrix(), T(-1), goal_.left.matrix(), std::as_const(small).matrix(), T(1), memory);
        held_.update(static_cast<T>(eta), static_cast<T>(shrink), {std::as_const(p).matrix(), q.matrix(), true}, form);
    }
    [[nodiscard]] const Subspace<T>& held() const { return held_; }
    [[nodiscard]] double error() const
    {
        return distance(dense(held_).matrix(), dense(goal()).matrix()) / frobenius_norm(dense(goal()).matrix());
    }

private:
    struct Goal {
        Tensor<T> left, right;
        Goal(Index outputs, Index rank_left, Index rank_right, Index inputs)
            : left(as<T, double>(ConstMatrixView<double>(filled<double>(outputs, rank_left, 11, true).matrix()))),
              right(as<T, double>(ConstMatrixView<double>(filled<double>(rank_right, inputs, 12).matrix())))
        {
        }
    };
    [[nodiscard]] Subspace<T> goal() const
    {
        return Subspace<T>::from_factors(wasi::clone<wasi::EigenStorage>(goal_.left, wasi::Tag{}),
                                         wasi::clone<wasi::EigenStorage>(goal_.right, wasi::Tag{}));
    }

    Index r_;
    std::vector<Tensor<T>> bases_;
    Goal goal_;
    Subspace<T> held_;
};

TEST_CASE("rank-r update: 10,240 steps in float stay with the same steps in double")
{
    Descent<float> single(24, 16, 6, 2);
    Descent<double> wide(24, 16, 6, 2);
    constexpr std::uint64_t steps = 10240;  // L is checked every 256 steps, so the last one ends with a check
    for (std::uint64_t n = 0; n < steps; ++n) {
        const double eta = 0.02;
        single.step(n, eta, 1e-6, UpdateForm::rank_r);
        wide.step(n, eta, 1e-6, UpdateForm::rank_r);
        if (n == 100) {
            CHECK(single.error() > 0.1);  // still on its way
        }
    }
    CHECK(single.held().updates().rank_r == static_cast<Index>(steps));
    CHECK(single.held().updates().declined == 0);
    CHECK(single.error() < 1e-3);  // arrived, but for the decay
    const double scale = frobenius_norm(dense(wide.held()).matrix());
    // A step takes away 0.02 r / I of the error, so the rounding of about 400 steps is there at any time.
    CHECK(distance(dense(single.held()).matrix(), dense(wide.held()).matrix()) <= tolerance<float>(400, scale, 2.0));
    CHECK(single.held().orthogonality_defect() <= tolerance<float>(6, 1.0));
    CHECK(wide.held().orthogonality_defect() <= tolerance<double>(6, 1.0));
}

TEST_CASE("rank-r update: a decay of 1e-8 a step is not lost in float")
{
    // 1 - 1e-8 is 1 in float. 10,000 steps take 1e-4 off W; rounding may take 1e-6.
    auto decay = [](auto zero, double shrink) {
        using T = decltype(zero);
        auto held = Subspace<T>::from_factors(filled<T>(20, 4, 1, true), filled<T>(4, 12, 2));
        for (std::uint64_t n = 0; n < 10000; ++n) {
            // P inside span(L) with random signs, so that every element moves and the subspace stands still.
            const auto c = filled<T>(4, 3, 5000 + n / 2);
            const auto q = as<T, double>(filled<double>(12, 3, 77, true).matrix());
            Tensor<T> p(wasi::plain_memory(), {}, {20, 3});
            EigenStorage::multiply(p.matrix(), n % 2 == 0 ? T(1e-3) : T(-1e-3), held.left(), c.matrix(), T(0),
                                   wasi::plain_memory());
            held.update(T(0.1), static_cast<T>(shrink), {std::as_const(p).matrix(), q.matrix(), true},
                        UpdateForm::rank_r);
        }
        return frobenius_norm(dense(held).matrix());
    };
    const double start = frobenius_norm(filled<float>(4, 12, 2).matrix());
    CHECK(decay(0.0, 1e-8) / start - 1.0 == doctest::Approx(-1e-4).epsilon(1e-3));
    CHECK(decay(0.0F, 1e-8) / start - 1.0 == doctest::Approx(-1e-4).epsilon(0.1));
}

TEST_CASE("rank-r update: L is made orthonormal again, and the weight stays")
{
    auto left = filled<float>(60, 10, 1, true);
    const auto noise = filled<float>(60, 10, 5);
    EigenStorage::add_scaled(left.matrix(), 1.0F, 2e-6F, noise.matrix());
    auto held =
        Subspace<float>::from_factors(wasi::clone<wasi::EigenStorage>(left, wasi::Tag{}), filled<float>(10, 40, 2));
    const auto before = dense(held);
    const double defect = held.orthogonality_defect();
    CHECK(defect > 2e-5);
    const auto p = filled<float>(60, 2, 3);
    const auto q = filled<float>(40, 2, 4, true);
    for (int n = 0; n < 256; ++n) {
        CHECK(held.updates().repairs == 0);
        CHECK(held.orthogonality_defect() > 0.5 * defect);
        held.update(0.0F, 0.0F, {p.matrix(), q.matrix(), true}, UpdateForm::rank_r);
    }
    CHECK(held.updates().repairs == 1);
    CHECK(held.state_bytes() == 0);
    CHECK(held.orthogonality_defect() <= tolerance<float>(10, 1.0));
    CHECK(distance(dense(held).matrix(), before.matrix()) <=
          tolerance<float>(60 * 10, frobenius_norm(before.matrix()), 1.0));
}

TEST_CASE("the automatic form is the one with fewer flops, by the formulas and by the ledger")
{
    using wasi::subspace::cheaper_update;
    using wasi::subspace::plain_update_flops;
    using wasi::subspace::rank_r_update_flops;
    using wasi::subspace::UpdateExtents;
    // The layer of the paper: thin gradients by rank r, up to about K/2.
    CHECK(cheaper_update({3072, 768, 373, 8}) == UpdateForm::rank_r);
    CHECK(cheaper_update({3072, 768, 373, 64}) == UpdateForm::rank_r);
    CHECK(cheaper_update({3072, 768, 373, 256}) == UpdateForm::plain);
    CHECK(cheaper_update({3072, 768, 10, 8}) == UpdateForm::plain);
    CHECK(cheaper_update({768, 768, 6, 7}) == UpdateForm::plain);  // r > K
    CHECK(10.0 * rank_r_update_flops({3072, 768, 373, 8}) < plain_update_flops({3072, 768, 373, 8}));

    int rank_r = 0;
    int plain = 0;
    for (const auto& e :
         {UpdateExtents{200, 100, 40, 2}, UpdateExtents{100, 200, 40, 2}, UpdateExtents{100, 60, 30, 12},
          UpdateExtents{60, 60, 30, 28}, UpdateExtents{200, 100, 8, 6}}) {
        CAPTURE(wasi::shape_text({e.outputs, e.inputs, e.rank, e.gradient_rank}));
        wasi::Ledger memory;
        const auto step = generic<double>("", e.outputs, e.inputs, e.rank, e.gradient_rank);
        std::array<double, 3> flops{};
        for (const UpdateForm form : {UpdateForm::automatic, UpdateForm::plain, UpdateForm::rank_r}) {
            Tensor<double> left(memory, {}, step.left.shape());
            Tensor<double> right(memory, {}, step.right.shape());
            EigenStorage::copy(left.matrix(), step.left.matrix());
            EigenStorage::copy(right.matrix(), step.right.matrix());
            auto held = Subspace<double>::from_factors(std::move(left), std::move(right));
            held.update(0.1, 0.0, step.gradient(), form);  // the first rank-r step computes M
            const double before = memory.flops();
            held.update(0.1, 0.0, step.gradient(), form);
            flops[static_cast<std::size_t>(form)] = memory.flops() - before;
            if (form == UpdateForm::automatic) {
                CHECK((held.updates().rank_r == 2) == (cheaper_update(e) == UpdateForm::rank_r));
                CHECK((held.updates().plain == 2) == (cheaper_update(e) == UpdateForm::plain));
                rank_r += held.updates().rank_r == 2 ? 1 : 0;
                plain += held.updates().plain == 2 ? 1 : 0;
            }
        }
        CHECK(flops[0] == doctest::Approx(flops[static_cast<std::size_t>(cheaper_update(e))]));
        CHECK(flops[1] == doctest::Approx(plain_update_flops(e)).epsilon(0.1));
        INFO("rank-r flops ", flops[2], ", by the formula ", rank_r_update_flops(e));
        CHECK(flops[2] <= rank_r_update_flops(e));
        CHECK(flops[2] >= 0.5 * rank_r_update_flops(e));  // the formula counts double twice
    }
    CHECK(rank_r >= 2);
    CHECK(plain >= 2);
}

TEST_CASE("rank-r update: memory is booked as state while it is there, and given back")
{
    wasi::Ledger memory;
    {
        const Tag tag{Use::weight, 3};
        const auto w = filled<float>(80, 50, 1);
        auto held = Subspace<float>::start(w.matrix(), linalg::FixedRank{20}, memory, tag);
        const Tag state{Use::optimiser_state, 3};
        const auto p = filled<float>(80, 2, 3);
        const auto q = filled<float>(50, 2, 4, true);
        CHECK(held.state_bytes() == 0);
        held.update(0.1F, 0.0F, {p.matrix(), q.matrix(), true});
        CHECK(held.updates().rank_r == 1);
        CHECK(held.state_bytes() == 20 * 20 * sizeof(double));
        CHECK(memory.of(state).current == held.state_bytes());
        CHECK(memory.of(tag).current == held.bytes());
        CHECK(memory.total().current == held.bytes() + held.state_bytes());
        held.update(0.1F, 0.0F, {p.matrix(), q.matrix(), true}, UpdateForm::plain);  // changes R, so M is void
        CHECK(held.state_bytes() == 0);
        CHECK(memory.total().current == held.bytes());
        held.update(0.1F, 0.0F, {p.matrix(), q.matrix(), true});
        Matrix<float> d_left(80, 20);
        Matrix<float> d_right(20, 50);
        held.partial_gradients(d_left.view(), d_right.view(), {p.matrix(), q.matrix(), true});
        held.update(0.1F, 0.0F, linalg::FactorGradients<float>{d_left.view(), d_right.view()});
        CHECK(held.state_bytes() == 0);
    }
    CHECK(memory.total().current == 0);
}

TEST_CASE_TEMPLATE("rank-r update: the same bits from one and several threads", T, float, double)
{
    const int before = wasi::thread_count();
    std::vector<Subspace<T>> results;
    for (const int threads : {1, 2, 3}) {
        wasi::set_thread_count(threads);
        const auto step = generic<T>("", 400, 200, 60, 6);
        results.push_back(step.after(UpdateForm::rank_r));
        results.back().update(T(0.1), T(0), step.gradient(), UpdateForm::rank_r);
    }
    wasi::set_thread_count(before);
    for (const auto& result : results) {
        CHECK(result.updates().rank_r == 2);
        CHECK(same_bits(results[0].left(), result.left()));
        CHECK(same_bits(results[0].right(), result.right()));
    }
}

}  // namespace
