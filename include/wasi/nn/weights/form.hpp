#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/autograd/tape.hpp"
#include "wasi/nn/parameters.hpp"
#include "wasi/storage/state.hpp"

namespace wasi::nn {

/// The factors of a weight W = L R, whoever holds them: what files and reports need. A view: it lives while the weight
/// is held so.
template <Scalar T>
class LowRankView {
public:
    LowRankView(ConstMatrixView<T> left, ConstMatrixView<T> right, double energy_at_start = 1.0)
        : left_(left), right_(right), energy_at_start_(energy_at_start)
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

/// What is known of a layer beside its weight, for starts that look at data. Null where nobody has looked.
struct LayerStatistics {
    ConstMatrixView<double> input_directions;  ///< (k,I), the leading principal directions of its inputs, orthonormal
};

/// What a layer has to save of its input X for the gradient of its weight: nothing; the inner product X Rᵀ (m,K) that
/// apply() returned; or X, in whatever way the layer saves inputs.
enum class Needs { nothing, inner, input };

/// A way to hold the weight W (O,I) of a linear layer, and all that depends on it. One file each in this folder, listed
/// in forms.hpp; a form is a class
///
///     template <Scalar T, class S> class Form final : public WeightForm<T, S>
///         static std::unique_ptr<Form> start(LinearWeight<T, S>&, const Options&, const LayerStatistics*)
///             from what the weight is now; nullptr: leave it as it is
///         static std::unique_ptr<Form> empty(LinearWeight<T, S>&)          for state() to fill
///         Options options() const             which start() would make this from; where Options says anything
///
/// with `struct Options { static constexpr std::string_view kind; template <..> using Form = ...; ... }`.
template <Scalar T, class S>
class WeightForm {
public:
    using Pass = typename autograd::Tape<T, S>::Pass;

    WeightForm() = default;
    WeightForm(const WeightForm&) = delete;
    WeightForm& operator=(const WeightForm&) = delete;
    virtual ~WeightForm() = default;

    /// K of a weight held as a product of two matrices; 0 of any other.
    [[nodiscard]] virtual Index rank() const { return 0; }
    /// Of all that is held.
    [[nodiscard]] virtual std::size_t bytes() const = 0;
    /// The factors, where W is a product of two matrices and nothing else.
    [[nodiscard]] virtual std::optional<LowRankView<T>> factors() const { return std::nullopt; }

    /// Its parameters, frozen ones too, in the order of files.
    [[nodiscard]] virtual std::vector<ParameterRef<T, S>> parameters() = 0;
    /// Freezes or trains what this form trains.
    virtual void set_trainable(bool trainable) = 0;
    [[nodiscard]] virtual Needs needs() const = 0;

    /// Y = X Wᵀ for X (m,I), Y (m,O). Returns the inner product X Rᵀ (m,K) where the form has one, else nothing.
    [[nodiscard]] virtual Tensor<T> apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const = 0;
    /// Whether Y follows from the inner product alone, by finish().
    [[nodiscard]] virtual bool finishes() const { return false; }
    /// Y from the inner product that apply() returned, the same bits.
    virtual void finish(MatrixView<T>, ConstMatrixView<T>, Memory&) const {}
    /// dX = dY W. Returns what of it deliver() can use again (dY L), or nothing.
    [[nodiscard]] virtual Tensor<T> adjoint(MatrixView<T> dx, ConstMatrixView<T> dy, Memory& memory) const = 0;

    /// Hands on the gradients of its trained parameters, once each, from X (m,I) itself. `adjoint`: what adjoint()
    /// returned, or nothing. All are made before the first is handed on, which may change the weight.
    virtual void deliver(ConstMatrixView<T> dy, ConstMatrixView<T> x, Tensor<T> adjoint, Pass& pass) = 0;
    /// The same from dW = P Qᵀ.
    virtual void deliver(const linalg::Factored<T>& gradient, Pass& pass) = 0;
    /// The same from the inner product, for a form that needs() no more.
    virtual void deliver_from_inner(ConstMatrixView<T>, ConstMatrixView<T>, Pass&) {}

    /// Names its tensors and numbers (".left", or "" for the only one) after the weight's own name, which is the
    /// visitor's scope. A form that holds nothing yet takes what is read.
    virtual void state(State& state) = 0;
};

/// The factors of a weight NAME are called NAME.left and NAME.right, by files and by optimisers.
inline constexpr std::string_view left_suffix = ".left";
inline constexpr std::string_view right_suffix = ".right";

}  // namespace wasi::nn
