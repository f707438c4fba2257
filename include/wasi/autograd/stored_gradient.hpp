#pragma once
#include <utility>
#include <variant>

#include "wasi/autograd/gradient.hpp"
#include "wasi/storage/concept.hpp"

namespace wasi::autograd {

/// An owned gradient that others can be added to, for sinks that wait and for parameters used more than once.
/// Sums keep the small forms small: factor gradients add up in place; P1 Q1ᵀ + P2 Q2ᵀ is joined and its Q made
/// orthonormal again; only a sum with a dense gradient is dense.
template <Scalar T, class S>
requires StorageFor<S, T>
class StoredGradient {
public:
    /// `layer`: under which the ledger books the copies.
    explicit StoredGradient(Memory& memory, std::uint16_t layer = 0) : memory_(&memory), tag_{Use::gradient, layer} {}

    [[nodiscard]] bool empty() const { return first_.empty(); }
    void clear()
    {
        first_.reset();
        second_.reset();
    }

    /// Adds weight * gradient. Throws shape_error when shapes differ, argument_error when factor gradients meet another
    /// form.
    void add(const Gradient<T>& gradient, T weight = T(1))
    {
        std::visit([&](const auto& form) { add_form(form, weight); }, gradient);
    }

    /// The sum, in its form.
    [[nodiscard]] Gradient<T> view() const
    {
        switch (form_) {
            case Form::factored:
                return linalg::Factored<T>{first_.matrix(), second_.matrix(), true};
            case Form::factor_gradients:
                return linalg::FactorGradients<T>{first_.matrix(), second_.matrix()};
            case Form::dense:
                break;
        }
        return Dense<T>{first_.matrix()};
    }

private:
    enum class Form { dense, factored, factor_gradients };

    [[nodiscard]] Tensor<T> scaled_copy(ConstMatrixView<T> m, T weight) const
    {
        Tensor<T> copy(*memory_, tag_, Shape{m.rows, m.cols});
        S::add_scaled(copy.matrix(), T(0), weight, m);
        return copy;
    }

    void require_same(ConstMatrixView<T> mine, ConstMatrixView<T> other) const
    {
        require<shape_error>(mine.shape() == other.shape(), "StoredGradient: gradients ", shape_text(mine.shape()),
                             " and ", shape_text(other.shape()), " of one parameter");
    }

    void add_form(const Dense<T>& g, T weight)
    {
        if (empty()) {
            form_ = Form::dense;
            first_ = scaled_copy(g.values, weight);
            return;
        }
        make_dense();
        require_same(first_.matrix(), g.values);
        S::add_scaled(first_.matrix(), T(1), weight, g.values);
    }

    void add_form(const linalg::FactorGradients<T>& g, T weight)
    {
        if (empty()) {
            form_ = Form::factor_gradients;
            first_ = scaled_copy(g.d_left, weight);
            second_ = scaled_copy(g.d_right, weight);
            return;
        }
        require<argument_error>(form_ == Form::factor_gradients,
                                "StoredGradient: partial gradients of factors cannot be added to another form");
        require_same(first_.matrix(), g.d_left);
        require_same(second_.matrix(), g.d_right);
        S::add_scaled(first_.matrix(), T(1), weight, g.d_left);
        S::add_scaled(second_.matrix(), T(1), weight, g.d_right);
    }

    void add_form(const linalg::Factored<T>& g, T weight)
    {
        if (!empty() && form_ == Form::dense) {
            S::multiply(first_.matrix(), weight, g.p, g.q.transposed(), T(1), *memory_);
            return;
        }
        require<argument_error>(empty() || form_ == Form::factored,
                                "StoredGradient: a factored gradient cannot be added to partial gradients of factors");
        if (empty() && g.q_orthonormal) {
            form_ = Form::factored;
            first_ = scaled_copy(g.p, weight);
            second_ = scaled_copy(g.q, T(1));
            return;
        }
        const Index old = empty() ? 0 : first_.shape()[1];
        const Index joined = old + g.rank();
        Tensor<T> p = workspace<T>(*memory_, g.rows(), joined);
        Tensor<T> q = workspace<T>(*memory_, g.cols(), joined);
        if (old > 0) {
            S::copy(p.matrix().col_block(0, old), std::as_const(first_).matrix());
            S::copy(q.matrix().col_block(0, old), std::as_const(second_).matrix());
        }
        S::add_scaled(p.matrix().col_block(old, g.rank()), T(0), weight, g.p);
        S::copy(q.matrix().col_block(old, g.rank()), g.q);
        form_ = Form::factored;
        if (joined >= std::min(g.rows(), g.cols())) {  // no longer small: the dense sum is
            form_ = Form::dense;
            first_ = Tensor<T>(*memory_, tag_, Shape{g.rows(), g.cols()});
            second_.reset();
            S::multiply(first_.matrix(), T(1), std::as_const(p).matrix(), std::as_const(q).matrix().transposed(), T(0),
                        *memory_);
            return;
        }
        second_ = Tensor<T>(*memory_, tag_, Shape{g.cols(), joined});
        S::copy(second_.matrix(), std::as_const(q).matrix());
        (void)S::orthonormalize(second_.matrix(), *memory_);
        Tensor<T> mixing = workspace<T>(*memory_, joined, joined);  // QᵀQ_new
        S::multiply(mixing.matrix(), T(1), std::as_const(q).matrix().transposed(), std::as_const(second_).matrix(),
                    T(0), *memory_);
        first_ = Tensor<T>(*memory_, tag_, Shape{g.rows(), joined});
        S::multiply(first_.matrix(), T(1), std::as_const(p).matrix(), std::as_const(mixing).matrix(), T(0), *memory_);
    }

    void make_dense()
    {
        if (form_ == Form::dense) {
            return;
        }
        require<argument_error>(form_ == Form::factored,
                                "StoredGradient: a dense gradient cannot be added to partial gradients of factors");
        Tensor<T> dense(*memory_, tag_, Shape{first_.shape()[0], second_.shape()[0]});
        S::multiply(dense.matrix(), T(1), std::as_const(first_).matrix(), std::as_const(second_).matrix().transposed(),
                    T(0), *memory_);
        first_ = std::move(dense);
        second_.reset();
        form_ = Form::dense;
    }

    Memory* memory_;
    Tag tag_;
    Form form_ = Form::dense;
    Tensor<T> first_;
    Tensor<T> second_;
};

}  // namespace wasi::autograd
