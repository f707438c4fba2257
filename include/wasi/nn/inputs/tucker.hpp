#pragma once
#include <memory>
#include <string_view>
#include <utility>

#include "wasi/nn/inputs/saver.hpp"
#include "wasi/subspace/activation_subspace.hpp"
#include "wasi/subspace/low_rank_gradient.hpp"

namespace wasi::nn {

/// Tucker factors of the input in a warm-started activation subspace: dW = P U_3ᵀ without X.
template <Scalar T, class S>
class TuckerInput final : public InputSaver<T, S> {
public:
    using Subspace = subspace::ActivationSubspace<T, S>;

    /// The basis is booked as optimiser state of the layer. Throws what subspace::ActivationSubspace does.
    TuckerInput(const subspace::ActivationSubspaceOptions& options, RandomKey key, Memory& memory, std::uint16_t layer)
        : subspace_(options, key, memory, Tag{Use::optimiser_state, layer})
    {
    }
    [[nodiscard]] static std::unique_ptr<InputSaver<T, S>> start(const subspace::ActivationSubspaceOptions& options,
                                                                 RandomKey key, Memory& memory, std::uint16_t layer)
    {
        return std::make_unique<TuckerInput>(options, key, memory, layer);
    }

    [[nodiscard]] const Subspace& subspace() const { return subspace_; }
    [[nodiscard]] const subspace::ActivationSubspaceOptions& options() const { return subspace_.options(); }

    /// Throws divergence_error for an input that is not finite.
    [[nodiscard]] SavedInput<T, S> save(const autograd::Context<T, S>&, const autograd::Variable<T>& x,
                                        Tag tag) override
    {
        try {
            auto factors = std::make_shared<Factors>(subspace_.compress(as_three(x.value().data(), x.shape())));
            factors->tucker.rebook(tag);
            return {{}, std::move(factors), nullptr};
        } catch (const error&) {
            require<divergence_error>(S::all_finite(x.value().matrix()), "the input of layer ", tag.layer,
                                      " holds NaN or infinity");
            throw;
        }
    }
    void state(State& state) override { subspace_.state(state); }

private:
    class Factors final : public FactoredInput<T, S> {
    public:
        explicit Factors(tensor::Tucker<T, 3> taken) : tucker(std::move(taken)) {}
        [[nodiscard]] Tensor<T> left(ConstTensorView<T, 3> dy, Memory& memory) const override
        {
            return subspace::low_rank_gradient<S, T>(dy, tucker, memory);
        }
        [[nodiscard]] ConstMatrixView<T> right() const override { return tucker.bases[2].matrix(); }
        [[nodiscard]] bool right_is_orthonormal() const override { return true; }
        tensor::Tucker<T, 3> tucker;
    };

    Subspace subspace_;
};

/// The wish to save inputs in Tucker form.
struct TuckerOptions : subspace::ActivationSubspaceOptions {
    static constexpr std::string_view kind = "tucker";
    template <Scalar T, class S>
    using Saver = TuckerInput<T, S>;
};

}  // namespace wasi::nn
