#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "wasi/data/batches.hpp"

namespace wasi::data {

/// A batch of examples that are looked at and not trained on: a function of Memory& that makes it (an nn::Source), with
/// no augmentation, and tells the data set which batch comes next.
template <class D>
class BatchInOrder {
public:
    BatchInOrder(const D& data, std::span<const Index> which, Index batch_size, std::uint64_t number)
        : data_(&data), number_(number)
    {
        const auto size = static_cast<std::size_t>(batch_size);
        examples_ = which.first(std::min(size, which.size()));
        next_ = which.subspan(examples_.size());
        next_ = next_.first(std::min(size, next_.size()));
    }

    [[nodiscard]] std::span<const Index> examples() const { return examples_; }
    [[nodiscard]] std::uint64_t number() const { return number_; }  ///< from 0
    [[nodiscard]] auto operator()(Memory& memory) const
    {
        auto batch = data_->gather(examples_, RandomKey(0), memory);
        expect(*data_, next_, RandomKey(0));
        return batch;
    }

private:
    const D* data_;
    std::uint64_t number_;
    std::span<const Index> examples_;
    std::span<const Index> next_;
};

/// f(batch) for these examples in their order, `batch_size` at a time. Throws what f does.
template <class D, class F>
void for_each_batch(const D& data, std::span<const Index> which, Index batch_size, const F& f)
{
    std::uint64_t number = 0;
    while (!which.empty()) {
        const BatchInOrder<D> batch(data, which, batch_size, number++);
        f(batch);
        which = which.subspan(batch.examples().size());
    }
}

}  // namespace wasi::data
