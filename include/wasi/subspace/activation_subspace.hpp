#pragma once
#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/linalg/randomized_svd.hpp"
#include "wasi/tensor/warm_tucker.hpp"

namespace wasi::subspace {

struct ActivationSubspaceOptions {
    /// How each mode of X (B,N,I) is truncated: batch, token, feature. The feature rule is asked at a restart only, so
    /// the feature rank stands still in between; the other two are asked at every step, on exact spectra.
    tensor::ModeRules<3> ranks{linalg::Energy{0.8}, linalg::Energy{0.8}, linalg::Energy{0.8}};
    /// Restart when the captured energy falls below this share of what it was right after the last restart. A share,
    /// not an absolute value: small ranks capture little even when the basis is perfect. 0 = never restart.
    double restart_below = 0.9;
};

/// The warm-started subspace of one layer's saved input (ASI, arXiv 2505.05086, with our warm step: see
/// tensor::warm_tucker_step). It holds one feature basis (I, r3) between steps and nothing over batch or tokens, so
/// batches of any size may follow one another. Thread safety: one object, one thread at a time. Example:
/// examples/subspaces_without_autograd.cpp
template <Scalar T, class S>
requires StorageFor<S, T>
class ActivationSubspace {
public:
    /// `tag` is where the feature basis is booked. Throws argument_error for restart_below outside [0, 1].
    ActivationSubspace(ActivationSubspaceOptions options, RandomKey key, Memory& memory, Tag tag)
        : options_(std::move(options)), key_(key), memory_(&memory), tag_(tag)
    {
        require<argument_error>(options_.restart_below >= 0.0 && options_.restart_below <= 1.0,
                                "ActivationSubspace: restart_below must be in [0, 1], got ", options_.restart_below);
    }

    /// Tucker factors of X (B,N,I); moves the feature basis one step. The first call, and one that finds the basis
    /// stale, takes a fresh basis by randomized SVD. Throws shape_error when I changes, argument_error on NaN or
    /// infinity.
    [[nodiscard]] tensor::Tucker<T, 3> compress(ConstTensorView<T, 3> x)
    {
        ++steps_;
        if (basis_.empty()) {
            return restart(x);
        }
        tensor::Tucker<T, 3> result = tensor::warm_tucker_step<S, T>(x, std::as_const(basis_).matrix(),
                                                                     options_.ranks[0], options_.ranks[1], *memory_);
        if (result.captured_energy < options_.restart_below * energy_at_restart_) {
            return restart(x);
        }
        keep(result);
        return result;
    }

    /// ||S||² / ||X||² of the last step.
    [[nodiscard]] double captured_energy() const { return captured_energy_; }
    /// (r1, r2, r3) of the last step; zeros before the first.
    [[nodiscard]] std::array<Index, 3> ranks() const { return ranks_; }
    [[nodiscard]] Index restarts() const { return restarts_; }
    /// The feature basis (I, r3); empty before the first step.
    [[nodiscard]] const Tensor<T>& basis() const { return basis_; }

private:
    [[nodiscard]] tensor::Tucker<T, 3> restart(ConstTensorView<T, 3> x)
    {
        const double total = tensor::detail::checked_energy<S, T, 3>(x, "ActivationSubspace");
        ++restarts_;
        linalg::SvdFactors<T> svd = linalg::randomized_svd<S, T>(
            x.rows_by(2), {.rank = options_.ranks[2], .power_iterations = 1}, key_.derive(steps_), *memory_);
        tensor::Tucker<T, 3> result = tensor::tucker_from_feature_basis<S, T>(x, std::move(svd.v), options_.ranks[0],
                                                                              options_.ranks[1], total, *memory_);
        energy_at_restart_ = result.captured_energy;
        keep(result);
        return result;
    }

    void keep(const tensor::Tucker<T, 3>& result)
    {
        captured_energy_ = result.captured_energy;
        ranks_ = result.ranks();
        if (basis_.shape() == result.bases[2].shape()) {
            S::copy(basis_.matrix(), result.bases[2].matrix());
        } else {
            basis_ = result.bases[2].clone(tag_);
        }
    }

    ActivationSubspaceOptions options_;
    RandomKey key_;
    Memory* memory_;
    Tag tag_;
    Tensor<T> basis_;  // (I, r3)
    double captured_energy_ = 0.0;
    double energy_at_restart_ = 0.0;
    std::array<Index, 3> ranks_{};
    Index steps_ = 0;
    Index restarts_ = 0;
};

}  // namespace wasi::subspace
