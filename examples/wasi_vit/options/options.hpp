#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wasi/io/safetensors_types.hpp>
#include <wasi/nn/keep_options.hpp>
#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/optim/galore.hpp>
#include <wasi/pictures/transform.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>

#include "options/option_row.hpp"

namespace wasi_examples {

enum class OptimizerName { sgd, adamw, galore, mofasgd };
enum class ExportName { torchvision, timm, hf };

/// --method auto: whatever errs least within --memory-budget. Only a word: what is in the table takes its place before
/// anything is held so.
inline constexpr wasi::train::Method auto_method{"auto", "what errs least within --memory-budget",
                                                 wasi::train::method("vanilla").weight,
                                                 wasi::train::method("vanilla").input};

/// What `wasi_vit finetune` or `plan` was asked for. Each member is right by itself once it was parsed; what does not
/// go together is refused by run_options.hpp.
struct FinetuneOptions {
    std::string weights;  ///< empty: start from `config`
    std::optional<wasi::nn::VisionTransformerConfig> config;
    std::optional<wasi::Index> classes;
    std::optional<wasi::Index> heads;
    bool train_layer_scale = false;
    std::optional<wasi::Index> image;  ///< of --weights; not given: as the files say
    std::string data;
    std::optional<double> validation;  ///< share of the training images that is held out; not given: as the data are
    wasi::pictures::Augmentation augmentation;
    std::optional<std::int64_t> data_cache;  ///< not given: 64 MiB, or less within --memory-budget
    bool skip_broken = false;
    std::optional<wasi::train::Method> method;  ///< not given: wasi, or what --memory-budget comes to
    wasi::nn::Layers layers = wasi::nn::Layers::all;
    double energy = 0.8;
    std::optional<double> activation_energy;
    std::optional<std::array<wasi::Index, 3>> activation_ranks;
    std::optional<std::int64_t> activation_budget;
    std::optional<std::int64_t> memory_budget;
    bool energy_of_output = false;           ///< --energy is of what a weight puts out; else of the weight
    std::optional<double> size;              ///< share of the dense bytes, dealt over layers by their outputs
    std::optional<wasi::Index> calibration;  ///< images that ranks by output are found on; not given: 128
    bool dense_above_break_even = true;
    std::optional<wasi::Index> rank;  ///< of an adapter; not given: 8, or as --adapter has it
    std::optional<double> alpha;      ///< of an adapter; not given: 16, or as --adapter has it
    std::optional<bool> rslora;       ///< of an adapter; not given: no, or as --adapter has it
    std::optional<wasi::nn::AdapterStart> adapter_start;
    std::string adapter;        ///< a folder in PEFT's format to start from; empty: a new adapter
    double precondition = 0.0;  ///< of adapters and free factors
    wasi::Precision frozen_weights = wasi::Precision::full;  ///< of linear layers that are not trained
    std::optional<wasi::nn::InputSetup (*)(const wasi::train::MethodOptions&)> saved_inputs;  ///< else the method's
    std::optional<wasi::subspace::Projection> projection;  ///< not given: the method's, or gaussian
    std::optional<wasi::Index> projection_rank;            ///< not given: 64
    std::optional<wasi::Index> principal_rank;             ///< of prac; not given: half of the rank
    std::optional<wasi::Index> projection_refresh;         ///< not given: 50
    std::optional<double> projection_scale;                ///< of velora; not given: 1
    double restart_below = 0.9;
    OptimizerName optimizer = OptimizerName::sgd;
    std::optional<wasi::Index> optimizer_rank;     ///< of galore and mofasgd; not given: 128 and 32
    std::optional<wasi::Index> optimizer_refresh;  ///< of galore; not given: 200
    std::optional<double> optimizer_scale;         ///< of galore; not given: 0.25
    std::optional<wasi::optim::GradientBasis> optimizer_basis;
    std::optional<wasi::optim::RefreshedMoments> optimizer_moments;
    wasi::optim::MomentFormat optimizer_state = wasi::optim::MomentFormat::full;  ///< of adamw and galore
    std::optional<double> optimizer_beta;   ///< of mofasgd; not given: 0.95
    std::optional<bool> optimizer_as_code;  ///< of mofasgd; not given: the paper's form
    double learning_rate = 0.05;
    double momentum = 0.0;
    double weight_decay = 1e-4;
    double label_smoothing = 0.0;
    double clip_norm = 2.0;
    wasi::train::ClipScope clip_scope = wasi::train::ClipScope::global;
    wasi::optim::Schedule::Kind schedule = wasi::optim::Schedule::Kind::cosine;
    wasi::Index warmup = 0;
    wasi::Index epochs = 10;
    wasi::Index batch_size = 32;
    wasi::Index accumulate = 1;
    wasi::train::GradientFlow gradients = wasi::train::GradientFlow::automatic;
    wasi::nn::KeepOptions keep;
    bool shuffle = true;
    std::uint64_t seed = 0;
    int threads = 0;                  ///< 0: as many as there are processors
    bool keep_best = false;           ///< of the epochs, by --validation; else the last model
    wasi::Index patience = 0;         ///< epochs without a better one before a run stops; 0: it does not
    wasi::Index track_subspaces = 0;  ///< steps between measurements of subspaces; 0: none
    wasi::Index save_every = 0;       ///< steps between run files; 0: none but of an interrupted run
    std::string resume;               ///< the folder of a run to go on with; empty: a new run
    std::string out;
    std::string out_fallback;  ///< empty: a new folder in the temporary directory
};

/// finetune's options that say which model and which data, and what probe has of its own.
struct ProbeOptions : FinetuneOptions {
    std::string against;  ///< a model whose features those of this one are compared with; empty: none
    wasi::Index train_examples = 600;
    wasi::Index test_examples = 500;
};

struct PredictOptions {
    std::string weights;
    std::optional<wasi::Index> heads;
    std::vector<std::string> pictures;  ///< files and folders; else `images`
    std::string images;
    wasi::Index top = 5;
    bool json = false;
    bool skip_broken = false;
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
    wasi::nn::Layers layers = wasi::nn::Layers::all;
    int threads = 0;
    std::string out;  ///< empty: the table alone
};

struct ExportCommandOptions {
    std::string weights;
    std::optional<wasi::Index> heads;
    ExportName as = ExportName::torchvision;
    bool dense = false;
    wasi::io::Dtype stored_as = wasi::io::Dtype::f32;
    int threads = 0;
    std::string out;
};

/// Those of finetune that say which model, which data and which ranks, and what compress has of its own.
struct CompressOptions : FinetuneOptions {
    bool free = false;  ///< free factors; else L orthonormal
    wasi::io::Dtype stored_as = wasi::io::Dtype::f32;
};

struct ExpandOptions {
    std::string weights;
    std::optional<wasi::Index> heads;
    std::string adapter;  ///< a folder in PEFT's format to merge in
    std::string without;  ///< one that was merged in, to be taken out
    wasi::io::Dtype stored_as = wasi::io::Dtype::f32;
    int threads = 0;
    std::string out;
};

[[nodiscard]] const OptionTable<FinetuneOptions>& finetune_table();
/// The options of `plan`: those of finetune that decide the memory of a run.
[[nodiscard]] const OptionTable<FinetuneOptions>& plan_table();
/// The options of `evaluate`: those of finetune that say which model, which data, and how.
[[nodiscard]] const OptionTable<FinetuneOptions>& evaluate_table();
[[nodiscard]] const OptionTable<ProbeOptions>& probe_table();
[[nodiscard]] const OptionTable<PredictOptions>& predict_table();
[[nodiscard]] const OptionTable<CompareOptions>& compare_table();
[[nodiscard]] const OptionTable<InspectOptions>& inspect_table();
[[nodiscard]] const OptionTable<ExportCommandOptions>& export_table();
[[nodiscard]] const OptionTable<CompressOptions>& compress_table();
[[nodiscard]] const OptionTable<ExpandOptions>& expand_table();

/// finetune's options as name and value, for reports: all that have a value and say more than where files are.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> shown_options(const FinetuneOptions& options);

}  // namespace wasi_examples
