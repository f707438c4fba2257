// The arena along a training run: what the first step has set up is enough for all that follow, and it stays small.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <support/models.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
using train::method;
using train::Method;
using wasi::Use;

enum class Gradients { streamed, clipped, accumulated };

struct Seen {
    std::vector<std::size_t> outside;      ///< blocks from outside the arena, by step
    std::vector<std::size_t> high_waters;  ///< of the arena, by step
    std::vector<std::size_t> peaks;        ///< of the classes that live in it, by step
    std::map<std::string, std::vector<float>> weights;
};

[[nodiscard]] Seen train_in_arena(Method method, Gradients gradients, double momentum, bool arena)
{
    Seen seen;
    wasi::Ledger memory;
    Model<float> model(tiny_config, memory, wasi::RandomKey(1));
    randomize(model, 3);
    const auto data = random_images<float>(tiny_config, 12, 5);
    apply(model, {.method = method, .weight_rank = linalg::FixedRank{6}, .activation = {.ranks = {2, 3, 4}}});
    wasi::optim::Sgd<float, EigenStorage> sgd({.momentum = momentum, .weight_decay = 1e-4}, memory);
    if (arena) {
        memory.open_arena();
    }
    train::TrainOptions options;
    options.epochs = 3;
    options.batch_size = 4;
    options.clip_norm = gradients == Gradients::clipped ? 1.0 : 0.0;
    options.micro_batches = gradients == Gradients::accumulated ? 2 : 1;
    const auto stays = [&] { return memory.of(Use::weight).current + memory.of(Use::optimiser_state).current; };
    memory.reset_peaks();
    options.on_step = [&](const train::StepRecord&) {
        seen.outside.push_back(memory.allocations_outside_arena());
        seen.high_waters.push_back(memory.arena_high_water());
        seen.peaks.push_back(memory.total().peak - stays());
        CHECK((memory.arena_used() == 0) == (memory.of(Use::gradient).current == 0));
        memory.reset_peaks();
        return true;
    };
    CHECK(train::train(model, data, sgd, options, wasi::RandomKey(5)) == 9);
    CHECK(memory.arena_used() == 0);
    seen.weights = snapshot(model);
    return seen;
}

TEST_CASE("after the first step nothing is asked of the system, and the arena is hardly larger than its blocks")
{
    for (const Method method : {method("head"), method("vanilla"), method("wsi"), method("asi"), method("wasi")}) {
        for (const Gradients gradients : {Gradients::streamed, Gradients::clipped, Gradients::accumulated}) {
            CAPTURE(method.name);
            CAPTURE(static_cast<int>(gradients));
            const double momentum = has_low_rank_weights(method) ? 0.0 : 0.9;
            const Seen seen = train_in_arena(method, gradients, momentum, wasi::pages::available);
            if (!wasi::pages::available) {
                continue;
            }
            for (std::size_t step = 1; step < seen.outside.size(); ++step) {
                CAPTURE(step);
                CHECK(seen.outside[step] == 0);
                // On models this small one block is a tenth of everything: what no rule that moves nothing can avoid is
                // a hole that is just too small for the next block, here the tokens of a batch.
                const double tokens = 4.0 * 17.0 * 32.0 * sizeof(float);
                CHECK(static_cast<double>(seen.high_waters[step]) <=
                      1.10 * static_cast<double>(seen.peaks[step]) + tokens);
            }
        }
    }
}

TEST_CASE("where blocks come from changes no bit of the result")
{
    for (const Method method : {method("vanilla"), method("wasi")}) {
        CAPTURE(method.name);
        CHECK(train_in_arena(method, Gradients::clipped, 0.0, true).weights ==
              train_in_arena(method, Gradients::clipped, 0.0, false).weights);
    }
}

TEST_CASE("a recorded step begins and ends with what stays, and has its moments in order")
{
    wasi::Ledger memory;
    Model<float> model(tiny_config, memory, wasi::RandomKey(1));
    const auto data = random_images<float>(tiny_config, 8, 5);
    wasi::optim::Sgd<float, EigenStorage> sgd({}, memory);
    memory.open_arena();
    train::TrainOptions options;
    options.batch_size = 4;
    options.clip_norm = 1.0;
    wasi::MemoryEvents record;
    std::size_t peak = 0;
    options.on_step = [&](const train::StepRecord& step) {
        if (step.step == 0) {
            memory.reset_peaks();
            memory.record_events(true);
        } else {
            record = memory.events();
            peak = memory.total().peak;
        }
        return true;
    };
    REQUIRE(train::train(model, data, sgd, options, wasi::RandomKey(5)) == 2);
    REQUIRE(record.complete);
    auto bytes = record.start;
    std::size_t most = 0;
    for (const auto& event : record.events) {
        bytes[static_cast<std::size_t>(event.use)] += static_cast<std::size_t>(event.bytes);
        std::size_t sum = 0;
        for (const std::size_t one : bytes) {
            sum += one;
        }
        most = std::max(most, sum);
    }
    CHECK(bytes == record.start);
    CHECK(most == peak);
    REQUIRE(record.marks.size() == 3);
    const std::array<std::string, 3> names{"forward", "backward", "update"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        CHECK(record.marks[i].label == names[i]);
        CHECK((i == 0 || record.marks[i].position > record.marks[i - 1].position));
    }
}

}  // namespace
