#pragma once
#include <string>
#include <utility>
#include <variant>

#include "wasi/autograd/gradient.hpp"
#include "wasi/subspace/weight_subspace.hpp"

namespace wasi::nn {

/// The weight of a linear layer, (O,I), and how it is held: dense, or low rank as L R. The choice is made at run time
/// and may differ by layer, so a model's type does not change with the method. A dense weight may have more than two
/// extents (a patch convolution (D,C,p,p)); the first is O.
template <Scalar T, class S>
requires StorageFor<S, T>
class LinearWeight final : public autograd::Parameter {
public:
    using Dense = Tensor<T>;
    using LowRank = subspace::WeightSubspace<T, S>;

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

    [[nodiscard]] bool is_low_rank() const { return std::holds_alternative<LowRank>(held_); }
    /// K, or 0 when dense.
    [[nodiscard]] Index rank() const { return is_low_rank() ? low_rank().rank() : 0; }
    [[nodiscard]] std::size_t bytes() const { return is_low_rank() ? low_rank().bytes() : dense().bytes(); }

    /// The held alternative; throws std::bad_variant_access when it is the other one.
    [[nodiscard]] Dense& dense()
    {
        Dense& values = std::get<Dense>(held_);
        if (values.empty()) {
            values = Dense(*memory_, tag_, shape_);
        }
        return values;
    }
    [[nodiscard]] const Dense& dense() const { return std::get<Dense>(held_); }
    [[nodiscard]] LowRank& low_rank() { return std::get<LowRank>(held_); }
    [[nodiscard]] const LowRank& low_rank() const { return std::get<LowRank>(held_); }

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
    bool factorize(const linalg::RankRule& rule, bool keep_dense_above_break_even)
    {
        require<argument_error>(!is_low_rank(), "LinearWeight::factorize: ", name(), " is low rank already");
        LowRank factors = LowRank::start(std::as_const(*this).matrix(), rule, *memory_, tag_);
        if (keep_dense_above_break_even && !pays(factors.rank())) {
            return false;
        }
        held_ = std::move(factors);
        return true;
    }

    /// Held as these factors from now on. Throws shape_error unless L R is (O,I).
    void hold(LowRank factors)
    {
        require<shape_error>(factors.outputs() == outputs() && factors.inputs() == inputs(),
                             "LinearWeight: factors of a (", factors.outputs(), ", ", factors.inputs(), ") matrix for ",
                             name(), " ", shape_text(shape_));
        held_ = std::move(factors);
    }

private:
    Memory* memory_;
    Shape shape_;
    Tag tag_;
    std::variant<Dense, LowRank> held_;
};

}  // namespace wasi::nn
