#pragma once
#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/linalg/principal_angles.hpp"
#include "wasi/linalg/randomized_svd.hpp"
#include "wasi/linalg/tracking_policy.hpp"
#include "wasi/storage/state.hpp"
#include "wasi/subspace/compiled.hpp"
#include "wasi/tensor/warm_tucker.hpp"

namespace wasi::subspace {

struct ActivationSubspaceOptions {
    /// How each mode of X (B,N,I) is truncated: batch, token, feature. The feature rule is asked at a restart only, so
    /// the feature rank stands still in between; the other two are asked at every step, on exact spectra.
    tensor::ModeRules<3> ranks{linalg::Energy{0.8}, linalg::Energy{0.8}, linalg::Energy{0.8}};
    /// Restart when the captured energy falls below this share of what it was right after the last restart. A share,
    /// not an absolute value: small ranks capture little even when the basis is perfect. 0 = never restart.
    double restart_below = 0.9;
    /// Restart every so many steps. 0 = never for that reason.
    Index restart_every = 0;
};

/// The warm-started subspace of one layer's saved input (ASI, arXiv 2505.05086, with our warm step: see
/// tensor::warm_tucker_step). It holds one feature basis (I, r3) between steps and nothing over batch or tokens, so
/// batches of any size may follow one another. The size of the numbers does not matter: where their squares leave T,
/// 2^k X is decomposed, in a copy, and the core scaled back. Thread safety: one object, one thread at a time. Example:
/// examples/subspaces_without_autograd.cpp
template <Scalar T, class S>
requires StorageFor<S, T> && StorageFor<S, double>
class ActivationSubspace {
public:
    /// `tag` is where the feature basis is booked. Throws argument_error for restart_below outside [0, 1] and a
    /// negative restart_every.
    ActivationSubspace(ActivationSubspaceOptions options, RandomKey key, Memory& memory, Tag tag)
        : options_(std::move(options)), key_(key), memory_(&memory), tag_(tag)
    {
        require<argument_error>(options_.restart_below >= 0.0 && options_.restart_below <= 1.0,
                                "ActivationSubspace: restart_below must be in [0, 1], got ", options_.restart_below);
        require<argument_error>(options_.restart_every >= 0, "ActivationSubspace: restart_every is ",
                                options_.restart_every);
    }

    /// Tucker factors of X (B,N,I); moves the feature basis one step. The first call, one that is due by restart_every,
    /// and one that finds the basis stale, take a fresh basis by randomized SVD. Throws shape_error when I changes,
    /// argument_error on NaN or infinity.
    [[nodiscard]] tensor::Tucker<T, 3> compress(ConstTensorView<T, 3> x)
    {
        require<shape_error>(basis_.empty() || x.shape[2] == basis_.shape()[0], "ActivationSubspace: X ",
                             shape_text(x.shape), " after inputs with ", basis_.empty() ? 0 : basis_.shape()[0],
                             " features");
        ++steps_;
        if (basis_.empty() || policy().due(since_restart_)) {
            return restart(x);
        }
        tensor::Tucker<T, 3> result = tensor::warm_tucker_step<S, T>(x, std::as_const(basis_).matrix(),
                                                                     options_.ranks[0], options_.ranks[1], *memory_);
        if (policy().stale(result.captured_energy, energy_at_restart_)) {
            result = {};  // its memory is free for the restart
            return restart(x);
        }
        ++since_restart_;
        keep(result);
        return result;
    }

    [[nodiscard]] const ActivationSubspaceOptions& options() const { return options_; }
    /// ||S||² / ||X||² of the last step.
    [[nodiscard]] double captured_energy() const { return captured_energy_; }
    /// (r1, r2, r3) of the last step; zeros before the first.
    [[nodiscard]] std::array<Index, 3> ranks() const { return ranks_; }
    /// Sine of the largest principal angle between the feature bases of the last step and the one before; 0 at the
    /// first step.
    [[nodiscard]] double drift() const { return drift_; }
    [[nodiscard]] Index restarts() const { return restarts_; }
    /// The feature basis (I, r3); empty before the first step.
    [[nodiscard]] ConstMatrixView<T> basis() const { return basis_.empty() ? ConstMatrixView<T>{} : basis_.matrix(); }

    /// The basis and all that decides when it is made anew.
    void state(State& visitor)
    {
        visitor.tensor("basis", basis_, *memory_, tag_);
        visitor.number("captured_energy", captured_energy_);
        visitor.number("energy_at_restart", energy_at_restart_);
        visitor.number("drift", drift_);
        visitor.number("batch_rank", ranks_[0]);
        visitor.number("token_rank", ranks_[1]);
        visitor.number("feature_rank", ranks_[2]);
        visitor.number("steps", steps_);
        visitor.number("since_restart", since_restart_);
        visitor.number("restarts", restarts_);
    }

private:
    [[nodiscard]] linalg::RestartPolicy policy() const { return {options_.restart_below, options_.restart_every}; }

    /// The factors that `decompose` makes of X and ||X||²; where squares of X leave T, of 2^k X, with the core of X.
    template <class Decompose>
    [[nodiscard]] tensor::Tucker<T, 3> at_ordinary_size(ConstTensorView<T, 3> x, double total, Decompose&& decompose)
    {
        namespace detail = linalg::detail;
        const int k = detail::is_ordinary<T>(total * total) ? 0 : detail::ordinary_shift<T>(S::largest(x.rows_by(2)));
        if (k == 0) {
            return decompose(x, total);
        }
        const detail::ScaledCopy<S, T> scaled(x.rows_by(2), k, *memory_);
        const ConstMatrixView<T> rows = scaled.matrix();
        tensor::Tucker<T, 3> result = decompose(ConstTensorView<T, 3>{rows.data, x.shape}, S::dot(rows, rows));
        detail::scale_to<S, T>(result.core.matrix(), result.core.matrix(), -k);
        return result;
    }

    [[nodiscard]] tensor::Tucker<T, 3> restart(ConstTensorView<T, 3> x)
    {
        const double total = tensor::detail::checked_energy<S, T, 3>(x, "ActivationSubspace");
        ++restarts_;
        tensor::Tucker<T, 3> result = at_ordinary_size(x, total, [&](ConstTensorView<T, 3> ordinary, double energy) {
            linalg::SvdFactors<T> svd = linalg::randomized_svd<S, T>(
                ordinary.rows_by(2), {.rank = options_.ranks[2], .power_iterations = 1, .probes = 0},
                key_.derive(steps_), *memory_);
            return tensor::tucker_from_feature_basis<S, T>(ordinary, std::move(svd.v), options_.ranks[0],
                                                           options_.ranks[1], energy, *memory_);
        });
        energy_at_restart_ = result.captured_energy;
        since_restart_ = 1;
        keep(result);
        return result;
    }

    void keep(const tensor::Tucker<T, 3>& result)
    {
        captured_energy_ = result.captured_energy;
        ranks_ = result.ranks();
        if (!basis_.empty()) {
            drift_ = linalg::sine_of_largest_angle<S, T>(std::as_const(basis_).matrix(),
                                                         std::as_const(result.bases[2]).matrix(), *memory_);
        }
        if (basis_.shape() == result.bases[2].shape()) {
            S::copy(basis_.matrix(), result.bases[2].matrix());
        } else {
            basis_.reset();  // never two of them
            basis_ = clone<S>(result.bases[2], tag_);
        }
    }

    ActivationSubspaceOptions options_;
    RandomKey key_;
    Memory* memory_;
    Tag tag_;
    Tensor<T> basis_;  // (I, r3)
    double captured_energy_ = 0.0;
    double energy_at_restart_ = 0.0;
    double drift_ = 0.0;
    std::array<Index, 3> ranks_{};
    Index steps_ = 0;
    Index since_restart_ = 0;  // steps taken with this basis, the restart included
    Index restarts_ = 0;
};

WASI_COMPILED(WASI_SUBSPACE_ACTIVATION_SUBSPACE)

}  // namespace wasi::subspace
