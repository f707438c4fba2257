#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <support/golden_file.hpp>
#include <wasi/measure/evaluate.hpp>
#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>
#ifdef WASI_TESTS_WITH_XTENSOR
#include <wasi/xtensor/storage.hpp>
#endif

/// Small Vision Transformers for tests, on EigenStorage unless told otherwise. What is costly to compile and not in
/// wasi::compiled is compiled once, in models_float.cpp, models_double.cpp and the same for xtensor.
namespace wasi_tests {

using wasi::EigenStorage;
using wasi::Index;

template <class T, class S = EigenStorage>
using Model = wasi::nn::VisionTransformer<T, S>;
template <class T>
using Dataset = wasi::data::Dataset<T>;

/// 17 tokens, two blocks: what the stored reference has.
inline constexpr wasi::nn::VisionTransformerConfig tiny_config{
    .image = 16, .patch = 4, .dim = 32, .depth = 2, .heads = 2, .mlp = 64, .classes = 5};

/// Every parameter random and none at zero or one, so that no gradient vanishes and an omitted bias would be seen.
template <class T, class S>
void randomize(Model<T, S>& model, std::uint64_t seed);

/// `count` images of standard normal pixels and labels that go round.
template <class T>
[[nodiscard]] Dataset<T> random_images(const wasi::nn::VisionTransformerConfig& config, Index count,
                                       std::uint64_t seed);

/// Mean cross entropy of a whole data set as one batch; its gradients go to `sink`.
template <class T, class S>
double loss_and_gradients(Model<T, S>& model, const Dataset<T>& data, wasi::autograd::Sink<T>& sink);

/// The same without a tape.
template <class T, class S>
[[nodiscard]] double loss_of(Model<T, S>& model, const Dataset<T>& data);

/// Every parameter as it is held, factors as L then R, by name.
template <class T, class S>
[[nodiscard]] std::map<std::string, std::vector<T>> snapshot(Model<T, S>& model);

/// train::train that returns the loss of every step; sets on_step.
template <class T, class S>
[[nodiscard]] std::vector<double> train_losses(Model<T, S>& model, const Dataset<T>& data,
                                               wasi::optim::Optimizer<T, S>& optimizer,
                                               wasi::train::TrainOptions options,
                                               wasi::RandomKey key = wasi::RandomKey(5));

/// Whether a method holds the chosen weights low rank.
[[nodiscard]] inline bool has_low_rank_weights(const wasi::train::Method& method)
{
    return !std::holds_alternative<wasi::nn::DenseOptions>(method.weight({}));
}

/// Whether a method compresses the inputs of the chosen layers.
[[nodiscard]] inline bool has_compressed_inputs(const wasi::train::Method& method)
{
    return !std::holds_alternative<wasi::nn::ExactOptions>(method.input({}));
}

/// The warm subspace in which a layer saves its input; nullptr when it saves it otherwise.
template <class T, class S>
[[nodiscard]] const wasi::subspace::ActivationSubspace<T, S>* compressor(const wasi::nn::Linear<T, S>& layer)
{
    const auto* saver = layer.template saves_with<wasi::nn::TuckerOptions>();
    return saver != nullptr ? &saver->subspace() : nullptr;
}

/// Sets a weight up as factors of this rank, held as Options say (nn::SubspaceOptions, nn::FactorsOptions), whether
/// that pays or not.
template <class Options, class T, class S>
void make_low_rank(wasi::nn::LinearWeight<T, S>& weight, Index rank)
{
    wasi::nn::set_up(weight, wasi::nn::WeightSetup(Options{{wasi::linalg::FixedRank{rank}, false}}));
}

/// wasi::train::apply_method.
template <class T, class S>
void apply(Model<T, S>& model, const wasi::train::MethodOptions& options, wasi::RandomKey key = wasi::RandomKey(7));

}  // namespace wasi_tests

#ifdef WASI_TESTS_WITH_XTENSOR
namespace wasi {

#define WASI_EXTERN_MODELS(T, S)                                                                                       \
    extern template Index train::train(nn::VisionTransformer<T, S>&, const data::Dataset<T>&, optim::Optimizer<T, S>&, \
                                       const train::TrainOptions&, RandomKey, train::MeanCrossEntropy);                \
    extern template Tensor<T> wasi::measure::predict(nn::VisionTransformer<T, S>&, const data::Dataset<T>&, Index);    \
    extern template void train::apply_method(nn::VisionTransformer<T, S>&, const train::MethodOptions&, RandomKey)
WASI_EXTERN_MODELS(float, XtensorStorage);
WASI_EXTERN_MODELS(double, XtensorStorage);
#undef WASI_EXTERN_MODELS

}  // namespace wasi
#endif
