#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <wasi/train/trainer.hpp>

#include "options/keep_choices.hpp"

namespace CLI {
class App;
}

namespace wasi_examples {

/// What `wasi_vit finetune` was asked for, as typed. Strings are parsed and checked by the functions below.
struct FinetuneOptions {
    std::string weights;  ///< empty: start from `config`
    std::string config;
    std::optional<wasi::Index> classes;
    std::optional<wasi::Index> heads;
    std::string data;
    std::string method = "wasi";
    std::string layers = "all";
    double energy = 0.8;
    std::optional<double> activation_energy;
    std::string activation_ranks;   ///< "8,4,8"; empty: by energy
    std::string activation_budget;  ///< "4MiB"; empty: none
    std::string memory_budget;      ///< "200MiB"; empty: none
    bool method_given = false;      ///< --method was typed
    std::string above_break_even = "dense";
    double restart_below = 0.9;
    std::string optimizer = "sgd";
    double learning_rate = 0.05;
    double momentum = 0.0;
    double weight_decay = 1e-4;
    double clip_norm = 2.0;
    std::string clip_scope = "global";
    std::string schedule = "cosine";
    wasi::Index warmup = 0;
    wasi::Index epochs = 10;
    wasi::Index batch_size = 32;
    wasi::Index accumulate = 1;
    std::string gradients = "auto";
    KeepChoices keep;
    std::string shuffle = "on";
    std::uint64_t seed = 0;
    int threads = 0;  ///< 0: as many as there are processors
    std::string out;
};

struct PredictOptions {
    std::string weights;
    std::optional<wasi::Index> heads;
    std::string images;
    wasi::Index batch_size = 64;
    int threads = 0;
    std::string out;
};

struct CompareOptions {
    std::vector<std::string> runs;
    std::string heading = "Runs side by side";
    std::string out;
};

struct InspectOptions {
    std::string weights;
    std::vector<double> thresholds{0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99};
    std::string layers = "all";
    int threads = 0;
    std::string out;  ///< empty: the table alone
};

void add_options(CLI::App& command, FinetuneOptions& options);
/// The options of `plan`, which are some of finetune's.
void add_plan_options(CLI::App& command, FinetuneOptions& options);
void add_options(CLI::App& command, PredictOptions& options);
void add_options(CLI::App& command, CompareOptions& options);
void add_options(CLI::App& command, InspectOptions& options);

/// "image=32,patch=4,dim=192,depth=6,heads=3,mlp=768"; what is left out keeps its default. Throws wasi::argument_error.
[[nodiscard]] wasi::nn::VisionTransformerConfig parse_config(const std::string& text);

/// Method, layers and rank rules. Throws wasi::argument_error.
[[nodiscard]] wasi::train::MethodOptions method_options(const FinetuneOptions& options);

/// The bytes of --activation-budget; 0 when there is none. Throws wasi::argument_error, also when it does not go with
/// the other options.
[[nodiscard]] std::int64_t activation_budget(const FinetuneOptions& options);

/// Everything about the loop but on_step. Throws wasi::argument_error.
[[nodiscard]] wasi::train::TrainOptions train_options(const FinetuneOptions& options);

/// The options as name and value, for reports: everything that decides the result.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> option_table(const FinetuneOptions& options);

/// Sets the number of threads; 0 takes the processors of this machine.
void use_threads(int threads);

}  // namespace wasi_examples
