#pragma once
#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/files/names.hpp"
#include "wasi/io/safetensors_writer.hpp"
#include "wasi/nn/dense_values.hpp"
#include "wasi/nn/models/vision_transformer.hpp"

/// The tensors of a Vision Transformer in the names of a family. Needs the target wasi::io.
namespace wasi::files::detail {

/// Gathers the tensors to write: views where the family holds numbers as we do, made late where it holds them
/// otherwise, so that no more than one tensor is there twice. The model must live until they are written.
template <Scalar T, class S>
class ExportTensors {
public:
    ExportTensors(nn::VisionTransformer<T, S>& model, const Family& family, std::string prefix, io::Dtype stored_as)
        : model_(&model), family_(&family), prefix_(std::move(prefix)), stored_as_(stored_as)
    {
    }

    [[nodiscard]] std::vector<io::TensorToWrite> take()
    {
        add_embedding();
        for (std::size_t i = 0; i < model_->blocks.size(); ++i) {
            add_block(static_cast<Index>(i), *model_->blocks[i]);
        }
        const bool after = model_->config().pooling == nn::Pooling::mean_before_norm;
        add_norm(Part::norm, 0, model_->norm, after ? "fc_norm" : "");
        if (model_->head) {
            add_head();
        }
        return std::move(tensors_);
    }

private:
    using Made = std::function<std::vector<float>()>;

    [[nodiscard]] bool is(std::string_view family) const { return family_->name == family; }
    [[nodiscard]] bool has(Part part) const { return !family_->names[static_cast<std::size_t>(part)].empty(); }
    [[nodiscard]] std::string name(Part part, Index block, std::string_view suffix) const
    {
        const bool head = part == Part::head || part == Part::second_head;  // never prefixed
        return (head ? std::string() : prefix_) + name_in(*family_, part, block, suffix);
    }

    void add(std::string name, std::vector<Index> shape, std::span<const T> values)
    {
        tensors_.push_back({std::move(name), std::move(shape), values, stored_as_});
    }
    void add_made(std::string name, std::vector<Index> shape, Made make)
    {
        tensors_.push_back({std::move(name), std::move(shape), io::MadeLate{std::move(make)}, stored_as_});
    }
    [[nodiscard]] static std::vector<float> floats(std::span<const T> values)
    {
        std::vector<float> result(values.size());
        std::transform(values.begin(), values.end(), result.begin(), [](T value) { return static_cast<float>(value); });
        return result;
    }
    [[nodiscard]] static std::span<const T> span_of(const autograd::DenseParameter<T>& parameter)
    {
        return parameter.values.span();
    }

    /// Of timm's models with register tokens and of those without a position for it, the class token holds its own.
    [[nodiscard]] bool class_token_holds_position() const { return is("timm") && model_->config().registers > 0; }

    void add_embedding()
    {
        auto& model = *model_;
        const auto& config = model.config();
        const Index dim = config.dim;
        const bool flat = is("clip");
        const std::vector<Index> one = flat ? std::vector<Index>{dim} : std::vector<Index>{1, 1, dim};
        if (model.class_token && class_token_holds_position()) {
            add_made(name(Part::class_token, 0, ""), one, [&model] {
                auto sum = floats(span_of(*model.class_token));
                for (std::size_t i = 0; i < sum.size(); ++i) {
                    sum[i] += static_cast<float>(span_of(model.positions)[i]);
                }
                return sum;
            });
        } else if (model.class_token) {
            add(name(Part::class_token, 0, ""), one, span_of(*model.class_token));
        }
        if (model.distillation_token) {
            add(name(Part::distillation_token, 0, ""), {1, 1, dim}, span_of(*model.distillation_token));
        }
        if (model.register_tokens) {
            add(name(Part::registers, 0, ""), {1, config.registers, dim}, span_of(*model.register_tokens));
        }
        const auto& patches = model.patch_projection;
        add(name(Part::patches, 0, "weight"), {dim, 3, config.patch, config.patch}, patches.weight.dense().span());
        const Index placed = config.placed_tokens();
        const Index first = class_token_holds_position() ? placed : 0;
        const Index rows = config.position_rows() - first;
        std::vector<Index> shape = flat ? std::vector<Index>{rows, dim} : std::vector<Index>{1, rows, dim};
        if (!flat && !(is("timm") && config.pre_norm)) {
            add(name(Part::patches, 0, "bias"), {dim}, span_of(patches.bias));
            add(name(Part::positions, 0, ""), std::move(shape),
                span_of(model.positions).subspan(static_cast<std::size_t>(first * dim)));
        } else {  // without a bias of patches: it is part of every patch's position
            add_made(name(Part::positions, 0, ""), std::move(shape), [&model, dim, first, placed] {
                auto sum = floats(span_of(model.positions).subspan(static_cast<std::size_t>(first * dim)));
                const auto bias = span_of(model.patch_projection.bias);
                for (auto i = static_cast<std::size_t>((placed - first) * dim); i < sum.size(); ++i) {
                    sum[i] += static_cast<float>(bias[i % bias.size()]);
                }
                return sum;
            });
        }
        if (model.pre_norm) {
            add_norm(Part::pre_norm, 0, *model.pre_norm);
        }
    }

    void add_norm(Part part, Index block, const nn::LayerNorm<T, S>& norm, std::string_view other = "")
    {
        const Index dim = model_->config().dim;
        add(other.empty() ? name(part, block, "weight") : with_suffix(other, "weight"), {dim}, span_of(norm.gain));
        add(other.empty() ? name(part, block, "bias") : with_suffix(other, "bias"), {dim}, span_of(norm.bias));
    }

    /// Rows of a weight and its bias, times factors of rows where there are any.
    void add_layer(const std::string& weight_name, const std::string& bias_name, const nn::Linear<T, S>& layer,
                   Index first, Index rows, const std::optional<autograd::DenseParameter<T>>& scale)
    {
        const auto bias = span_of(layer.bias).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows));
        const Index width = layer.weight.inputs();
        if (!scale && layer.weight.template held_as<nn::DenseOptions>() != nullptr) {
            add(weight_name, {rows, width},
                layer.weight.dense().span().subspan(static_cast<std::size_t>(first * width),
                                                    static_cast<std::size_t>(rows * width)));
        } else {
            add_made(weight_name, {rows, width}, [&layer, &scale, first, rows, width] {
                auto values = floats(nn::dense_rows(layer.weight, first, rows).span());
                for (std::size_t i = 0; scale && i < values.size(); ++i) {
                    values[i] *= static_cast<float>(span_of(*scale)[i / static_cast<std::size_t>(width)]);
                }
                return values;
            });
        }
        if (!scale) {
            add(bias_name, {rows}, bias);
        } else {
            add_made(bias_name, {rows}, [bias, &scale] {
                auto values = floats(bias);
                for (std::size_t i = 0; i < values.size(); ++i) {
                    values[i] *= static_cast<float>(span_of(*scale)[i]);
                }
                return values;
            });
        }
    }

    void add_block(Index i, const nn::EncoderBlock<T, S>& block)
    {
        const Index dim = model_->config().dim;
        static const std::optional<autograd::DenseParameter<T>> none;
        const auto layer = [&](Part part, const nn::Linear<T, S>& which, Index first, Index rows, const auto& scale) {
            add_layer(name(part, i, "weight"), name(part, i, "bias"), which, first, rows, scale);
        };
        const auto scaled = [&](Part part, Part scale_part, const nn::Linear<T, S>& which, const auto& scale) {
            const bool keeps = has(scale_part) && !is("torchvision");  // whose own models have none
            layer(part, which, 0, dim, keeps ? none : scale);
            if (scale && keeps) {
                add(name(scale_part, i, ""), {dim}, span_of(*scale));
            } else if (is("dinov2")) {  // which always has one
                add_made(name(scale_part, i, ""), {dim},
                         [dim] { return std::vector<float>(static_cast<std::size_t>(dim), 1.0F); });
            }
        };
        add_norm(Part::norm1, i, block.norm1);
        if (has(Part::attention)) {
            layer(Part::attention, block.in_proj, 0, 3 * dim, none);
        } else {
            layer(Part::query, block.in_proj, 0, dim, none);
            layer(Part::key, block.in_proj, dim, dim, none);
            layer(Part::value, block.in_proj, 2 * dim, dim, none);
        }
        scaled(Part::projection, Part::scale1, block.out_proj, block.scale1);
        add_norm(Part::norm2, i, block.norm2);
        layer(Part::fc1, block.fc1, 0, model_->config().mlp, none);
        scaled(Part::fc2, Part::scale2, block.fc2, block.scale2);
    }

    void add_head()
    {
        const auto& config = model_->config();
        const auto& head = *model_->head;
        const Index dim = config.dim;
        static const std::optional<autograd::DenseParameter<T>> none;
        if (config.pooling == nn::Pooling::class_and_distillation) {  // two heads whose average is ours
            for (const Index which : {0, 1}) {
                const Part part = which == 0 ? Part::head : Part::second_head;
                const std::string_view own = last_of(family_->names[static_cast<std::size_t>(part)]);
                add_made(with_suffix(own, "weight"), {config.classes, dim}, [&head, dim, which] {
                    const auto both = nn::dense_rows(head.weight, 0, head.weight.outputs());
                    std::vector<float> half(static_cast<std::size_t>(head.weight.outputs() * dim));
                    for (std::size_t i = 0; i < half.size(); ++i) {
                        const auto at =
                            static_cast<Index>(i) / dim * 2 * dim + which * dim + static_cast<Index>(i) % dim;
                        half[i] = 2.0F * static_cast<float>(both.data()[at]);
                    }
                    return half;
                });
                add(with_suffix(own, "bias"), {config.classes}, span_of(head.bias));
            }
        } else if (is("dinov2") && config.pooling == nn::Pooling::class_token) {  // zeros for the mean of the patches
            add_made(name(Part::head, 0, "weight"), {config.classes, 2 * dim}, [&head, dim] {
                const auto own = nn::dense_rows(head.weight, 0, head.weight.outputs());
                std::vector<float> wide(static_cast<std::size_t>(head.weight.outputs() * 2 * dim));
                for (Index i = 0; i < own.size(); ++i) {
                    wide[static_cast<std::size_t>(i / dim * 2 * dim + i % dim)] = static_cast<float>(own.data()[i]);
                }
                return wide;
            });
            add(name(Part::head, 0, "bias"), {config.classes}, span_of(head.bias));
        } else {
            add_layer(name(Part::head, 0, "weight"), name(Part::head, 0, "bias"), head, 0, config.classes, none);
            if (is("clip")) {  // whose head has no bias
                tensors_.pop_back();
            }
        }
    }

    nn::VisionTransformer<T, S>* model_;
    const Family* family_;
    std::string prefix_;
    io::Dtype stored_as_;
    std::vector<io::TensorToWrite> tensors_;
};

}  // namespace wasi::files::detail
