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
#include "wasi/linalg/product_svd.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/optim/adamw.hpp"
#include "wasi/optim/compiled.hpp"
#include "wasi/optim/gradient_matrix.hpp"
#include "wasi/optim/optimizer.hpp"

namespace wasi::optim {

template <Scalar T, class S>
requires OptimizerStorageFor<S, T>
class Mofasgd;

/// Numbers of MoFaSGD. The paper and its authors' code differ in where momentum starts and in what a step is.
struct MofasgdOptions {
    static constexpr std::string_view name = "mofasgd";
    template <Scalar T, class S>
    using Made = Mofasgd<T, S>;

    Index rank = 32;               ///< r of the momentum
    double beta = 0.95;            ///< of the momentum, in [0, 1); there is no factor 1 - beta
    bool as_code = false;          ///< the step of the authors' code in place of the paper's; what follows is of it
    double momentum_step = 0.25;   ///< eta1
    double complement_step = 0.0;  ///< eta2
    double largest_inverse = 5.0;  ///< no singular value is divided by that is smaller than 1 over this
    double weight_decay = 0.0;     ///< decoupled, as AdamW's
    double other_rate = 0.1;       ///< the rate of AdamW for what is no such matrix, times the rate of the matrices
};

/// Momentum factorized SGD (Mahdavinia, Mahdavi 2025, arXiv 2507.08091): the momentum of a matrix W (m,n) is U diag(s)
/// Vᵀ of rank r. Each step projects the gradient G onto the tangent space at it and keeps the best rank r of the sum:
///     M = beta U diag(s) Vᵀ + U UᵀG + G V Vᵀ - U UᵀG V Vᵀ = [U, G V] [V (beta diag(s) - UᵀG V)ᵀ + GᵀU, V]ᵀ,
///     U, s, V <- the r leading singular triplets of M (linalg::product_svd: M is not formed),
///     W <- (1 - rate lambda) W - rate U Vᵀ.
/// M starts as the best rank-r part of the first gradient; singular values at rounding (of s_1) are not stepped along.
/// As the authors' code (pmahdavi/MoFaSGD): U, s, V start as those of W, and
///     W <- W - rate (eta1 U diag(min(1/s, largest_inverse)) Vᵀ + eta2 (1 - U_oldU_oldᵀ) G (1 - V_old V_oldᵀ)),
/// values of s at 1e-10 or below left out.
///
/// Parameters that are no matrix, and matrices for which r (m + n) >= m n, are AdamW's (torch's epsilon and betas) at
/// other_rate times the rate. State r (m + n + 1) floats a matrix. Only G V, GᵀU and UᵀG V are formed of G, which stays
/// factored where it is; with eta2 a dense G is added to W in place. 4 m n r flops for them (2 (m + n) r k of a G of
/// rank k), about 40 (m + n) r² + 200 r³ for the triplets, 2 m n r for the step. Subspaces are refused with
/// argument_error.
template <Scalar T, class S>
requires OptimizerStorageFor<S, T>
class Mofasgd final : public Optimizer<T, S> {
public:
    /// Throws argument_error for a rank below 1, a beta outside [0, 1), other numbers that are negative or not finite.
    Mofasgd(MofasgdOptions options, Memory& memory)
        : options_(options), memory_(&memory), others_({.weight_decay = options.weight_decay}, memory)
    {
        require<argument_error>(options.rank >= 1, "Mofasgd: rank is ", options.rank);
        require<argument_error>(options.beta >= 0.0 && options.beta < 1.0, "Mofasgd: beta must be in [0, 1), got ",
                                options.beta);
        for (const double number : {options.momentum_step, options.complement_step, options.largest_inverse,
                                    options.weight_decay, options.other_rate}) {
            require<argument_error>(number >= 0.0 && std::isfinite(number), "Mofasgd: momentum_step ",
                                    options.momentum_step, ", complement_step ", options.complement_step,
                                    ", largest_inverse ", options.largest_inverse, ", weight_decay ",
                                    options.weight_decay, ", other_rate ", options.other_rate);
        }
    }

    /// Whether the momentum of a matrix (m,n) is factorized: whether that makes it smaller.
    [[nodiscard]] static bool factorizes(Index m, Index n, Index rank)
    {
        return rank <= std::min(m, n) && rank * (m + n) < m * n;
    }

    void apply(const nn::ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate, T scale) override
    {
        require<argument_error>(parameter.subspace() == nullptr, "Mofasgd: the low-rank weight ", parameter.name(),
                                " cannot be trained by it; use SGD, or free factors");
        if (!factorizes(parameter)) {
            others_.apply(parameter, gradient, rate * static_cast<T>(options_.other_rate), scale);
            return;
        }
        autograd::DenseParameter<T>& dense = *parameter.dense();
        const double full = static_cast<double>(rate) * options_.weight_decay;
        require<argument_error>(full <= 1.0, "Mofasgd: rate ", rate, " times weight_decay ", options_.weight_decay,
                                " is above 1");
        const double shrink = decay_of_share(full, dense.decay_share);
        const MatrixView<T> w = dense.matrix();
        const GradientMatrix<T, S> g(gradient, w, parameter.name());
        Momentum& momentum = momentum_[parameter.name()];
        const Tag tag = parameter.state_tag();
        linalg::decay<S>(w, static_cast<T>(shrink));
        if (momentum.empty()) {
            if (!options_.as_code) {
                begin(momentum, g, scale, tag, key_of(0, parameter.name(), 0));
                step(w, momentum, rate);
                return;
            }
            keep(momentum, linalg::truncated_svd<S, T>(ConstMatrixView<T>(w), {.rank = options_.rank}, *memory_), tag);
        }
        follow(w, momentum, g, rate, scale, tag);
        step(w, momentum, rate);
    }

    void state(State& state, const std::vector<nn::ParameterRef<T, S>>& parameters) override
    {
        std::vector<nn::ParameterRef<T, S>> others;
        for (const auto& parameter : parameters) {
            if (!factorizes(parameter)) {
                others.push_back(parameter);
                continue;
            }
            const State::Scope scope(state, parameter.name());
            Momentum& momentum = momentum_[parameter.name()];
            state.tensor(".momentum_left", momentum.left, *memory_, parameter.state_tag());
            state.tensor(".momentum_right", momentum.right, *memory_, parameter.state_tag());
            state.tensor(".momentum_values", momentum.values, memory_->host(), parameter.state_tag());
        }
        others_.state(state, others);
    }

private:
    struct Momentum {
        Tensor<T> left;    // U (m,r)
        Tensor<T> right;   // V (n,r)
        Tensor<T> values;  // s (1,r), the host's

        [[nodiscard]] bool empty() const { return left.empty(); }
    };

    [[nodiscard]] bool factorizes(const nn::ParameterRef<T, S>& parameter) const
    {
        if (parameter.subspace() != nullptr || parameter.dense()->values.shape().order() != 2) {
            return false;
        }
        const Shape& shape = parameter.dense()->values.shape();
        return factorizes(shape[0], shape[1], options_.rank);
    }

    void keep(Momentum& momentum, const linalg::SvdFactors<T>& svd, Tag tag)
    {
        const Index r = options_.rank;
        if (momentum.empty()) {
            momentum.left = Tensor<T>(*memory_, tag, Shape{svd.u.shape()[0], r});
            momentum.right = Tensor<T>(*memory_, tag, Shape{svd.v.shape()[0], r});
            momentum.values = Tensor<T>(memory_->host(), tag, Shape{1, r});
        }
        S::copy(momentum.left.matrix(), svd.u.matrix());
        S::copy(momentum.right.matrix(), svd.v.matrix());
        std::copy_n(svd.s.data(), r, momentum.values.data());
    }

    /// M = the best rank-r part of scale G.
    void begin(Momentum& momentum, const GradientMatrix<T, S>& g, T scale, Tag tag, RandomKey key)
    {
        const Index r = options_.rank;
        Tensor<T> right = workspace<T>(*memory_, g.cols(), r);
        g.leading(right.matrix(), key, *memory_);
        Tensor<T> left = workspace<T>(*memory_, g.rows(), r);
        g.multiply(left.matrix(), scale, std::as_const(right).matrix(), *memory_);
        keep(momentum,
             linalg::product_svd<S, T>({std::as_const(left).matrix(), std::as_const(right).matrix()}, {.rank = r},
                                       *memory_),
             tag);
    }

    /// M <- the best rank-r part of beta M + the tangent part of scale G; and the complement's step of W.
    void follow(MatrixView<T> w, Momentum& momentum, const GradientMatrix<T, S>& g, T rate, T scale, Tag tag)
    {
        const Index r = options_.rank;
        const auto u = std::as_const(momentum.left).matrix();
        const auto v = std::as_const(momentum.right).matrix();
        Tensor<T> left = workspace<T>(*memory_, g.rows(), 2 * r);   // [U, G V]
        Tensor<T> right = workspace<T>(*memory_, g.cols(), 2 * r);  // [GᵀU + V (beta diag(s) - UᵀG V)ᵀ, V]
        const auto gv = left.matrix().col_block(r, r);
        const auto gu = right.matrix().col_block(0, r);
        S::copy(left.matrix().col_block(0, r), u);
        S::copy(right.matrix().col_block(r, r), v);
        g.multiply(gv, scale, v, *memory_);
        g.transposed().multiply(gu, scale, u, *memory_);
        Tensor<T> core = workspace<T>(*memory_, r, r);
        S::multiply(core.matrix(), T(1), u.transposed(), ConstMatrixView<T>(gv), T(0), *memory_);
        if (options_.as_code && options_.complement_step > 0.0) {
            add_complement(w, g, rate * static_cast<T>(options_.complement_step), scale, u, v, gv, gu, core);
        }
        S::add_scaled(core.matrix(), T(0), T(-1), std::as_const(core).matrix());
        for (Index j = 0; j < r; ++j) {
            S::add_constant(core.matrix().block(j, j, 1, 1), static_cast<T>(options_.beta) * momentum.values.data()[j]);
        }
        S::multiply(gu, T(1), v, std::as_const(core).matrix().transposed(), T(1), *memory_);
        keep(momentum,
             linalg::product_svd<S, T>({std::as_const(left).matrix(), std::as_const(right).matrix()}, {.rank = r},
                                       *memory_),
             tag);
    }

    /// W <- W - size (1 - U Uᵀ) G (1 - V Vᵀ) = W - size (G - U (GᵀU)ᵀ - (G V) Vᵀ + U (UᵀG V) Vᵀ), products of G times
    /// scale.
    void add_complement(MatrixView<T> w, const GradientMatrix<T, S>& g, T size, T scale, ConstMatrixView<T> u,
                        ConstMatrixView<T> v, ConstMatrixView<T> gv, ConstMatrixView<T> gu, const Tensor<T>& core)
    {
        g.add_to(w, -size * scale, *memory_);
        S::multiply(w, size, u, gu.transposed(), T(1), *memory_);
        Tensor<T> beside = workspace<T>(*memory_, gv.rows, gv.cols);  // G V - U UᵀG V
        S::copy(beside.matrix(), gv);
        S::multiply(beside.matrix(), T(-1), u, core.matrix(), T(1), *memory_);
        S::multiply(w, size, std::as_const(beside).matrix(), v.transposed(), T(1), *memory_);
    }

    /// The step along U Vᵀ, each direction by its weight.
    void step(MatrixView<T> w, const Momentum& momentum, T rate)
    {
        const Index r = options_.rank;
        const T* s = momentum.values.data();
        const double floor = static_cast<double>(r) * static_cast<double>(epsilon<T>) * static_cast<double>(s[0]);
        const auto weight = [&](double value) {
            if (options_.as_code) {
                return value > 1e-10 ? options_.momentum_step * std::min(1.0 / value, options_.largest_inverse) : 0.0;
            }
            return value > floor ? 1.0 : 0.0;
        };
        Tensor<T> weighted = workspace<T>(*memory_, momentum.left.shape()[0], r);
        for (Index j = 0; j < r; ++j) {
            S::add_scaled(weighted.matrix().col_block(j, 1), T(0), static_cast<T>(weight(static_cast<double>(s[j]))),
                          momentum.left.matrix().col_block(j, 1));
        }
        S::multiply(w, -rate, std::as_const(weighted).matrix(), momentum.right.matrix().transposed(), T(1), *memory_);
    }

    MofasgdOptions options_;
    Memory* memory_;
    AdamW<T, S> others_;
    std::map<std::string, Momentum> momentum_;
};

WASI_COMPILED(WASI_OPTIM_MOFASGD)

}  // namespace wasi::optim
