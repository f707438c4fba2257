#pragma once
// The first rows of numerics.cpp: each holds its data and does one job.
#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/subspace/activation_subspace.hpp>
#include <wasi/subspace/low_rank_gradient.hpp>
#include <wasi/subspace/weight_subspace.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/hosvd.hpp>

#include "numerics_row.hpp"

namespace peers {

using Tucker = wasi::tensor::Tucker<float, 3>;

[[nodiscard]] inline Tensor<float> copy_of(ConstMatrixView<float> from)
{
    Tensor<float> result = wasi::workspace<float>(memory(), from.rows, from.cols);
    S::copy(result.matrix(), from);
    return result;
}

inline void write_tucker(const std::filesystem::path& path, const Tucker& tucker)
{
    wasi::io::write_safetensors(path, {entry("core", tucker.core), entry("u0", tucker.bases[0]),
                                       entry("u1", tucker.bases[1]), entry("u2", tucker.bases[2])});
}

/// A = U diag(s) Vᵀ by whatever `decompose` does.
class SvdRow final : public Row {
public:
    using Factors = wasi::linalg::SvdFactors<float>;
    using Decompose = std::function<Factors(ConstMatrixView<float>)>;

    SvdRow(const std::filesystem::path& data, Decompose decompose)
        : a_(load(wasi::io::SafetensorsFile(data / "matrix.safetensors"), "a")), decompose_(std::move(decompose))
    {
    }

    void round() override { factors_ = decompose_(std::as_const(a_).matrix()); }

    std::string write(const std::filesystem::path& path) override
    {
        round();
        factors_.s.reshape(Shape{factors_.s.size()});
        wasi::io::write_safetensors(path, {entry("u", factors_.u), entry("s", factors_.s), entry("v", factors_.v)});
        return wasi::message("rank ", factors_.info.rank, ", ",
                             factors_.info.route == wasi::linalg::Route::dense ? "dense" : "randomized", ", ",
                             factors_.info.passes, " passes");
    }

private:
    Tensor<float> a_;
    Decompose decompose_;
    Factors factors_;
};

/// ActivationSubspace::compress on one batch after another.
class WarmActivationRow final : public Row {
public:
    WarmActivationRow(const std::filesystem::path& data, const std::string& name) : subspace_(fresh())
    {
        const wasi::io::SafetensorsFile file(data / (name + ".safetensors"));
        for (const std::string& batch : file.names()) {
            batches_.push_back(load(file, batch));
        }
        restart();
    }

    void round() override
    {
        ++step_;
        tucker_ = subspace_.compress(std::as_const(batches_[step_ % batches_.size()]).view<3>());
    }

    std::string write(const std::filesystem::path& path) override
    {
        const Index restarts = subspace_.restarts() - 1;
        restart();
        for (std::size_t step = 1; step < batches_.size(); ++step) {
            round();
        }
        write_tucker(path, tucker_);
        return wasi::message("restarts after the first batch: ", restarts);
    }

private:
    [[nodiscard]] static wasi::subspace::ActivationSubspace<float, S> fresh()
    {
        return {{.ranks = {8, 4, 8}}, RandomKey(1), memory(), {}};
    }

    void restart()
    {
        subspace_ = fresh();
        step_ = 0;
        tucker_ = subspace_.compress(std::as_const(batches_[0]).view<3>());
    }

    std::vector<Tensor<float>> batches_;
    wasi::subspace::ActivationSubspace<float, S> subspace_;
    Tucker tucker_;
    std::size_t step_ = 0;
};

/// WeightSubspace::update with a factored gradient; W is never formed. Steps go back and forth as the peer's do.
class WarmWeightRow final : public Row {
public:
    explicit WarmWeightRow(const std::filesystem::path& data)
    {
        const wasi::io::SafetensorsFile file(data / "weight.safetensors");
        left_ = load(file, "left");
        right_ = load(file, "right");
        for (int g = 0; file.contains("p" + std::to_string(g)); ++g) {
            p_.push_back(load(file, "p" + std::to_string(g)));
            q_.push_back(load(file, "q" + std::to_string(g)));
        }
        restart();
    }

    void round() override
    {
        const std::size_t g = step_ % p_.size();
        const bool forth = (step_ / p_.size()) % 2 == 0;
        weight_->update(
            forth ? 1.0F : -1.0F, 0.0F,
            wasi::linalg::Factored<float>{std::as_const(p_[g]).matrix(), std::as_const(q_[g]).matrix(), true});
        ++step_;
    }

    std::string write(const std::filesystem::path& path) override
    {
        const double defect = weight_->orthogonality_defect();
        const std::size_t steps = step_;
        restart();
        for (std::size_t g = 0; g < p_.size(); ++g) {
            round();
        }
        const Tensor<float> left = copy_of(weight_->left());
        const Tensor<float> right = copy_of(weight_->right());
        wasi::io::write_safetensors(path, {entry("left", left), entry("right", right)});
        return wasi::message("||LᵀL - 1|| is ", defect, " after ", steps, " steps");
    }

private:
    using Weight = wasi::subspace::WeightSubspace<float, S>;

    void restart()
    {
        weight_ = std::make_unique<Weight>(Weight::from_factors(wasi::clone<wasi::EigenStorage>(left_, wasi::Tag{}),
                                                                wasi::clone<wasi::EigenStorage>(right_, wasi::Tag{})));
        step_ = 0;
    }

    Tensor<float> left_;
    Tensor<float> right_;
    std::vector<Tensor<float>> p_;
    std::vector<Tensor<float>> q_;
    std::unique_ptr<Weight> weight_;
    std::size_t step_ = 0;
};

/// dW = P U_3ᵀ from the compressed input. X is compressed beforehand: in training the forward pass has done it, and the
/// rows of the warm activation step time it.
class LowRankGradientRow final : public Row {
public:
    explicit LowRankGradientRow(const std::filesystem::path& data)
    {
        const wasi::io::SafetensorsFile file(data / "gradient.safetensors");
        dy_ = load(file, "dy");
        const Tensor<float> x = load(file, "x");
        tucker_ = wasi::tensor::hosvd<S, float, 3>(x.view<3>(), {8, 4, 8}, memory());
    }

    void round() override
    {
        p_ = wasi::subspace::low_rank_gradient<S, float>(std::as_const(dy_).view<3>(), tucker_, memory());
    }

    std::string write(const std::filesystem::path& path) override
    {
        round();
        wasi::io::write_safetensors(path, {entry("p", p_), entry("core", tucker_.core), entry("u0", tucker_.bases[0]),
                                           entry("u1", tucker_.bases[1]), entry("u2", tucker_.bases[2])});
        return "the error is that of compressing X";
    }

private:
    Tensor<float> dy_;
    Tucker tucker_;
    Tensor<float> p_;
};

/// Sequentially truncated HOSVD in the library's own order. Each of three modes may discard a third of a tenth of the
/// energy, so that at least 0.9 of it stays.
class ColdTuckerRow final : public Row {
public:
    explicit ColdTuckerRow(const std::filesystem::path& data)
        : x_(load(wasi::io::SafetensorsFile(data / "activations_128x50x768.safetensors"), "x0"))
    {
    }

    void round() override
    {
        tucker_ = wasi::tensor::sequentially_truncated_hosvd<S, float, 3>(
            std::as_const(x_).view<3>(), wasi::linalg::RankRule(Energy{1.0 - 0.1 / 3.0}), {}, memory());
    }

    std::string write(const std::filesystem::path& path) override
    {
        round();
        write_tucker(path, tucker_);
        return "ranks " + wasi::shape_text(tucker_.ranks());
    }

private:
    Tensor<float> x_;
    Tucker tucker_;
};

/// Orthogonal iteration from a sequentially truncated HOSVD, to fixed ranks. A rank that is a mode's extent leaves the
/// mode whole: TensorLy's partial_tucker.
class TuckerRow final : public Row {
public:
    TuckerRow(const std::filesystem::path& data, const std::array<Index, 3>& ranks)
        : x_(load(wasi::io::SafetensorsFile(data / "activations_128x50x768.safetensors"), "x0")), ranks_(ranks)
    {
    }

    void round() override
    {
        tucker_ = wasi::tensor::hooi<S, float, 3>(std::as_const(x_).view<3>(), {.ranks = ranks_}, memory());
    }

    std::string write(const std::filesystem::path& path) override
    {
        round();
        write_tucker(path, tucker_);
        return wasi::message(tucker_.sweeps, " sweeps");
    }

private:
    Tensor<float> x_;
    std::array<Index, 3> ranks_;
    Tucker tucker_;
};

}  // namespace peers
