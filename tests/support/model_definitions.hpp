#pragma once
// The bodies behind support/models.hpp, for the files models_*.cpp alone.
#include <numeric>

#include <support/models.hpp>
#include <support/weights.hpp>

namespace wasi_tests {

template <class T, class S>
void randomize(Model<T, S>& model, std::uint64_t seed)
{
    const wasi::RandomKey key(seed);
    std::uint64_t name = 0;
    wasi::nn::for_each_parameter(model, [&](auto& parameter) {
        const wasi::RandomKey own = key.derive(++name);
        const std::string& text = parameter.name();
        const bool is_gain = text.find("ln") != std::string::npos && text.ends_with("weight");
        double deviation = 0.3;
        if constexpr (requires { parameter.inputs(); }) {
            deviation = 1.0 / std::sqrt(static_cast<double>(parameter.inputs()));
        }
        const auto values = dense_span(parameter);
        for (std::size_t i = 0; i < values.size(); ++i) {
            values[i] = static_cast<T>((is_gain ? 1.0 : 0.0) + deviation * own.normal(i));
        }
    });
}

template <class T>
Dataset<T> random_images(const wasi::nn::VisionTransformerConfig& config, Index count, std::uint64_t seed)
{
    const wasi::RandomKey key(seed);
    Dataset<T> data;
    data.count = count;
    data.height = data.width = config.image;
    data.images.resize(static_cast<std::size_t>(count * data.image_size()));
    for (std::size_t i = 0; i < data.images.size(); ++i) {
        data.images[i] = static_cast<T>(key.normal(i));
    }
    for (Index i = 0; i < count; ++i) {
        data.labels.push_back(i % config.classes);
    }
    return data;
}

namespace detail {

template <class T, class S>
[[nodiscard]] wasi::autograd::Variable<T> loss_variable(const wasi::autograd::Context<T, S>& context,
                                                        Model<T, S>& model, const Dataset<T>& data)
{
    std::vector<Index> all(static_cast<std::size_t>(data.count));
    std::iota(all.begin(), all.end(), Index{0});
    const wasi::Tensor<T> images = data.gather(all, context.memory);
    return wasi::autograd::cross_entropy(context, model.forward(context, images.template view<4>()), data.labels);
}

}  // namespace detail

template <class T, class S>
double loss_and_gradients(Model<T, S>& model, const Dataset<T>& data, wasi::autograd::Sink<T>& sink)
{
    wasi::autograd::Tape<T, S> tape(model.memory());
    const auto loss = detail::loss_variable<T>({model.memory(), &tape}, model, data);
    tape.backward(loss, sink);
    return static_cast<double>(*loss.value().data());
}

template <class T, class S>
double loss_of(Model<T, S>& model, const Dataset<T>& data)
{
    return static_cast<double>(*detail::loss_variable<T>({model.memory(), nullptr}, model, data).value().data());
}

template <class T, class S>
std::map<std::string, std::vector<T>> snapshot(Model<T, S>& model)
{
    return weights_of(model);
}

template <class T, class S>
std::vector<double> train_losses(Model<T, S>& model, const Dataset<T>& data, wasi::optim::Optimizer<T, S>& optimizer,
                                 wasi::train::TrainOptions options, wasi::RandomKey key)
{
    std::vector<double> losses;
    options.on_step = [&](const wasi::train::StepRecord& record) {
        losses.push_back(record.loss);
        return true;
    };
    wasi::train::train(model, data, optimizer, options, key);
    return losses;
}

template <class T, class S>
void apply(Model<T, S>& model, const wasi::train::MethodOptions& options, wasi::RandomKey key)
{
    wasi::train::apply_method(model, options, key);
}

}  // namespace wasi_tests

// What wasi::compiled has for EigenStorage only.
#define WASI_INSTANTIATE_TRAINING(T, S)                                                                            \
    template wasi::Index wasi::train::train(nn::VisionTransformer<T, S>&, const data::Dataset<T>&,                 \
                                            optim::Optimizer<T, S>&, const TrainOptions&, RandomKey,               \
                                            MeanCrossEntropy);                                                     \
    template wasi::Tensor<T> wasi::measure::predict(nn::VisionTransformer<T, S>&, const data::Dataset<T>&, Index); \
    template void wasi::train::apply_method(nn::VisionTransformer<T, S>&, const MethodOptions&, RandomKey)

#define WASI_INSTANTIATE_MODELS(T, S)                                                                                \
    template void wasi_tests::randomize(Model<T, S>&, std::uint64_t);                                                \
    template double wasi_tests::loss_and_gradients(Model<T, S>&, const Dataset<T>&, wasi::autograd::Sink<T>&);       \
    template double wasi_tests::loss_of(Model<T, S>&, const Dataset<T>&);                                            \
    template std::map<std::string, std::vector<T>> wasi_tests::snapshot(Model<T, S>&);                               \
    template std::vector<double> wasi_tests::train_losses(                                                           \
        Model<T, S>&, const Dataset<T>&, wasi::optim::Optimizer<T, S>&, wasi::train::TrainOptions, wasi::RandomKey); \
    template void wasi_tests::apply(Model<T, S>&, const wasi::train::MethodOptions&, wasi::RandomKey)

#define WASI_INSTANTIATE_IMAGES(T)                                                                             \
    template wasi_tests::Dataset<T> wasi_tests::random_images(const wasi::nn::VisionTransformerConfig&, Index, \
                                                              std::uint64_t)
