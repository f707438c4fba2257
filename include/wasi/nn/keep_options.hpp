#pragma once
#include <cstdint>
#include <string_view>

#include "wasi/autograd/ops/attention.hpp"
#include "wasi/autograd/saved.hpp"

namespace wasi::nn {

/// What of a block runs again in the backward pass instead of being saved: nothing; the branch of attention (ln_1,
/// in_proj, attention, out_proj), that of the MLP (ln_2, fc1, gelu, fc2), each of the two from its own input, or the
/// whole block from the block's input.
enum class Recompute : std::uint8_t { nothing, attention, mlp, halves, block };

[[nodiscard]] constexpr std::string_view to_string(Recompute recompute) noexcept
{
    switch (recompute) {
        case Recompute::nothing:
            return "nothing";
        case Recompute::attention:
            return "attention";
        case Recompute::mlp:
            return "mlp";
        case Recompute::halves:
            return "halves";
        case Recompute::block:
            return "block";
    }
    return "unknown";
}

/// What a block keeps between the forward and the backward pass. The switches are independent, and each is exact (the
/// same gradients, bit for bit where nothing else is said) but the last two. docs/memory.md has what each saves and
/// costs.
struct KeepOptions {
    Recompute recompute = Recompute::nothing;
    /// Attention's probabilities: B H N² numbers.
    autograd::Probabilities probabilities = autograd::Probabilities::keep;
    /// The output of a layer norm where the linear layer behind it saves its input exactly: B N D numbers. Rebuilt from
    /// the norm's input, which is the residual stream.
    autograd::Output norm_output = autograd::Output::keep;
    /// The input of GELU: B N M numbers. Rebuilt from X Rᵀ (B N K) of a low-rank fc1; a dense fc1 keeps it.
    autograd::Output gelu_input = autograd::Output::keep;
    /// The output of GELU where fc2 saves its input exactly: B N M numbers. Rebuilt from its input.
    autograd::Output gelu_output = autograd::Output::keep;
    /// The format of what is saved. Not exact below full precision.
    Precision saved_as = Precision::full;
    /// Of 8 and 4 bits. At random the gradient of a weight is right in the mean: the dW of rounded inputs is unbiased.
    Rounding rounding = Rounding::nearest;

    friend constexpr bool operator==(const KeepOptions&, const KeepOptions&) = default;
};

}  // namespace wasi::nn
