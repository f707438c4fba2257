#pragma once
#include <memory>
#include <string_view>
#include <type_traits>
#include <variant>

#include "wasi/optim/adamw.hpp"
#include "wasi/optim/sgd.hpp"

namespace wasi::optim {

/// The options of one optimiser: which one, and its numbers. The list of optimisers.
using OptimizerOptions = std::variant<SgdOptions,  //
                                      AdamWOptions>;

/// "sgd", "adamw".
[[nodiscard]] inline std::string_view name_of(const OptimizerOptions& options)
{
    return std::visit([](const auto& one) { return std::remove_cvref_t<decltype(one)>::name; }, options);
}

/// Throws what the optimiser's constructor does.
template <Scalar T, class S>
[[nodiscard]] std::unique_ptr<Optimizer<T, S>> make_optimizer(const OptimizerOptions& options, Memory& memory)
{
    return std::visit(
        [&](const auto& one) -> std::unique_ptr<Optimizer<T, S>> {
            using Made = typename std::remove_cvref_t<decltype(one)>::template Made<T, S>;
            return std::make_unique<Made>(one, memory);
        },
        options);
}

}  // namespace wasi::optim
