#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/linalg/decay.hpp"
#include "wasi/optim/adamw_moments.hpp"
#include "wasi/optim/compiled.hpp"
#include "wasi/optim/gradient_matrix.hpp"
#include "wasi/optim/optimizer.hpp"

namespace wasi::optim {

/// How GaLore finds the directions that it projects gradients onto.
enum class GradientBasis : std::uint8_t {
    svd,         ///< the leading singular vectors of the gradient at a refresh, as published
    randomized,  ///< the same from a random sketch (GaLore 2, arXiv 2504.20437)
    warm,        ///< a sketch at first, then one step of subspace iteration a refresh (as LDAdam, arXiv 2410.16103)
};

/// What becomes of GaLore's moments when their directions change.
enum class RefreshedMoments : std::uint8_t {
    kept,     ///< they stay, in coordinates of directions that are gone, as published
    rotated,  ///< they are carried over (LDAdam, arXiv 2410.16103)
};

template <Scalar T, class S>
requires OptimizerStorageFor<S, T>
class Galore;

/// Names and defaults are those of the package galore-torch and its AdamW.
struct GaloreOptions {
    static constexpr std::string_view name = "galore";
    template <Scalar T, class S>
    using Made = Galore<T, S>;

    Index rank = 128;           ///< r; a matrix that this does not make smaller is trained by AdamW as it is
    Index refresh_every = 200;  ///< steps after which there are other directions
    double step_scale = 0.25;   ///< of the step of a projected matrix
    GradientBasis basis = GradientBasis::svd;
    RefreshedMoments moments = RefreshedMoments::kept;
    MomentOptions state{};
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-6;
    double weight_decay = 0.0;
    std::uint64_t seed = 0;  ///< of what sketches draw
};

/// GaLore (Zhao et al. 2024, arXiv 2403.03507): AdamW on the gradient of a matrix W (m,n) in r directions. With m >= n
/// (else the same of Wᵀ), Q (n,r) orthonormal, anew of the gradient G every refresh_every steps:
///     R = G Q,  M <- b1 M + (1 - b1) R,  V <- b2 V + (1 - b2) R²,
///     W <- (1 - rate lambda)(W - rate scale (M / (1 - b1^t)) / ((sqrt(V) + epsilon) / sqrt(1 - b2^t)) Qᵀ).
/// Epsilon and decay stand where galore-torch has them, which is not where torch.optim.AdamW does: epsilon before the
/// correction of V, decay after the step. Parameters that are no matrix, and matrices for which
/// r (min + 2 max of m, n) >= 2 m n or r >= min(m, n), take the same steps with Q = 1 and scale 1, V and M as large as
/// W.
///
/// RefreshedMoments::rotated: M <- M C, V <- (1 - b2^t) |(V^ - M^²) C² + (M^ C)²|, C = Q_oldᵀ Q, squares by elements,
/// M^ and V^ corrected (LDAdam's projection; its error feedback, a buffer of W's size, is not here).
///
/// State r min + 2 r max floats a matrix; with MomentFormat::int8 r min floats and 2 r max numbers of 8 bits. A factored
/// gradient (what saved inputs in a factored form give) stays factored: nothing of W's size is formed. 2 m n r flops for
/// R, as many for the step; a refresh: GradientMatrix.
/// Subspaces (WeightSubspace) are refused with argument_error. A parameter's share of the decay is an exponent, as in
/// AdamW.
template <Scalar T, class S>
requires OptimizerStorageFor<S, T>
class Galore final : public Optimizer<T, S> {
public:
    /// Throws argument_error for a rank or refresh_every below 1, betas outside [0, 1), a non-positive epsilon, a
    /// negative decay or scale.
    Galore(GaloreOptions options, Memory& memory) : options_(options), memory_(&memory)
    {
        require<argument_error>(options.rank >= 1 && options.refresh_every >= 1, "Galore: rank is ", options.rank,
                                ", refresh_every ", options.refresh_every);
        require<argument_error>(
            options.beta1 >= 0.0 && options.beta1 < 1.0 && options.beta2 >= 0.0 && options.beta2 < 1.0,
            "Galore: betas must be in [0, 1), got ", options.beta1, " and ", options.beta2);
        require<argument_error>(options.epsilon > 0.0, "Galore: epsilon is ", options.epsilon);
        require<argument_error>(options.weight_decay >= 0.0 && std::isfinite(options.weight_decay) &&
                                    options.step_scale >= 0.0 && std::isfinite(options.step_scale),
                                "Galore: weight_decay is ", options.weight_decay, ", step_scale ", options.step_scale);
    }

    /// Whether the gradient of a matrix (m,n) is projected: whether that makes the state smaller than AdamW's.
    [[nodiscard]] static bool projects(Index m, Index n, Index rank)
    {
        const Index small = std::min(m, n);
        return rank < small && rank * (small + 2 * std::max(m, n)) < 2 * m * n;
    }

    void apply(const nn::ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate, T scale) override
    {
        require<argument_error>(parameter.subspace() == nullptr, "Galore: the low-rank weight ", parameter.name(),
                                " cannot be trained by it (its moments belong to a dense weight); use SGD, or free "
                                "factors");
        autograd::DenseParameter<T>& dense = *parameter.dense();
        const double full = static_cast<double>(rate) * options_.weight_decay;
        require<argument_error>(full <= 1.0, "Galore: rate ", rate, " times weight_decay ", options_.weight_decay,
                                " is above 1");
        const double shrink = decay_of_share(full, dense.decay_share);
        const MatrixView<T> values = dense.matrix();
        const GradientMatrix<T, S> g(gradient, values, parameter.name());
        Moments& state = moments_[parameter.name()];
        const Step step{parameter.state_tag(), rate, shrink, scale};
        const bool matrix = dense.values.shape().order() == 2;
        if (!matrix || !projects(values.rows, values.cols, options_.rank)) {
            move_plain(values, g, state, step);
        } else if (values.rows >= values.cols) {
            move_projected(values, g, state, step, parameter.name());
        } else {
            move_projected(values.transposed(), g.transposed(), state, step, parameter.name());
        }
    }

    void state(State& state, const std::vector<nn::ParameterRef<T, S>>& parameters) override
    {
        for (const auto& parameter : parameters) {
            const State::Scope scope(state, parameter.name());
            Moments& moments = moments_[parameter.name()];
            state.tensor(".directions", moments.directions, *memory_, parameter.state_tag());
            moments.both.state(state, *memory_, parameter.state_tag());
            state.number(".steps", moments.step);
        }
    }

private:
    struct Moments {
        Index step = 0;
        Tensor<T> directions;  // Q (n,r); of a plain parameter nothing
        AdamWMoments<T, S> both;
    };
    struct Step {
        Tag tag;
        T rate;
        double shrink;
        T scale;
    };

    [[nodiscard]] double correction1(Index t) const { return 1.0 - std::pow(options_.beta1, static_cast<double>(t)); }
    [[nodiscard]] double correction2(Index t) const { return 1.0 - std::pow(options_.beta2, static_cast<double>(t)); }

    /// The elementwise part, for step number t from 1, of a step times `size`.
    [[nodiscard]] AdamWStep<T> elementwise(Index t, T gradient_scale, double shrink, double size) const
    {
        const double root = std::sqrt(correction2(t));
        return {options_.beta1,
                options_.beta2,
                static_cast<T>(options_.epsilon / root),
                static_cast<T>(shrink),
                static_cast<T>(size / correction1(t)),
                static_cast<T>(1.0 / root),
                gradient_scale};
    }

    void move_plain(MatrixView<T> w, const GradientMatrix<T, S>& gradient, Moments& state, const Step& step)
    {
        if (state.step == 0) {
            state.both.make(*memory_, step.tag, w.rows, w.cols, options_.state);
        }
        ++state.step;
        const Tensor<T> expanded = gradient.expanded(*memory_);
        const double size = static_cast<double>(step.rate) * (1.0 - step.shrink);
        state.both.step(w, gradient.dense_or(expanded), elementwise(state.step, step.scale, step.shrink, size),
                        *memory_);
    }

    /// For W (m,n), m >= n.
    void move_projected(MatrixView<T> w, const GradientMatrix<T, S>& gradient, Moments& state, const Step& step,
                        std::string_view name)
    {
        if (state.step % options_.refresh_every == 0) {
            refresh(gradient, state, step.tag, key_of(options_.seed, name, state.step));
        }
        if (state.step == 0) {
            state.both.make(*memory_, step.tag, w.rows, options_.rank, options_.state);
        }
        ++state.step;
        const auto q = std::as_const(state.directions).matrix();
        Tensor<T> projected = workspace<T>(*memory_, w.rows, options_.rank);
        gradient.multiply(projected.matrix(), T(1), q, *memory_);
        // The step within the directions: what AdamW makes of zero.
        Tensor<T> moved = workspace<T>(*memory_, w.rows, options_.rank);
        S::fill(moved.matrix(), T(0));
        const double size = static_cast<double>(step.rate) * options_.step_scale * (1.0 - step.shrink);
        state.both.step(moved.matrix(), std::as_const(projected).matrix(),
                        elementwise(state.step, step.scale, 0.0, size), *memory_);
        linalg::decay<S>(w, static_cast<T>(step.shrink));
        S::multiply(w, T(1), std::as_const(moved).matrix(), q.transposed(), T(1), *memory_);
    }

    void refresh(const GradientMatrix<T, S>& gradient, Moments& state, Tag tag, RandomKey key)
    {
        const bool first = state.step == 0;
        Tensor<T> old;
        if (first) {
            state.directions = Tensor<T>(*memory_, tag, Shape{gradient.cols(), options_.rank});
        } else if (options_.moments == RefreshedMoments::rotated) {
            old = workspace<T>(*memory_, gradient.cols(), options_.rank);
            S::copy(old.matrix(), std::as_const(state.directions).matrix());
        }
        const auto q = state.directions.matrix();
        switch (options_.basis) {
            case GradientBasis::svd:
                gradient.leading(q, key, *memory_);
                break;
            case GradientBasis::randomized:
                gradient.leading_randomized(q, key, *memory_);
                break;
            case GradientBasis::warm:
                if (first) {
                    gradient.leading_randomized(q, key, *memory_);
                } else {
                    gradient.follow(q, *memory_);
                }
                break;
        }
        if (!old.empty()) {
            state.both.in_full(*memory_, [&](MatrixView<T> m, MatrixView<T> v) {
                rotate(state, std::as_const(old).matrix(), m, v);
            });
        }
    }

    /// Moments of the old directions become moments of the new ones.
    void rotate(const Moments& state, ConstMatrixView<T> old, MatrixView<T> m, MatrixView<T> v)
    {
        const Index r = options_.rank;
        const double c1 = correction1(state.step);
        const double c2 = correction2(state.step);
        Tensor<T> turn = workspace<T>(*memory_, r, r);  // C
        S::multiply(turn.matrix(), T(1), old.transposed(), std::as_const(state.directions).matrix(), T(0), *memory_);
        Tensor<T> other = workspace<T>(*memory_, m.rows, r);
        const auto x = other.matrix();
        S::copy(x, ConstMatrixView<T>(m));
        S::multiply_elements(x, ConstMatrixView<T>(m));
        S::add_scaled(v, static_cast<T>(1.0 / c2), static_cast<T>(-1.0 / (c1 * c1)), ConstMatrixView<T>(x));
        S::multiply(x, T(1), ConstMatrixView<T>(m), std::as_const(turn).matrix(), T(0), *memory_);
        S::copy(m, ConstMatrixView<T>(x));
        S::multiply_elements(turn.matrix(), std::as_const(turn).matrix());
        S::multiply(x, T(1), ConstMatrixView<T>(v), std::as_const(turn).matrix(), T(0), *memory_);
        S::copy(v, ConstMatrixView<T>(m));
        S::multiply_elements(v, ConstMatrixView<T>(m));
        S::add_scaled(x, static_cast<T>(c2), static_cast<T>(c2 / (c1 * c1)), ConstMatrixView<T>(v));
        // |x| = max(x, 0) + max(-x, 0)
        S::relu(v, ConstMatrixView<T>(x));
        S::add_scaled(x, T(0), T(-1), ConstMatrixView<T>(x));
        S::relu(x, ConstMatrixView<T>(x));
        S::add_scaled(v, T(1), T(1), ConstMatrixView<T>(x));
    }

    GaloreOptions options_;
    Memory* memory_;
    std::map<std::string, Moments> moments_;
};

WASI_COMPILED(WASI_OPTIM_GALORE)

}  // namespace wasi::optim
