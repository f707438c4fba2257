#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>

#include "wasi/core/precision.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/storage/view.hpp"

namespace wasi::nn {

template <Scalar T, class S>
class AdapterWeight;

/// What the factors of a new adapter are, for a weight W = U diag(sigma) Vᵀ (O,I) and the scale s. All leave the
/// layer's function as it was: B A is zero, or W gives up what B A brings, W <- W - s B A.
enum class AdapterStart {
    kaiming,     ///< A uniform in ±1/sqrt(I), B = 0 (LoRA, arXiv 2106.09685)
    pissa,       ///< A = sqrt(sigma_r / s) V_rᵀ, B = U_r sqrt(sigma_r / s): the leading part of W (arXiv 2404.02948)
    pissa_fast,  ///< the same by a randomized SVD of `power_iterations` steps
    olora,       ///< W = Q R: B = Q[:, :r], A = R[:r, :] (arXiv 2406.01775)
    mica,        ///< B the r minor left singular vectors, which stay frozen; A = 0 (arXiv 2604.01694)
    eva,         ///< A the r leading principal directions of the layer's inputs, B = 0 (arXiv 2410.07170)
};

/// The words for them, of files and options.
inline constexpr std::array<std::pair<std::string_view, AdapterStart>, 6> adapter_starts{{
    {"kaiming", AdapterStart::kaiming},
    {"pissa", AdapterStart::pissa},
    {"pissa-fast", AdapterStart::pissa_fast},
    {"olora", AdapterStart::olora},
    {"mica", AdapterStart::mica},
    {"eva", AdapterStart::eva},
}};

[[nodiscard]] constexpr std::string_view to_string(AdapterStart start)
{
    for (const auto& [word, value] : adapter_starts) {
        if (value == start) {
            return word;
        }
    }
    return {};
}

/// Whether W changes at the start, so that an adapter alone is no description of what was trained.
[[nodiscard]] constexpr bool moves_weight(AdapterStart start)
{
    return start == AdapterStart::pissa || start == AdapterStart::pissa_fast || start == AdapterStart::olora;
}

/// The wish for a low-rank adapter.
struct AdapterOptions {
    static constexpr std::string_view kind = "adapter";
    template <Scalar T, class S>
    using Form = AdapterWeight<T, S>;

    Index rank = 8;
    double alpha = 8.0;
    bool rank_stabilized = false;  ///< s = alpha / sqrt(r) instead of alpha / r (rsLoRA, arXiv 2312.03732)
    AdapterStart start = AdapterStart::kaiming;
    Index power_iterations = 4;  ///< of pissa_fast
    bool train_a = true;         ///< false: LoRA-FA (arXiv 2308.03303), which saves X Aᵀ instead of X
    /// With a frozen A: dB is multiplied by s⁻² (A Aᵀ + 1e-8)⁻¹, so that the step of W is the nearest to one along dW
    /// (the projection of PEFT's optimiser for LoRA-FA).
    bool correct_b = false;
    /// delta of the preconditioner for two trained factors, dA <- (BᵀB + delta)⁻¹ dA and dB <- dB (A Aᵀ + delta)⁻¹
    /// (Zhang, Pilanci 2024, arXiv 2402.02347, with delta 1e-2 in PEFT); 0: none.
    double precondition = 0.0;
    std::uint64_t seed = 0;            ///< of A, and of pissa_fast
    Precision base = Precision::full;  ///< of W0: full, or bfloat16, half or int8 (FrozenMatrix)

    /// s of W0 + s B A.
    [[nodiscard]] double scale() const
    {
        const auto r = static_cast<double>(rank);
        return alpha / (rank_stabilized ? std::sqrt(r) : r);
    }
    [[nodiscard]] bool train_b() const { return start != AdapterStart::mica; }
    /// Whether both train the same factors, which is what tells methods apart.
    [[nodiscard]] bool trains_like(const AdapterOptions& other) const { return train_a == other.train_a; }
};

}  // namespace wasi::nn
