#pragma once
#include <string>
#include <string_view>

#include "wasi/storage/packed_tensor.hpp"

namespace wasi {

/// Something that goes through the state of others: reads it, writes it, counts or compares it. What has state names it
/// to a visitor in a function `state(State&)`, the same for reading and writing:
///
///     void state(State& visitor)
///     {
///         visitor.tensor("basis", basis_, *memory_, tag_);
///         visitor.number("steps", steps_);
///     }
///
/// Law: written, and read into a fresh object of the same set-up, the object goes on with the same bits. Random numbers
/// have no state here: they follow from keys and positions.
class State {
public:
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    virtual ~State() = default;

    /// Whether values come in; else they go out and stay as they are.
    [[nodiscard]] virtual bool reading() const noexcept = 0;
    /// Whether only what the object is, is asked for (a model's file), or also what its next steps depend on.
    [[nodiscard]] virtual bool values_only() const noexcept = 0;

    /// A tensor; one that is empty is noted as such. Read into an empty tensor, it is made in `memory` under `tag` with
    /// the shape that was written; into one that is not, the shapes must be equal.
    virtual void tensor(std::string_view name, Tensor<float>& values, Memory& memory, Tag tag) = 0;
    virtual void tensor(std::string_view name, Tensor<double>& values, Memory& memory, Tag tag) = 0;
    /// A matrix in fewer bits: in 16, or in 8 with a scale a row. One that is empty is not written; none written, it is
    /// empty after reading, so that who may hold either asks for this first and then for a tensor of the same name.
    virtual void packed(std::string_view name, PackedTensor& values, Memory& memory, Tag tag) = 0;
    virtual void number(std::string_view name, Index& value) = 0;
    virtual void number(std::string_view name, double& value) = 0;
    /// A word.
    virtual void text(std::string_view name, std::string& value) = 0;

    /// A name for all that is visited while it lives: "optimiser" makes "velocity" optimiser.velocity.
    class Scope {
    public:
        Scope(State& state, std::string_view name) : state_(&state), length_(state.prefix_.size())
        {
            state.prefix_ += name;
        }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;
        ~Scope() { state_->prefix_.resize(length_); }

    private:
        State* state_;
        std::size_t length_;
    };

protected:
    /// The full name of what is visited.
    [[nodiscard]] std::string full(std::string_view name) const { return prefix_ + std::string(name); }

private:
    std::string prefix_;
};

}  // namespace wasi
