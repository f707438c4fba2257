#pragma once
#include <map>
#include <string>
#include <vector>

#include <wasi/nn/model.hpp>

namespace wasi_tests {

/// The elements of every parameter of any model by its name, factors as L then R.
template <class M>
[[nodiscard]] std::map<std::string, std::vector<typename M::Value>> weights_of(M& model)
{
    std::map<std::string, std::vector<typename M::Value>> result;
    wasi::nn::for_each_parameter(model, [&](auto& parameter) {
        auto& values = result[parameter.name()];
        const auto append = [&](const auto* data, wasi::Index count) {
            values.insert(values.end(), data, data + count);
        };
        if constexpr (requires { parameter.values; }) {
            append(parameter.values.data(), parameter.values.size());
        } else if (const auto factors = parameter.form().factors()) {
            append(factors->left().data, factors->left().size());
            append(factors->right().data, factors->right().size());
        } else {
            append(parameter.matrix().data, parameter.matrix().size());
        }
    });
    return result;
}

}  // namespace wasi_tests
