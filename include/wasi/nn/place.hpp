#pragma once
#include <cstdint>
#include <string_view>

#include "wasi/core/scalar.hpp"

namespace wasi::nn {

/// What a part is for in its model.
enum class Role : std::uint8_t { embedding, attention, mlp, norm, head };

[[nodiscard]] constexpr std::string_view to_string(Role role) noexcept
{
    switch (role) {
        case Role::embedding:
            return "embedding";
        case Role::attention:
            return "attention";
        case Role::mlp:
            return "mlp";
        case Role::norm:
            return "norm";
        case Role::head:
            return "head";
    }
    return "unknown";
}

/// Where a part stands.
struct Place {
    Role role = Role::embedding;
    Index block = -1;  ///< from 0; -1 outside of blocks
};

/// The linear layers that a method is for: those of MLPs, or all of the blocks (attention and MLPs). Never an embedding
/// or a head.
enum class Layers : std::uint8_t { mlp, all };

[[nodiscard]] constexpr bool is_selected(Role role, Layers layers) noexcept
{
    return role == Role::mlp || (role == Role::attention && layers == Layers::all);
}

}  // namespace wasi::nn
