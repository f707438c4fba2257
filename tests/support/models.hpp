#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <support/golden_file.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/train/trainer.hpp>

/// Small Vision Transformers for tests. What is costly to compile is compiled once, in models_float.cpp and
/// models_double.cpp.
namespace wasi_tests {

using wasi::EigenStorage;
using wasi::Index;

template <class T>
using Model = wasi::nn::VisionTransformer<T, EigenStorage>;
template <class T>
using Dataset = wasi::train::Dataset<T>;

/// 17 tokens, two blocks: what the stored reference has.
inline constexpr wasi::nn::VisionTransformerConfig tiny_config{
    .image = 16, .patch = 4, .dim = 32, .depth = 2, .heads = 2, .mlp = 64, .classes = 5};

/// Every parameter random and none at zero or one, so that no gradient vanishes and an omitted bias would be seen.
template <class T>
void randomize(Model<T>& model, std::uint64_t seed);

/// `count` images of standard normal pixels and labels that go round.
template <class T>
[[nodiscard]] Dataset<T> random_images(const wasi::nn::VisionTransformerConfig& config, Index count,
                                       std::uint64_t seed);

/// Mean cross entropy of a whole data set as one batch; its gradients go to `sink`.
template <class T>
double loss_and_gradients(Model<T>& model, const Dataset<T>& data, wasi::autograd::Sink<T>& sink);

/// The same without a tape.
template <class T>
[[nodiscard]] double loss_of(Model<T>& model, const Dataset<T>& data);

/// Every parameter as it is held, factors as L then R, by name.
template <class T>
[[nodiscard]] std::map<std::string, std::vector<T>> snapshot(Model<T>& model);

/// train::train that returns the loss of every step; sets on_step.
template <class T>
[[nodiscard]] std::vector<double> train_losses(Model<T>& model, const Dataset<T>& data,
                                               wasi::optim::Optimizer<T, EigenStorage>& optimizer,
                                               wasi::train::TrainOptions options,
                                               wasi::RandomKey key = wasi::RandomKey(5));

/// wasi::train::apply_method.
template <class T>
void apply(Model<T>& model, const wasi::train::MethodOptions& options, wasi::RandomKey key = wasi::RandomKey(7));

}  // namespace wasi_tests

namespace wasi {

extern template Index train::train(nn::VisionTransformer<float, EigenStorage>&, const train::Dataset<float>&,
                                   optim::Optimizer<float, EigenStorage>&, const train::TrainOptions&, RandomKey);
extern template Index train::train(nn::VisionTransformer<double, EigenStorage>&, const train::Dataset<double>&,
                                   optim::Optimizer<double, EigenStorage>&, const train::TrainOptions&, RandomKey);
extern template Tensor<float> train::predict(nn::VisionTransformer<float, EigenStorage>&, const train::Dataset<float>&,
                                             Index);
extern template Tensor<double> train::predict(nn::VisionTransformer<double, EigenStorage>&,
                                              const train::Dataset<double>&, Index);
extern template void train::apply_method(nn::VisionTransformer<float, EigenStorage>&, const train::MethodOptions&,
                                         RandomKey);
extern template void train::apply_method(nn::VisionTransformer<double, EigenStorage>&, const train::MethodOptions&,
                                         RandomKey);

}  // namespace wasi
