// Algorithms compute by primitives alone: on a storage whose memory nobody else may touch they give the same bits.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <support/files.hpp>
#include <support/locked_storage.hpp>
#include <support/models.hpp>
#include <wasi/files/load_checkpoint.hpp>
#include <wasi/files/run_file.hpp>
#include <wasi/linalg/orthonormalize.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/subspace_iteration.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/hosvd.hpp>
#include <wasi/tensor/warm_tucker.hpp>

namespace {

using namespace wasi_tests;
using wasi::ConstMatrixView;
using wasi::RandomKey;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
namespace linalg = wasi::linalg;
namespace optim = wasi::optim;

static_assert(wasi::OptimizerStorageFor<LockedStorage, float> && wasi::OptimizerStorageFor<LockedStorage, double>);

/// How a child process that runs `body` ends: the number of the signal, or 0.
template <class Body>
[[nodiscard]] int signal_of(const Body& body)
{
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGSEGV, SIG_DFL);
        std::signal(SIGBUS, SIG_DFL);
        body();
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/// The elements, by way of the tensor's memory.
template <class T>
[[nodiscard]] std::vector<T> numbers(const Tensor<T>& tensor)
{
    std::vector<T> result(static_cast<std::size_t>(tensor.size()));
    if (!result.empty()) {
        tensor.memory().read(result.data(), tensor.data(), tensor.bytes());
    }
    return result;
}

/// What `body(storage, memory)` gives on an ordinary storage and on a locked one, which must be the same.
template <class Body>
void check_same(const Body& body)
{
    const int threads = wasi::thread_count();
    wasi::set_thread_count(1);  // whatever one thread opens is open to the others
    const auto plain = body(EigenStorage(), wasi::plain_memory());
    LockedMemory memory;
    CHECK(body(LockedStorage(), memory) == plain);
    wasi::set_thread_count(threads);
}

template <class S, class T>
[[nodiscard]] Tensor<T> normal(Shape shape, std::uint64_t seed, wasi::Memory& memory)
{
    Tensor<T> result(memory, Tag{}, shape);
    S::fill_normal(result.matrix(), RandomKey(seed));
    return result;
}

template <class T>
[[nodiscard]] std::vector<std::vector<T>> numbers(const linalg::SvdFactors<T>& f)
{
    return {numbers(f.u), numbers(f.s), numbers(f.v)};
}

}  // namespace

TEST_CASE("locked memory: whoever touches it outside a primitive is stopped")
{
    LockedMemory memory;
    Tensor<float> x = normal<LockedStorage, float>({4, 4}, 1, memory);
    CHECK(signal_of([&] { static_cast<void>(*static_cast<volatile float*>(x.data())); }) == SIGSEGV);
    CHECK(signal_of([&] { *static_cast<volatile float*>(x.data()) = 1.0F; }) == SIGSEGV);
    CHECK(signal_of([&] { LockedStorage::fill(x.matrix(), 1.0F); }) == 0);
}

TEST_CASE_TEMPLATE("locked memory: decompositions", T, float, double)
{
    for (const Shape shape : {Shape{40, 12}, Shape{12, 40}, Shape{300, 60}}) {
        check_same([&](auto storage, wasi::Memory& memory) {
            using S = decltype(storage);
            const auto a = normal<S, T>(shape, 1, memory);
            std::vector<std::vector<T>> all;
            for (const linalg::RankRule& rule :
                 {linalg::RankRule(linalg::FixedRank{5}), linalg::RankRule(linalg::Energy{0.7}),
                  linalg::RankRule(linalg::Energy{1.0})}) {
                for (auto& part : numbers(linalg::truncated_svd<S, T>(a.matrix(), {.rank = rule}, memory))) {
                    all.push_back(std::move(part));
                }
                for (auto& part :
                     numbers(linalg::randomized_svd<S, T>(a.matrix(), {.rank = rule}, RandomKey(3), memory))) {
                    all.push_back(std::move(part));
                }
            }
            auto basis = normal<S, T>({shape[1], 4}, 2, memory);
            linalg::subspace_step<S, T>(a.matrix(), basis.matrix(), memory);
            all.push_back(numbers(basis));
            return all;
        });
    }
}

TEST_CASE_TEMPLATE("locked memory: Tucker forms", T, float, double)
{
    check_same([](auto storage, wasi::Memory& memory) {
        using S = decltype(storage);
        const auto x = normal<S, T>({6, 9, 8}, 1, memory);
        const auto view = x.template view<3>();
        std::vector<std::vector<T>> all;
        const wasi::tensor::ModeRules<3> energies{linalg::Energy{0.8}, linalg::Energy{1.0}, linalg::FixedRank{3}};
        const auto keep = [&](const wasi::tensor::Tucker<T, 3>& form) {
            all.push_back(numbers(form.core));
            for (const auto& basis : form.bases) {
                all.push_back(numbers(basis));
            }
        };
        keep(wasi::tensor::hosvd<S, T, 3>(view, energies, memory));
        keep(wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(view, energies, {}, memory));
        keep(wasi::tensor::hooi<S, T, 3>(view, wasi::tensor::hosvd<S, T, 3>(view, energies, memory), {}, memory));
        return all;
    });
}

TEST_CASE("locked memory: every method trains, saves, resumes and predicts to the same bits")
{
    const TemporaryFolder folder;
    for (const wasi::train::Method& method : wasi::train::methods) {
        for (const bool lean : {false, true}) {  // by SGD; and with everything made again that can be, by AdamW
            CAPTURE(method.name);
            CAPTURE(lean);
            const bool dense_moments = std::holds_alternative<wasi::nn::SubspaceOptions>(method.weight({}));
            optim::OptimizerOptions kind = optim::SgdOptions{.momentum = 0.9};
            if (lean && !dense_moments) {
                kind = optim::AdamWOptions{.state = {optim::MomentFormat::int8, 100}};
                if (method == wasi::train::method("vanilla")) {
                    kind = optim::GaloreOptions{.rank = 3, .refresh_every = 2};
                } else if (method == wasi::train::method("asi")) {
                    kind = optim::GaloreOptions{.rank = 3,
                                                .refresh_every = 2,
                                                .basis = optim::GradientBasis::warm,
                                                .moments = optim::RefreshedMoments::rotated};
                } else if (method == wasi::train::method("compact")) {
                    kind =
                        optim::GaloreOptions{.rank = 3, .refresh_every = 2, .basis = optim::GradientBasis::randomized};
                }
            }
            check_same([&](auto storage, wasi::Memory& memory) {
                using S = decltype(storage);
                const auto data = random_images<float>(tiny_config, 12, 2);
                wasi::train::MethodOptions options{
                    .method = method,
                    .weight_rank = linalg::FixedRank{8},
                    .activation = {.ranks = {4, 6, 9}},
                    .projection = {.rank = 6, .refresh_every = 2},
                    .frozen_weights = lean && !method.trains_rest ? wasi::Precision::int8 : wasi::Precision::full};
                if (lean) {
                    options.adapter.start = wasi::nn::AdapterStart::pissa;
                    options.adapter.precondition = method == wasi::train::method("lora-fa") ? 0.0 : 0.01;
                    options.precondition = 0.01;
                }
                const wasi::files::RunFacts facts{};
                std::vector<float> all;
                const auto path = folder / "run";
                for (const bool again : {false, true}) {
                    Model<float, S> model(tiny_config, memory, RandomKey(1));
                    wasi::train::apply_method(model, options, RandomKey(7));
                    if (lean) {
                        wasi::nn::keep(
                            model, {.recompute = wasi::nn::Recompute::halves,
                                    .probabilities = wasi::autograd::Probabilities::recompute,
                                    .norm_output = wasi::autograd::Output::rebuild,
                                    .gelu_input = wasi::autograd::Output::rebuild,
                                    .gelu_output = wasi::autograd::Output::rebuild,
                                    .saved_as = method.trains_rest ? wasi::Precision::bfloat16 : wasi::Precision::int8,
                                    .rounding = wasi::Rounding::stochastic});
                    }
                    const auto optimizer = optim::make_optimizer<float, S>(kind, memory);
                    wasi::train::TrainOptions train{.epochs = 2, .batch_size = 4, .rate = 0.01, .clip_norm = 1.0};
                    if (again) {
                        train.first_step =
                            wasi::files::load_run(model, *optimizer, facts, path, options.activation, RandomKey(7));
                    }
                    train.on_step = [&](const wasi::train::StepRecord& record) {
                        all.push_back(static_cast<float>(record.loss));
                        if (!again && record.step == 3) {
                            wasi::files::save_run(model, *optimizer, record.step + 1, facts, path);
                        }
                        return true;
                    };
                    static_cast<void>(wasi::train::train(model, data, *optimizer, train, RandomKey(5)));
                    const auto logits = numbers(wasi::measure::predict(model, data, 5));
                    all.insert(all.end(), logits.begin(), logits.end());
                }
                return all;
            });
        }
    }
}

TEST_CASE("locked memory: checkpoints of other families are read to the same logits, resampled too")
{
    for (const std::string name :
         {"timm_deit_distilled", "timm_registers_placed", "hf_dinov2_registers", "openai_clip"}) {
        CAPTURE(name);
        const std::string path = std::string(WASI_TEST_DATA) + "/golden/checkpoints/" + name;
        check_same([&](auto storage, wasi::Memory& memory) {
            using S = decltype(storage);
            std::vector<float> all;
            std::optional<Index> image;
            for (int time = 0; time < 2; ++time) {
                const auto loaded = wasi::files::load_checkpoint<float, S>(path, memory, {.heads = 2, .image = image});
                const auto& config = loaded.model->config();
                const auto data = random_images<float>(config, 3, 4);
                const auto logits = numbers(wasi::measure::predict(*loaded.model, data, 2));
                all.insert(all.end(), logits.begin(), logits.end());
                image = config.image + config.patch;
            }
            return all;
        });
    }
}
