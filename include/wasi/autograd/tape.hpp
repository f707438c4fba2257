#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wasi/autograd/gradient.hpp"
#include "wasi/autograd/stored_gradient.hpp"
#include "wasi/autograd/variable.hpp"
#include "wasi/core/precision.hpp"
#include "wasi/core/random.hpp"
#include "wasi/storage/concept.hpp"

namespace wasi::autograd {

/// Records what a forward pass did and plays it backwards. A value may be used any number of times; so may a parameter.
/// Each node, with what it saved, is freed as soon as its turn is over.
/// Thread safety: one tape, one thread.
template <Scalar T, class S>
requires StorageFor<S, T>
class Tape {
public:
    /// `key`: of what nodes draw at random.
    explicit Tape(Memory& memory, RandomKey key = RandomKey(0)) : memory_(&memory), key_(key) {}
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;

    /// What a node's backward function may do.
    class Pass {
    public:
        Pass(Tape& tape, Sink<T>& sink) : tape_(&tape), sink_(&sink) {}
        [[nodiscard]] Memory& memory() const { return *tape_->memory_; }

        /// Adds to the gradient of a value (a null slot wants none).
        void add(const std::shared_ptr<GradientSlot<T>>& slot, SharedTensor<T> gradient)
        {
            if (!slot) {
                return;
            }
            auto& sum = slot->gradient;
            if (!sum) {
                sum = std::move(gradient);
                return;
            }
            if (sum.use_count() > 1) {  // shared with another slot: add into the newcomer, or into a copy
                if (gradient.use_count() > 1) {
                    gradient = std::make_shared<Tensor<T>>(clone<S>(*gradient, Tag{Use::gradient, 0}));
                }
                std::swap(sum, gradient);
            }
            S::add_scaled(sum->matrix(), T(1), T(1), std::as_const(*gradient).matrix());
        }
        void add(const std::shared_ptr<GradientSlot<T>>& slot, Tensor<T> gradient)
        {
            add(slot, std::make_shared<Tensor<T>>(std::move(gradient)));
        }

        /// Hands a parameter's gradient on: at once if this was its only use, else when all uses have been added.
        void deliver(Parameter& parameter, const Gradient<T>& gradient)
        {
            tape_->deliver(parameter, &gradient, *sink_);
        }
        /// In place of deliver, by a node whose use of the parameter turned out to have no gradient.
        void skip(Parameter& parameter) { tape_->deliver(parameter, nullptr, *sink_); }

        /// The same tensor if nobody else holds it, else a copy, for backward functions that work in place.
        [[nodiscard]] SharedTensor<T> writable(SharedTensor<T> gradient) const
        {
            if (gradient.use_count() > 1) {
                return std::make_shared<Tensor<T>>(clone<S>(*gradient, Tag{Use::gradient, 0}));
            }
            return gradient;
        }

    private:
        Tape* tape_;
        Sink<T>* sink_;
    };

    /// Adds a node. `output` is a value just computed; `parameters` are those whose gradients `backward` will deliver,
    /// exactly once each; backward(SharedTensor<T> dy, Pass&) may move what it captured. Returns the value with a
    /// gradient slot.
    template <class Backward>
    [[nodiscard]] Variable<T> record(Tensor<T> output, std::vector<Parameter*> parameters, Backward backward)
    {
        return record(std::make_shared<Tensor<T>>(std::move(output)), std::move(parameters), std::move(backward));
    }
    /// The same for a value that is shared already, or for none (nullptr): a value that nobody will read.
    template <class Backward>
    [[nodiscard]] Variable<T> record(SharedTensor<T> output, std::vector<Parameter*> parameters, Backward backward)
    {
        for (Parameter* parameter : parameters) {
            ++uses_[parameter].remaining;
        }
        auto slot = std::make_shared<GradientSlot<T>>();
        nodes_.push_back(std::make_unique<NodeOf<Backward>>(slot, std::move(parameters), std::move(backward)));
        return {std::move(output), std::move(slot)};
    }

    [[nodiscard]] std::size_t size() const { return nodes_.size(); }

    /// Another key each time, the same ones in the same order of calls.
    [[nodiscard]] RandomKey next_key() { return key_.derive(keys_given_++); }

    /// Plays the tape backwards from `root` with d(objective)/d(root) = seed in every element (1 for a loss, the share
    /// of a micro-batch under accumulation). The tape is empty afterwards, also when a node throws. Throws
    /// argument_error when `root` was not recorded here.
    void backward(const Variable<T>& root, Sink<T>& sink, T seed = T(1))
    {
        require<argument_error>(root.wants_gradient() && !nodes_.empty(),
                                "Tape::backward: nothing was recorded for this value");
        Tensor<T> start(*memory_, Tag{Use::gradient, 0}, root.shape());
        S::fill(start.matrix(), seed);
        play(*root.slot(), std::make_shared<Tensor<T>>(std::move(start)), sink);
    }

    /// The same with d(objective)/d(root) = `start`, which has the shape of the root's value.
    void backward(const Variable<T>& root, Sink<T>& sink, SharedTensor<T> start)
    {
        require<argument_error>(root.wants_gradient() && !nodes_.empty() && start,
                                "Tape::backward: nothing was recorded for this value");
        play(*root.slot(), std::move(start), sink);
    }

private:
    void play(GradientSlot<T>& root, SharedTensor<T> start, Sink<T>& sink)
    {
        root.gradient = std::move(start);
        auto nodes = std::move(nodes_);
        nodes_.clear();
        const ClearUses clear{this};
        Pass pass(*this, sink);
        while (!nodes.empty()) {
            const auto node = std::move(nodes.back());
            nodes.pop_back();
            SharedTensor<T> gradient = std::move(node->slot->gradient);
            if (gradient) {
                node->backward(std::move(gradient), pass);
            } else {  // nothing downstream used this value
                for (Parameter* parameter : node->parameters) {
                    deliver(*parameter, nullptr, sink);
                }
            }
        }
    }

    struct Node {
        Node(std::shared_ptr<GradientSlot<T>> s, std::vector<Parameter*> p)
            : slot(std::move(s)), parameters(std::move(p))
        {
        }
        Node(const Node&) = delete;
        Node& operator=(const Node&) = delete;
        virtual ~Node() = default;
        virtual void backward(SharedTensor<T> dy, Pass& pass) = 0;
        std::shared_ptr<GradientSlot<T>> slot;
        std::vector<Parameter*> parameters;
    };

    template <class Backward>
    struct NodeOf final : Node {
        NodeOf(std::shared_ptr<GradientSlot<T>> s, std::vector<Parameter*> p, Backward f)
            : Node(std::move(s), std::move(p)), function(std::move(f))
        {
        }
        void backward(SharedTensor<T> dy, Pass& pass) override { function(std::move(dy), pass); }
        Backward function;
    };

    struct Uses {
        int remaining = 0;
        std::unique_ptr<StoredGradient<T, S>> sum;
    };

    struct ClearUses {
        Tape* tape;
        ~ClearUses() { tape->uses_.clear(); }
    };

    /// `gradient` null: a use that turned out to have none.
    void deliver(Parameter& parameter, const Gradient<T>* gradient, Sink<T>& sink)
    {
        Uses& uses = uses_.at(&parameter);
        --uses.remaining;
        if (uses.remaining == 0 && !uses.sum) {
            if (gradient != nullptr) {
                sink.take(parameter, *gradient);
            }
            return;
        }
        if (gradient != nullptr) {
            if (!uses.sum) {
                uses.sum = std::make_unique<StoredGradient<T, S>>(*memory_);
            }
            uses.sum->add(*gradient);
        }
        if (uses.remaining == 0 && uses.sum) {
            sink.take(parameter, uses.sum->view());
            uses.sum.reset();
        }
    }

    Memory* memory_;
    RandomKey key_;
    std::uint64_t keys_given_ = 0;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::unordered_map<Parameter*, Uses> uses_;
};

/// What every operation is given: the memory of the run, and the tape if gradients are wanted (nullptr for inference:
/// then nothing is saved, nothing is compressed, no basis moves), and in which format nodes keep what they save.
template <Scalar T, class S>
requires StorageFor<S, T>
struct Context {
    Memory& memory;
    Tape<T, S>* tape = nullptr;
    /// Exact, or fewer bits for what nodes save; arithmetic stays in T.
    Precision saved_as = Precision::full;
    /// To 8 and 4 bits.
    Rounding rounding = Rounding::nearest;

    /// For one value that is saved; none where rounding is to nearest.
    [[nodiscard]] std::optional<RandomKey> rounding_key() const
    {
        return rounding == Rounding::stochastic && tape != nullptr ? std::optional(tape->next_key()) : std::nullopt;
    }

    [[nodiscard]] Tensor<T> make(Shape shape) const { return Tensor<T>(memory, Tag{Use::workspace, 0}, shape); }
};

}  // namespace wasi::autograd
