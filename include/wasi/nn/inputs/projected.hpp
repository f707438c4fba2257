#pragma once
#include <memory>
#include <string_view>
#include <utility>

#include "wasi/nn/inputs/saver.hpp"
#include "wasi/subspace/input_projection.hpp"

namespace wasi::nn {

/// The input's coordinates in a small space, Z = X Q diag(c) (n,r), in the format of the context, in place of X (n,I):
/// dW = (dYᵀ Z) Qᵀ (subspace::Projection says which Q). The output and dX do not feel it. 2 n I r flops forward,
/// 2 n O r backward.
template <Scalar T, class S>
class ProjectedInput final : public InputSaver<T, S> {
public:
    using Projection = subspace::InputProjection<T, S>;

    /// Q is booked as optimiser state of the layer. Throws what subspace::InputProjection does.
    ProjectedInput(const subspace::InputProjectionOptions& options, RandomKey key, Memory& memory, std::uint16_t layer)
        : projection_(options, key, memory, Tag{Use::optimiser_state, layer})
    {
    }
    [[nodiscard]] static std::unique_ptr<InputSaver<T, S>> start(const subspace::InputProjectionOptions& options,
                                                                 RandomKey key, Memory& memory, std::uint16_t layer)
    {
        return std::make_unique<ProjectedInput>(options, key, memory, layer);
    }

    [[nodiscard]] const Projection& projection() const { return projection_; }
    [[nodiscard]] const subspace::InputProjectionOptions& options() const { return projection_.options(); }

    [[nodiscard]] SavedInput<T, S> save(const autograd::Context<T, S>& context, const autograd::Variable<T>& x,
                                        Tag tag) override
    {
        auto [z, basis] = projection_.project(x.value().matrix());
        return {{},
                std::make_shared<const Coordinates>(
                    autograd::Saved<T, S>(context, autograd::Variable<T>(std::move(z)), tag), std::move(basis)),
                nullptr};
    }
    void state(State& state) override { projection_.state(state); }

private:
    class Coordinates final : public FactoredInput<T, S> {
    public:
        Coordinates(autograd::Saved<T, S> z, typename Projection::Basis basis)
            : z_(std::move(z)), basis_(std::move(basis))
        {
        }
        [[nodiscard]] Tensor<T> left(ConstTensorView<T, 3> dy, Memory& memory) const override
        {
            const auto z = z_.get(memory);
            Tensor<T> result = workspace<T>(memory, dy.shape[2], z->shape()[1]);
            S::multiply(result.matrix(), T(1), dy.rows_by(2).transposed(), std::as_const(*z).matrix(), T(0), memory);
            right_ = basis_.matrix(memory);
            return result;
        }
        [[nodiscard]] ConstMatrixView<T> right() const override { return right_; }
        [[nodiscard]] bool right_is_orthonormal() const override { return basis_.orthonormal(); }

    private:
        autograd::Saved<T, S> z_;
        typename Projection::Basis basis_;
        mutable ConstMatrixView<T> right_{};
    };

    Projection projection_;
};

/// The wish to save inputs projected onto few directions.
struct ProjectedOptions : subspace::InputProjectionOptions {
    static constexpr std::string_view kind = "projected";
    template <Scalar T, class S>
    using Saver = ProjectedInput<T, S>;
};

}  // namespace wasi::nn
