#pragma once
#include <concepts>
#include <cstddef>
#include <string>
#include <utility>
#include <variant>

#include "wasi/autograd/gradient.hpp"
#include "wasi/nn/compiled.hpp"
#include "wasi/subspace/free_factors.hpp"
#include "wasi/subspace/weight_subspace.hpp"

namespace wasi::nn {

/// The factors of a low-rank weight W = L R as both forms have them: what forward and backward passes, files and
/// reports need. A view: it lives while the weight is held so.
template <Scalar T>
class LowRankView {
public:
    template <class Factors>
    explicit LowRankView(const Factors& factors)
        : left_(factors.left()), right_(factors.right()), energy_at_start_(factors.energy_at_start())
    {
    }

    [[nodiscard]] ConstMatrixView<T> left() const { return left_; }    ///< L (O,K)
    [[nodiscard]] ConstMatrixView<T> right() const { return right_; }  ///< R (K,I)
    [[nodiscard]] Index outputs() const { return left_.rows; }
    [[nodiscard]] Index inputs() const { return right_.cols; }
    [[nodiscard]] Index rank() const { return left_.cols; }
    [[nodiscard]] std::size_t bytes() const
    {
        return static_cast<std::size_t>(left_.size() + right_.size()) * sizeof(T);
    }
    /// Share of ||W||² that the start kept.
    [[nodiscard]] double energy_at_start() const { return energy_at_start_; }

private:
    ConstMatrixView<T> left_;
    ConstMatrixView<T> right_;
    double energy_at_start_;
};

/// How a low-rank weight is held: with orthonormal L, as the method needs it, or as two free parameters.
enum class LowRankForm { subspace, free_factors };

/// The weight of a linear layer, (O,I), and how it is held: dense, or low rank as L R in one of two forms. The choice
/// is made at run time and may differ by layer, so a model's type does not change with the method. A dense weight may
/// have more than two extents (a patch convolution (D,C,p,p)); the first is O.
template <Scalar T, class S>
requires StorageFor<S, T>
class LinearWeight final : public autograd::Parameter {
public:
    using Dense = Tensor<T>;
    using Subspace = subspace::WeightSubspace<T, S>;
    using FreeFactors = subspace::FreeFactors<T, S>;

    /// Holds nothing yet; the dense block is made, values not set, when dense() is first asked for. So it is never made
    /// for factors from a file.
    LinearWeight(std::string name, Memory& memory, Shape shape, std::uint16_t layer)
        : Parameter(std::move(name)), memory_(&memory), shape_(shape), tag_{Use::weight, layer}
    {
    }

    [[nodiscard]] Index outputs() const { return shape_[0]; }
    [[nodiscard]] Index inputs() const { return shape_.size() / shape_[0]; }
    [[nodiscard]] const Shape& shape() const { return shape_; }
    [[nodiscard]] Tag tag() const { return tag_; }

    /// In either form.
    [[nodiscard]] bool is_low_rank() const { return !std::holds_alternative<Dense>(held_); }
    /// K, or 0 when dense.
    [[nodiscard]] Index rank() const { return is_low_rank() ? low_rank().rank() : 0; }
    [[nodiscard]] std::size_t bytes() const { return is_low_rank() ? low_rank().bytes() : dense().bytes(); }

    /// The dense values; throws std::bad_variant_access when it is low rank.
    [[nodiscard]] Dense& dense()
    {
        Dense& values = std::get<Dense>(held_);
        if (values.empty()) {
            values = Dense(*memory_, tag_, shape_);
        }
        return values;
    }
    [[nodiscard]] const Dense& dense() const { return std::get<Dense>(held_); }

    /// The factors, whichever form they have. Throws argument_error when the weight is dense.
    [[nodiscard]] LowRankView<T> low_rank() const
    {
        if (const Subspace* factors = weight_subspace()) {
            return LowRankView<T>(*factors);
        }
        const FreeFactors* factors = free_factors();
        require<argument_error>(factors != nullptr, "LinearWeight: ", name(), " is dense, it has no factors");
        return LowRankView<T>(*factors);
    }
    /// The weight as the method trains it; nullptr when it is held otherwise.
    [[nodiscard]] Subspace* weight_subspace() { return std::get_if<Subspace>(&held_); }
    [[nodiscard]] const Subspace* weight_subspace() const { return std::get_if<Subspace>(&held_); }
    /// The factors as two ordinary parameters; nullptr when the weight is held otherwise.
    [[nodiscard]] FreeFactors* free_factors() { return std::get_if<FreeFactors>(&held_); }
    [[nodiscard]] const FreeFactors* free_factors() const { return std::get_if<FreeFactors>(&held_); }

    /// The dense values as (O,I).
    [[nodiscard]] MatrixView<T> matrix() { return MatrixView<T>::row_major(dense().data(), outputs(), inputs()); }
    [[nodiscard]] ConstMatrixView<T> matrix() const
    {
        require<argument_error>(!dense().empty(), "LinearWeight: ", name(), " holds no values yet");
        return ConstMatrixView<T>::row_major(dense().data(), outputs(), inputs());
    }

    /// K (O + I) < O I: the rank below which factors are smaller and faster than the dense weight.
    [[nodiscard]] bool pays(Index rank) const { return rank * (outputs() + inputs()) < outputs() * inputs(); }

    /// From now on held as L R: the best approximation of the dense values whose rank the rule chooses. With
    /// `keep_dense_above_break_even` a rank that does not pay leaves the weight dense. Returns whether it is low rank
    /// now. The dense values are freed. Throws argument_error on NaN or infinity.
    bool factorize(const linalg::RankRule& rule, bool keep_dense_above_break_even,
                   LowRankForm form = LowRankForm::subspace)
    {
        require<argument_error>(!is_low_rank(), "LinearWeight::factorize: ", name(), " is low rank already");
        const auto values = std::as_const(*this).matrix();
        return form == LowRankForm::subspace
                   ? take(Subspace::start(values, rule, *memory_, tag_), keep_dense_above_break_even)
                   : take(FreeFactors::start(values, rule, *memory_, tag_), keep_dense_above_break_even);
    }

    /// The same product L R held in this form from now on; nothing happens when it is already. Throws argument_error
    /// when the weight is dense.
    void change_form(LowRankForm form)
    {
        const LowRankView<T> now = low_rank();
        if (form == LowRankForm::free_factors && free_factors() == nullptr) {
            held_ = FreeFactors::balanced(now.left(), now.right(), *memory_, tag_);
        } else if (form == LowRankForm::subspace && weight_subspace() == nullptr) {
            held_ = Subspace::orthonormal(now.left(), now.right(), *memory_, tag_);
        }
    }

    /// Held as these factors, a Subspace or FreeFactors, from now on. Throws shape_error unless L R is (O,I).
    template <class Factors>
    requires std::same_as<Factors, Subspace> || std::same_as<Factors, FreeFactors>
    void hold(Factors factors)
    {
        require<shape_error>(factors.outputs() == outputs() && factors.inputs() == inputs(),
                             "LinearWeight: factors of a (", factors.outputs(), ", ", factors.inputs(), ") matrix for ",
                             name(), " ", shape_text(shape_));
        held_ = std::move(factors);
    }

private:
    template <class Factors>
    bool take(Factors factors, bool keep_dense_above_break_even)
    {
        if (keep_dense_above_break_even && !pays(factors.rank())) {
            return false;
        }
        held_ = std::move(factors);
        return true;
    }

    Memory* memory_;
    Shape shape_;
    Tag tag_;
    std::variant<Dense, Subspace, FreeFactors> held_;
};

WASI_COMPILED(WASI_NN_LINEAR_WEIGHT)

}  // namespace wasi::nn
