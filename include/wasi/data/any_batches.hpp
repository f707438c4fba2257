#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/data/batches.hpp"

namespace wasi::data {

/// Any data::Batches of elements T behind one type, so that what takes a data set is compiled once for all kinds.
/// Copies share the data set, which is never changed. Thread safety: that of the data set.
template <Scalar T>
class AnyBatches {
public:
    AnyBatches() = default;
    template <Batches<T> D>
    requires(!std::same_as<D, AnyBatches>) explicit AnyBatches(D data)
        : held_(std::make_shared<const Held<D>>(std::move(data)))
    {
    }

    [[nodiscard]] Index size() const { return held().size(); }
    [[nodiscard]] Tensor<T> gather(std::span<const Index> which, RandomKey key, Memory& memory) const
    {
        return held().gather(which, key, memory);
    }
    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const Index> which) const
    {
        return held().gather_labels(which);
    }
    void check(Index classes) const { held().check(classes); }
    [[nodiscard]] std::string name(Index i) const { return held().name(i); }
    void expect(std::span<const Index> which, RandomKey key) const { held().expect(which, key); }

private:
    struct Base {
        Base() = default;
        Base(const Base&) = delete;
        Base& operator=(const Base&) = delete;
        virtual ~Base() = default;
        [[nodiscard]] virtual Index size() const = 0;
        [[nodiscard]] virtual Tensor<T> gather(std::span<const Index> which, RandomKey key, Memory& memory) const = 0;
        [[nodiscard]] virtual std::vector<std::int64_t> gather_labels(std::span<const Index> which) const = 0;
        virtual void check(Index classes) const = 0;
        [[nodiscard]] virtual std::string name(Index i) const = 0;
        virtual void expect(std::span<const Index> which, RandomKey key) const = 0;
    };
    template <class D>
    struct Held final : Base {
        explicit Held(D given) : data(std::move(given)) {}
        [[nodiscard]] Index size() const override { return data.size(); }
        [[nodiscard]] Tensor<T> gather(std::span<const Index> which, RandomKey key, Memory& memory) const override
        {
            return data.gather(which, key, memory);
        }
        [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const Index> which) const override
        {
            return data.gather_labels(which);
        }
        void check(Index classes) const override { data.check(classes); }
        [[nodiscard]] std::string name(Index i) const override { return data::name_of(data, i); }
        void expect(std::span<const Index> which, RandomKey key) const override { data::expect(data, which, key); }

        D data;
    };

    [[nodiscard]] const Base& held() const
    {
        require<argument_error>(held_ != nullptr, "AnyBatches: holds no data set");
        return *held_;
    }

    std::shared_ptr<const Base> held_;
};

}  // namespace wasi::data
