#pragma once
#include <memory>
#include <string_view>
#include <type_traits>
#include <variant>

#include "wasi/optim/adamw.hpp"
#include "wasi/optim/galore.hpp"
#include "wasi/optim/mofasgd.hpp"
#include "wasi/optim/sgd.hpp"

namespace wasi::optim {

/// The options of one optimiser: which one, and its numbers. The list of optimisers.
using OptimizerOptions = std::variant<SgdOptions,     //
                                      AdamWOptions,   //
                                      GaloreOptions,  //
                                      MofasgdOptions>;

/// "sgd", "adamw", "galore", "mofasgd".
[[nodiscard]] inline std::string_view name_of(const OptimizerOptions& options)
{
    return std::visit([](const auto& one) { return std::remove_cvref_t<decltype(one)>::name; }, options);
}

/// The same with what happens every so many steps happening at each: what any step may take is then what each takes.
[[nodiscard]] inline OptimizerOptions refreshing(OptimizerOptions options)
{
    std::visit(
        [](auto& one) {
            if constexpr (requires { one.refresh_every; }) {
                one.refresh_every = 1;
            }
        },
        options);
    return options;
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
