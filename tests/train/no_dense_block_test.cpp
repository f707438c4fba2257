// No block of O x I elements is allocated while WASI trains, counted where memory really comes from, not by the ledger.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include <Eigen/Core>

#include <support/models.hpp>
#include <wasi/optim/any_optimizer.hpp>

#if defined(__SANITIZE_ADDRESS__)
#define WASI_TESTS_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WASI_TESTS_ADDRESS_SANITIZER 1
#endif
#endif

namespace {

std::atomic<bool> counting{false};
std::atomic<std::size_t> largest{0};

void note(std::size_t bytes)
{
    if (counting.load(std::memory_order_relaxed)) {
        std::size_t seen = largest.load();
        while (seen < bytes && !largest.compare_exchange_weak(seen, bytes)) {
        }
    }
}

/// The largest single allocation while it lives, of every thread.
class Watch {
public:
    Watch()
    {
        largest = 0;
        counting = true;
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { counting = false; }
    [[nodiscard]] std::size_t largest_block() const { return largest; }
};

}  // namespace

// Every allocation of the program passes here: operator new in all its forms, Eigen and the standard containers end in
// these.
#ifdef WASI_TESTS_ADDRESS_SANITIZER
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                                         void (*on_free)(const volatile void*));
namespace {
const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t bytes) { note(bytes); }, [](const volatile void*) {});
}
#else
extern "C" {
// glibc's names of the real functions: to look them up at run time would itself allocate.
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t bytes) noexcept
{
    note(bytes);
    return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept
{
    note(count * bytes);
    return __libc_calloc(count, bytes);
}
void* realloc(void* block, std::size_t bytes) noexcept
{
    note(bytes);
    return __libc_realloc(block, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) noexcept
{
    note(bytes);
    return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept
{
    note(bytes);
    return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t bytes) noexcept
{
    note(bytes);
    *block = __libc_memalign(alignment, bytes);
    return *block == nullptr ? 12 : 0;
}
}
#endif

namespace {

using namespace wasi_tests;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;
using train::method;
using train::Method;

// B N = 10 rows is less than every I, so no saved input or gradient is as large as a weight by accident.
constexpr wasi::nn::VisionTransformerConfig config{
    .image = 8, .patch = 4, .dim = 64, .depth = 2, .heads = 2, .mlp = 160, .classes = 5};
constexpr Index batch = 2;

enum class Gradients { streamed, clipped, accumulated };

struct Seen {
    std::size_t largest_block = 0;
    std::size_t least_weight = 0;  ///< bytes of the smallest O x I among the chosen layers
};

/// Six steps after conversion, all of them watched.
[[nodiscard]] Seen train_watched(Method method, Gradients gradients, double momentum = 0.0)
{
    wasi::Ledger memory;
    Model<float> model(config, memory, wasi::RandomKey(1));
    randomize(model, 3);
    const auto data = random_images<float>(config, 6, 5);
    apply(model, {.method = method, .weight_rank = linalg::FixedRank{6}, .activation = {.ranks = {2, 3, 4}}});
    Seen seen;
    seen.least_weight = std::numeric_limits<std::size_t>::max();
    for (const auto* layer : nn::selected_layers(model, nn::Layers::all)) {
        REQUIRE(layer->weight.is_low_rank() == has_low_rank_weights(method));
        seen.least_weight =
            std::min(seen.least_weight,
                     static_cast<std::size_t>(layer->weight.outputs() * layer->weight.inputs()) * sizeof(float));
        CHECK(batch * config.tokens() < layer->weight.inputs());
    }
    wasi::optim::Sgd<float, EigenStorage> sgd({.momentum = momentum, .weight_decay = 1e-4}, memory);
    train::TrainOptions options;
    options.epochs = 2;
    options.batch_size = batch;
    options.clip_norm = gradients == Gradients::clipped ? 1.0 : 0.0;
    options.micro_batches = gradients == Gradients::accumulated ? 2 : 1;
    Index steps = 0;
    {
        const Watch watch;
        steps = train::train(model, data, sgd, options, wasi::RandomKey(5));
        seen.largest_block = watch.largest_block();
    }
    CHECK(steps == 6);
    return seen;
}

/// Compilers may leave out a pair of allocation and release that nobody looks at; this looks.
void* looked_at(void* block)
{
    void* volatile seen = block;
    return seen;
}

TEST_CASE("the counter sees every way to memory")
{
    const auto sees = [](std::size_t bytes, auto allocate) {
        const Watch watch;
        allocate();
        return watch.largest_block() >= bytes;
    };
    wasi::Ledger memory;
    CHECK(sees(40000, [&] { const wasi::Tensor<float> tensor(memory, {}, {100, 100}); }));
    CHECK(sees(40000, [] {
        std::vector<float> values(10000, 1.0F);
        looked_at(values.data());
    }));
    CHECK(sees(40000, [] { const Eigen::MatrixXf matrix = Eigen::MatrixXf::Zero(100, 100); }));
    CHECK(sees(40000, [] {
        ::operator delete (looked_at(::operator new (40000, std::align_val_t{64})), std::align_val_t{64});
    }));
    CHECK(sees(40000, [] { std::free(looked_at(std::calloc(100, 400))); }));
    CHECK(sees(40000, [] { std::free(looked_at(std::realloc(looked_at(std::malloc(8)), 40000))); }));
    CHECK_FALSE(sees(40000, [&] { const wasi::Tensor<float> tensor(memory, {}, {99, 100}); }));
}

TEST_CASE("dense weights: a block of O x I is there, and the counter sees it")
{
    const Seen vanilla = train_watched(method("vanilla"), Gradients::streamed);
    CHECK(vanilla.largest_block >= vanilla.least_weight);
}

TEST_CASE("low-rank weights: no block of O x I after conversion, however gradients reach the optimiser")
{
    for (const Method method : {method("wasi"), method("wsi"), method("factors")}) {
        for (const Gradients gradients : {Gradients::streamed, Gradients::clipped, Gradients::accumulated}) {
            for (const double momentum : {0.0, 0.9}) {
                CAPTURE(method.name);
                CAPTURE(static_cast<int>(gradients));
                CAPTURE(momentum);
                const Seen seen = train_watched(method, gradients, momentum);
                CHECK(seen.least_weight == 64 * 64 * sizeof(float));
                CHECK(seen.largest_block < seen.least_weight);
                CHECK(seen.largest_block > 0);
            }
        }
    }
}

}  // namespace
