// The law of state: a run that was saved and gone on with is, bit for bit, the run that was not interrupted.
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <support/files.hpp>
#include <support/models.hpp>
#include <support/weights.hpp>
#include <wasi/files/run_file.hpp>
#include <wasi/files/vision_transformer_file.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
using wasi::RandomKey;
namespace files = wasi::files;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;
namespace optim = wasi::optim;
namespace train = wasi::train;
using train::method;

constexpr nn::VisionTransformerConfig config{
    .image = 8, .patch = 4, .dim = 12, .depth = 1, .heads = 2, .mlp = 16, .classes = 3};
constexpr Index steps = 6;  // of 8: 7 images in batches of 2, two epochs; so a run ends where its rate is not yet 0
const files::RunFacts facts{{"data", "random images"}, {"seed", "5"}};

struct Setup {
    train::MethodOptions method;
    optim::OptimizerOptions optimizer;
    double clip_norm = 0.0;
    Index micro_batches = 1;
    nn::KeepOptions keep = {};
};

/// A model, its optimiser and what training them showed.
class Run {
public:
    /// As a run begins.
    explicit Run(const Setup& setup) : Run(setup, 3)
    {
        train::apply_method(model, setup.method, RandomKey(7));
        nn::keep(model, setup.keep);
    }
    /// From a file into a model of other values.
    Run(const Setup& setup, const std::filesystem::path& path, Index next_step) : Run(setup, 4)
    {
        CHECK(files::load_run(model, *optimizer, facts, path, setup.method.activation, RandomKey(7)) == next_step);
    }

    /// Trains to the end, and saves after so many steps.
    void go_on(Index first_step, const std::optional<std::pair<Index, std::filesystem::path>>& save = {})
    {
        train::TrainOptions options;
        options.epochs = 2;
        options.batch_size = 2;
        options.rate = 0.05;
        options.warmup_steps = 2;
        options.clip_norm = setup_.clip_norm;
        options.micro_batches = setup_.micro_batches;
        options.first_step = first_step;
        options.on_step = [&](const train::StepRecord& record) {
            losses.push_back(record.loss);
            energies.push_back(record.captured_energies);
            if (save && save->first == record.step + 1) {
                files::save_run(model, *optimizer, save->first, facts, save->second);
            }
            return record.step + 1 < steps;
        };
        CHECK(train::train(model, data, *optimizer, options, RandomKey(5)) == steps);
    }

    wasi::Ledger memory;
    Model<float> model{config, memory, RandomKey(1)};
    std::unique_ptr<optim::Optimizer<float, EigenStorage>> optimizer;
    std::vector<double> losses;
    std::vector<std::vector<double>> energies;

private:
    Run(const Setup& setup, std::uint64_t seed)
        : optimizer(optim::make_optimizer<float, EigenStorage>(setup.optimizer, memory)), setup_(setup)
    {
        randomize(model, seed);
    }

    Dataset<float> data = random_images<float>(config, 7, 5);
    Setup setup_;
};

template <class A>
[[nodiscard]] std::vector<A> from(const std::vector<A>& all, Index first)
{
    return {all.begin() + first, all.end()};
}

/// Uninterrupted, uninterrupted but saved on the way, and gone on with from the file: the same bits, and the same file
/// at the end.
void check_law(const Setup& setup, Index after)
{
    const TemporaryFolder folder;
    const auto path = folder / "middle.safetensors";
    Run plain(setup);
    plain.go_on(0);
    Run saving(setup);
    saving.go_on(0, std::pair(after, path));
    CHECK(saving.losses == plain.losses);
    CHECK(weights_of(saving.model) == weights_of(plain.model));

    Run resumed(setup, path, after);
    resumed.go_on(after);
    CHECK(resumed.losses == from(plain.losses, after));
    CHECK(resumed.energies == from(plain.energies, after));
    CHECK(weights_of(resumed.model) == weights_of(plain.model));
    files::save_run(plain.model, *plain.optimizer, steps, facts, folder / "plain");
    files::save_run(resumed.model, *resumed.optimizer, steps, facts, folder / "resumed");
    CHECK(bytes_of_file(folder / "resumed") == bytes_of_file(folder / "plain"));
}

[[nodiscard]] train::MethodOptions options_of(const train::Method& method)
{
    return {.method = method,
            .weight_rank = linalg::FixedRank{4},
            .activation = {.ranks = {2, 3, 4}, .restart_every = 4},  // a restart before and after the third step
            .projection = {.rank = 6, .refresh_every = 2}};          // and a refresh
}

TEST_CASE("run files: every method and optimiser, clipped and in micro-batches, goes on as if nothing had been")
{
    const std::vector<optim::OptimizerOptions> optimizers{
        optim::SgdOptions{.weight_decay = 1e-3}, optim::SgdOptions{.momentum = 0.9, .weight_decay = 1e-3},
        optim::AdamWOptions{},
        // Some matrices are projected, some not; a refresh before and after the third step.
        optim::GaloreOptions{.rank = 2, .refresh_every = 2},
        optim::GaloreOptions{.rank = 2,
                             .refresh_every = 2,
                             .basis = optim::GradientBasis::warm,
                             .moments = optim::RefreshedMoments::rotated},
        optim::GaloreOptions{.rank = 2, .refresh_every = 2, .basis = optim::GradientBasis::randomized},
        optim::AdamWOptions{.state = {optim::MomentFormat::int8, 40}},  // some in 8 bits, some in full
        optim::GaloreOptions{.rank = 2,
                             .refresh_every = 2,
                             .moments = optim::RefreshedMoments::rotated,
                             .state = {optim::MomentFormat::int8, 40}},
        optim::MofasgdOptions{.rank = 2, .weight_decay = 0.1},
        optim::MofasgdOptions{.rank = 2, .as_code = true, .complement_step = 0.1}};
    for (const train::Method& one : train::methods) {
        for (const auto& optimizer : optimizers) {
            const bool subspaces = one == method("wsi") || one == method("wasi");
            if (subspaces && !std::holds_alternative<optim::SgdOptions>(optimizer)) {
                continue;  // refused
            }
            const bool small_space = optimizer.index() >= 2;
            if (small_space && !(one == method("vanilla") || one == method("asi") || one == method("factors"))) {
                continue;  // they see dense parameters alone: these are all the gradients that there are
            }
            CAPTURE(one.name);
            CAPTURE(optimizer.index());
            CAPTURE(&optimizer - optimizers.data());
            check_law({options_of(one), optimizer, 1.0, 1}, 3);
            check_law({options_of(one), optimizer, 0.0, 2}, 3);
        }
    }
}

TEST_CASE("run files: streamed gradients, and a save after the first step, at the end of an epoch and at the last step")
{
    for (const auto& one : {method("wasi"), method("factors")}) {
        for (const Index after : {1, 4, 5}) {
            CAPTURE(one.name);
            CAPTURE(after);
            check_law({options_of(one), optim::SgdOptions{.momentum = 0.5}}, after);
        }
    }
}

TEST_CASE("run files: ranks by rules, what blocks keep, and what is frozen")
{
    Setup setup{options_of(method("wasi")), optim::SgdOptions{}};
    setup.method.activation = {.ranks = {linalg::Energy{0.8}, linalg::Energy{0.9}, linalg::Energy{0.8}},
                               .restart_below = 0.99};
    check_law(setup, 3);
    setup.keep.recompute = nn::Recompute::halves;
    setup.keep.saved_as = wasi::Precision::bfloat16;  // losses depend on it, so it must come back
    check_law(setup, 3);
    setup.method.layers = nn::Layers::mlp;
    check_law(setup, 3);
}

TEST_CASE("run files: frozen weights in fewer bits, saves rounded at random, and projected inputs of any kind")
{
    Setup setup{options_of(method("lora")), optim::AdamWOptions{}};
    setup.keep.saved_as = wasi::Precision::int8;
    setup.keep.rounding = wasi::Rounding::stochastic;
    for (const auto precision : {wasi::Precision::bfloat16, wasi::Precision::half, wasi::Precision::int8}) {
        CAPTURE(to_string(precision));
        setup.method.frozen_weights = precision;
        check_law(setup, 3);
    }
    setup.method.layers = nn::Layers::mlp;  // attention is frozen without an adapter
    check_law(setup, 3);
    setup.method.method = method("head");
    check_law(setup, 3);
    Setup projected{options_of(method("wsi")), optim::SgdOptions{.momentum = 0.9}, 1.0, 2};
    projected.keep.saved_as = wasi::Precision::int4;
    projected.method.inputs = train::saved_inputs.back().input;
    for (const auto projection : {wasi::subspace::Projection::gaussian, wasi::subspace::Projection::orthonormal,
                                  wasi::subspace::Projection::principal, wasi::subspace::Projection::prac,
                                  wasi::subspace::Projection::velora}) {
        CAPTURE(to_string(projection));
        projected.method.projection = {.projection = projection, .rank = 4, .refresh_every = 2, .scale = 0.5};
        check_law(projected, 3);
    }
}

/// The message of the refusal to go on from a file.
template <class Error>
[[nodiscard]] std::string refusal(const Setup& setup, const std::filesystem::path& path,
                                  const files::RunFacts& own = facts, const nn::VisionTransformerConfig& shape = config)
{
    wasi::Ledger memory;
    Model<float> model(shape, memory, RandomKey(1));
    const auto optimizer = optim::make_optimizer<float, EigenStorage>(setup.optimizer, memory);
    return message_of<Error>([&] {
        static_cast<void>(files::load_run(model, *optimizer, own, path, setup.method.activation, RandomKey(7)));
    });
}

struct Saved {
    Setup setup{options_of(method("wasi")), optim::SgdOptions{.momentum = 0.9}};
    TemporaryFolder folder;
    std::filesystem::path path = folder / "run.safetensors";

    Saved()
    {
        Run run(setup);
        run.go_on(0, std::pair(Index{3}, path));
    }
};

TEST_CASE("run files: the run of other facts, of another version, and no run at all are refused by what differs")
{
    Saved saved;
    const std::string path = saved.path.string();
    const std::string nothing = "(nothing was thrown)";
    CHECK(refusal<wasi::io_error>(saved.setup, saved.path) == nothing);
    CHECK(refusal<wasi::io_error>(saved.setup, saved.path, {}) == nothing);  // facts are for those who ask
    CHECK(refusal<wasi::io_error>(saved.setup, saved.path, {{"seed", "6"}}) ==
          path + ": was a run with seed '5', this one has '6'");
    CHECK(refusal<wasi::io_error>(saved.setup, saved.path, {{"seed", "5"}, {"split", "a"}}) ==
          path + ": does not say its split");

    Run run(saved.setup);
    files::write_model(run.model, saved.folder / "model");
    CHECK(refusal<wasi::io_error>(saved.setup, saved.folder / "model") ==
          (saved.folder / "model").string() + ": is not a run file");
    CHECK(refusal<wasi::io_error>(saved.setup, saved.folder / "nowhere") != nothing);
    write_bytes(saved.path, bytes_of_file(saved.path).substr(0, 1000));
    CHECK(refusal<wasi::io_error>(saved.setup, saved.path) != nothing);
}

/// A run file with something changed: tensors of float and double are carried over.
class Edited {
public:
    explicit Edited(const std::filesystem::path& path)
        : metadata(wasi::io::SafetensorsFile(path).metadata()), path_(path)
    {
    }
    /// Writes it beside the original and returns where.
    [[nodiscard]] std::filesystem::path write(const std::set<std::string>& without = {}) const
    {
        const wasi::io::SafetensorsFile file(path_);
        std::map<std::string, std::vector<float>> singles;
        std::map<std::string, std::vector<double>> doubles;
        std::vector<wasi::io::TensorToWrite> tensors;
        for (const std::string& name : file.names()) {
            if (without.contains(name)) {
                continue;
            }
            if (file.info(name).dtype == wasi::io::Dtype::f64) {
                tensors.push_back({name, file.info(name).shape,
                                   std::span<const double>(doubles[name] = read_values<double>(file, name))});
            } else {
                tensors.push_back({name, file.info(name).shape,
                                   std::span<const float>(singles[name] = read_values<float>(file, name))});
            }
        }
        const auto target = path_.parent_path() / "edited";
        wasi::io::write_safetensors(target, tensors, metadata);
        return target;
    }
    std::map<std::string, std::string> metadata;

private:
    std::filesystem::path path_;
};

TEST_CASE("run files: another version, and whatever is missing, is refused by name")
{
    const Saved saved;
    CHECK(refusal<wasi::io_error>(saved.setup, Edited(saved.path).write()) == "(nothing was thrown)");
    {
        Edited edited(saved.path);
        edited.metadata["wasi_run"] = "2";
        CHECK(has(refusal<wasi::io_error>(saved.setup, edited.write()),
                  ": a run file of version 2, this program reads version 3"));
    }
    int tensors = 0;
    for (const std::string& name : wasi::io::SafetensorsFile(saved.path).names()) {
        CAPTURE(name);
        const auto target = Edited(saved.path).write({name});
        CHECK(has(refusal<wasi::io_error>(saved.setup, target), name + " is missing"));
        ++tensors;
    }
    CHECK(tensors > 40);  // weights, R Rᵀ, bases, velocities
    int words = 0;
    const auto metadata = Edited(saved.path).metadata;
    for (const auto& entry : metadata) {
        const std::string& name = entry.first;
        if (name == "wasi_run" || name.starts_with("fact ")) {
            continue;
        }
        CAPTURE(name);
        Edited edited(saved.path);
        edited.metadata.erase(name);
        CHECK(has(refusal<wasi::io_error>(saved.setup, edited.write()), name + " is missing"));
        ++words;
    }
    CHECK(words > 60);
    Edited edited(saved.path);
    edited.metadata["next_step"] = "3rd";
    CHECK(
        has(refusal<wasi::io_error>(saved.setup, edited.write()), "metadata next_step is '3rd', a number is expected"));
}

TEST_CASE("run files: another model and another optimiser are refused")
{
    const Saved saved;
    auto wider = config;
    wider.mlp = 20;
    CHECK(has(refusal<wasi::shape_error>(saved.setup, saved.path, facts, wider), "mlp.0"));
    auto deeper = config;
    deeper.depth = 2;
    CHECK(has(refusal<wasi::io_error>(saved.setup, saved.path, facts, deeper), " is missing"));
    auto more_classes = config;
    more_classes.classes = 4;
    CHECK(has(refusal<wasi::shape_error>(saved.setup, saved.path, facts, more_classes), "heads.head.weight"));

    Setup plain = saved.setup;
    plain.optimizer = optim::SgdOptions{};
    CHECK(has(refusal<wasi::io_error>(plain, saved.path), "velocity"));
    Setup adamw = saved.setup;
    adamw.optimizer = optim::AdamWOptions{};
    CHECK(has(refusal<wasi::io_error>(adamw, saved.path), "first_moment is missing"));
}

}  // namespace
