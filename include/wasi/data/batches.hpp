#pragma once
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::data {

// clang-format off

/// Labelled examples, given in batches: what train() and predict() ask of a data set of elements T. A user's own data
/// join with these four functions and no copy.
///
///   size()                        examples
///   gather(which, key, memory)    those examples as one batch, of the extents that the model's Config::example has. A
///                                 pure function of its arguments: it may be asked twice for one batch, and a resumed
///                                 run asks again. Augmentation draws from the key, which is that of the epoch, and
///                                 from the examples' numbers.
///   gather_labels(which)          their classes, from 0
///   check(classes)                throws where a label is no class or a value is not finite
///   name(i)                       optional: what example i is called, a file say
///   expect(which, key)            optional: a hint that these are gathered after the last ones, for data that take
///                                 time to make
template <class D, class T>
concept Batches = requires(const D& data, std::span<const Index> which, RandomKey key, Memory& memory, Index classes) {
    { data.size() } -> std::convertible_to<Index>;
    { data.gather(which, key, memory) } -> std::same_as<Tensor<T>>;
    { data.gather_labels(which) } -> std::convertible_to<std::vector<std::int64_t>>;
    data.check(classes);
};

/// The hint, to a data set that takes it.
template <class D>
void expect(const D& data, std::span<const Index> which, RandomKey key)
{
    if constexpr (requires { data.expect(which, key); }) {
        if (!which.empty()) {
            data.expect(which, key);
        }
    }
}

/// What example i is called; "number i" where the data set has no names.
template <class D>
[[nodiscard]] std::string name_of(const D& data, Index i)
{
    if constexpr (requires { data.name(i); }) {
        return data.name(i);
    } else {
        return "number " + std::to_string(i);
    }
}

// clang-format on

}  // namespace wasi::data
