#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/data/any_batches.hpp"

namespace wasi::data {

/// Some examples of a data set, as a data set: number i of it is number which[i] of the whole. Nothing is copied.
template <Scalar T>
class Subset {
public:
    /// Throws argument_error for a number outside.
    Subset(AnyBatches<T> whole, std::vector<Index> which) : whole_(std::move(whole)), which_(std::move(which))
    {
        for (const Index number : which_) {
            require<argument_error>(number >= 0 && number < whole_.size(), "Subset: example ", number, " of ",
                                    whole_.size());
        }
    }

    [[nodiscard]] Index size() const { return std::ssize(which_); }
    [[nodiscard]] Tensor<T> gather(std::span<const Index> which, RandomKey key, Memory& memory) const
    {
        return whole_.gather(in_whole(which), key, memory);
    }
    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const Index> which) const
    {
        return whole_.gather_labels(in_whole(which));
    }
    void check(Index classes) const { whole_.check(classes); }
    [[nodiscard]] std::string name(Index i) const { return whole_.name(which_[static_cast<std::size_t>(i)]); }
    void expect(std::span<const Index> which, RandomKey key) const { whole_.expect(in_whole(which), key); }

private:
    [[nodiscard]] std::vector<Index> in_whole(std::span<const Index> which) const
    {
        std::vector<Index> result;
        for (const Index number : which) {
            result.push_back(which_[static_cast<std::size_t>(number)]);
        }
        return result;
    }

    AnyBatches<T> whole_;
    std::vector<Index> which_;
};

}  // namespace wasi::data
