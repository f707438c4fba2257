#pragma once
#include <map>
#include <string>
#include <vector>

#include <wasi/nn/model.hpp>

namespace wasi_tests {

/// The elements of every parameter of any model by its name, whatever holds it, its parts one after the other.
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
        } else {
            for (const auto& part : parameter.form().parameters()) {
                if (const auto* subspace = part.subspace()) {
                    append(subspace->factors.left().data, subspace->factors.left().size());
                    append(subspace->factors.right().data, subspace->factors.right().size());
                } else {
                    append(part.dense()->values.data(), part.dense()->values.size());
                }
            }
        }
    });
    return result;
}

}  // namespace wasi_tests
