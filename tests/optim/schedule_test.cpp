#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <wasi/optim/schedule.hpp>

namespace {

using wasi::Index;
using wasi::optim::Schedule;

TEST_CASE("constant: the rate, after a linear warm-up")
{
    const Schedule schedule{.kind = Schedule::Kind::constant, .rate = 0.2, .warmup_steps = 4, .total_steps = 10};
    schedule.check();
    CHECK(schedule(0) == doctest::Approx(0.05));
    CHECK(schedule(1) == doctest::Approx(0.10));
    CHECK(schedule(3) == doctest::Approx(0.20));
    for (Index step = 4; step < 12; ++step) {
        CHECK(schedule(step) == 0.2);
    }
}

TEST_CASE("cosine: half a cosine from the rate to the final rate")
{
    const Schedule schedule{
        .kind = Schedule::Kind::cosine, .rate = 0.3, .final_rate = 0.1, .warmup_steps = 2, .total_steps = 12};
    schedule.check();
    CHECK(schedule(1) == doctest::Approx(0.3));
    CHECK(schedule(2) == doctest::Approx(0.3));
    CHECK(schedule(7) == doctest::Approx(0.2));  // half way
    CHECK(schedule(12) == doctest::Approx(0.1));
    CHECK(schedule(100) == doctest::Approx(0.1));
    for (Index step = 3; step < 12; ++step) {
        CHECK(schedule(step) < schedule(step - 1));
    }
    // cos(pi/4) by hand: a quarter of the way
    CHECK(Schedule{.rate = 1.0, .total_steps = 4}(1) == doctest::Approx(0.5 + 0.25 * std::sqrt(2.0)));
}

TEST_CASE("a run that is all warm-up, and one without steps to decay over")
{
    const Schedule schedule{.rate = 1.0, .warmup_steps = 5, .total_steps = 5};
    schedule.check();
    CHECK(schedule(4) == doctest::Approx(1.0));
    CHECK(schedule(5) == 1.0);
}

TEST_CASE("what makes no sense is refused")
{
    const auto refused = [](Schedule schedule) { schedule.check(); };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(refused({.rate = -1.0}), "Schedule: rate is -1", wasi::argument_error);
    CHECK_THROWS_AS(refused({.rate = nan}), wasi::argument_error);
    CHECK_THROWS_AS(refused({.final_rate = std::numeric_limits<double>::infinity()}), wasi::argument_error);
    CHECK_THROWS_AS(refused({.warmup_steps = -1}), wasi::argument_error);
    CHECK_THROWS_AS(refused({.warmup_steps = 3, .total_steps = 2}), wasi::argument_error);
    CHECK_THROWS_AS(refused({.total_steps = 0}), wasi::argument_error);
}

}  // namespace
