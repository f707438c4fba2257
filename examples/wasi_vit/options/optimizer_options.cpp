// The options of the optimiser: their rows, what of them does not go together, and what the library takes.
#include "options/memory_rows.hpp"
#include "options/run_options.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::Index;
using wasi::require;
using wasi::optim::GradientBasis;
using wasi::optim::MomentFormat;
using wasi::optim::RefreshedMoments;
using Options = FinetuneOptions;

const Range<Index> at_least_one{.least = 1};
const Words<OptimizerName> names{{"sgd", OptimizerName::sgd},
                                 {"adamw", OptimizerName::adamw},
                                 {"galore", OptimizerName::galore},
                                 {"mofasgd", OptimizerName::mofasgd}};

}  // namespace

OptionTable<FinetuneOptions> optimizer_rows()
{
    return {
        {.name = "--optimizer", .type = "NAME", .help = "of the weights", .value = word(names, &Options::optimizer)},
        {.name = "--momentum",
         .type = "MU",
         .help = "of SGD",
         .value = number({.least = 0.0, .most = 1.0, .without_most = true}, &Options::momentum)},
        {.name = "--optimizer-rank",
         .type = "R",
         .help =
             "directions that galore's moments (default: 128) or mofasgd's momentum (32) have; matrices that this does "
             "not make smaller are trained by adamw",
         .value = number(at_least_one, &Options::optimizer_rank)},
        {.name = "--optimizer-refresh",
         .type = "STEPS",
         .help = "steps after which galore has other directions (default: 200)",
         .value = number(at_least_one, &Options::optimizer_refresh)},
        {.name = "--optimizer-scale",
         .type = "SCALE",
         .help = "of galore's steps, times --lr (default: 0.25)",
         .value = number({.least = 0.0}, &Options::optimizer_scale)},
        {.name = "--optimizer-basis",
         .type = "HOW",
         .help = "how galore finds its directions: an SVD of the gradient, a sketch of it, or one step of subspace "
                 "iteration from those before (default: svd)",
         .value = word(
             {{"svd", GradientBasis::svd}, {"randomized", GradientBasis::randomized}, {"warm", GradientBasis::warm}},
             &Options::optimizer_basis)},
        {.name = "--optimizer-moments",
         .type = "HOW",
         .help = "what becomes of galore's moments when directions change (default: kept, as published)",
         .value = word({{"kept", RefreshedMoments::kept}, {"rotated", RefreshedMoments::rotated}},
                       &Options::optimizer_moments)},
        {.name = "--optimizer-state",
         .type = "FORMAT",
         .help = "of adamw's and galore's moments: int8 takes 2 bytes a number in place of 8 (default: full)",
         .value = word({{"full", MomentFormat::full}, {"int8", MomentFormat::int8}}, &Options::optimizer_state)},
        {.name = "--optimizer-beta",
         .type = "BETA",
         .help = "share of mofasgd's momentum that stays (default: 0.95)",
         .value = number({.least = 0.0, .most = 1.0, .without_most = true}, &Options::optimizer_beta)},
        {.name = "--optimizer-form",
         .type = "WHICH",
         .help =
             "mofasgd as in the paper, or as in its authors' code, which divides by singular values (default: paper)",
         .value = word({{"paper", false}, {"code", true}}, &Options::optimizer_as_code)},
    };
}

void check_optimizer(const FinetuneOptions& options, bool subspaces)
{
    const std::string name = word_of(options.optimizer, names);
    const bool sgd = options.optimizer == OptimizerName::sgd;
    require<argument_error>(!subspaces || sgd, "--optimizer ", name, " does not go with --method ",
                            options.method.value_or(wasi::train::method("wasi")).name,
                            ": elementwise moments of a low-rank weight would be as large as the dense weight; use "
                            "sgd, or --method factors");
    require<argument_error>(sgd || options.momentum == 0.0, "--momentum is for sgd; ", name, " has its own");
    const bool galore = options.optimizer == OptimizerName::galore;
    const bool mofasgd = options.optimizer == OptimizerName::mofasgd;
    require<argument_error>(galore || mofasgd || !options.optimizer_rank,
                            "--optimizer-rank is for --optimizer galore and mofasgd");
    const bool of_galore =
        options.optimizer_refresh || options.optimizer_scale || options.optimizer_basis || options.optimizer_moments;
    require<argument_error>(galore || !of_galore,
                            "--optimizer-refresh, --optimizer-scale, --optimizer-basis and --optimizer-moments are for "
                            "--optimizer galore");
    require<argument_error>(galore || options.optimizer == OptimizerName::adamw ||
                                options.optimizer_state == MomentFormat::full,
                            "--optimizer-state is for --optimizer adamw and galore: ", name, " has no moments");
    require<argument_error>(mofasgd || (!options.optimizer_beta && !options.optimizer_as_code),
                            "--optimizer-beta and --optimizer-form are for --optimizer mofasgd");
}

wasi::optim::OptimizerOptions optimizer_options(const FinetuneOptions& options)
{
    switch (options.optimizer) {
        case OptimizerName::sgd:
            break;
        case OptimizerName::adamw:
            return wasi::optim::AdamWOptions{.weight_decay = options.weight_decay, .state = {options.optimizer_state}};
        case OptimizerName::galore: {
            wasi::optim::GaloreOptions galore{.weight_decay = options.weight_decay, .seed = options.seed};
            galore.rank = options.optimizer_rank.value_or(galore.rank);
            galore.refresh_every = options.optimizer_refresh.value_or(galore.refresh_every);
            galore.step_scale = options.optimizer_scale.value_or(galore.step_scale);
            galore.basis = options.optimizer_basis.value_or(galore.basis);
            galore.moments = options.optimizer_moments.value_or(galore.moments);
            galore.state.format = options.optimizer_state;
            return galore;
        }
        case OptimizerName::mofasgd: {
            wasi::optim::MofasgdOptions mofasgd{.weight_decay = options.weight_decay};
            mofasgd.rank = options.optimizer_rank.value_or(mofasgd.rank);
            mofasgd.beta = options.optimizer_beta.value_or(mofasgd.beta);
            mofasgd.as_code = options.optimizer_as_code.value_or(false);
            return mofasgd;
        }
    }
    return wasi::optim::SgdOptions{.momentum = options.momentum, .weight_decay = options.weight_decay};
}

}  // namespace wasi_examples
