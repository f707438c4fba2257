#pragma once
#include <memory>
#include <string_view>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/nn/inputs/saver.hpp"

namespace wasi::nn {

/// The input's own numbers, in the format of the context.
template <Scalar T, class S>
class ExactInput final : public InputSaver<T, S> {
public:
    ExactInput() = default;
    /// Shows them to an observer in the backward pass: for calibration.
    explicit ExactInput(InputObserver<T> observer)
        : observer_(std::make_shared<const InputObserver<T>>(std::move(observer)))
    {
    }

    template <class Options>
    [[nodiscard]] static std::unique_ptr<InputSaver<T, S>> start(const Options&, RandomKey, Memory&, std::uint16_t)
    {
        return std::make_unique<ExactInput>();
    }

    [[nodiscard]] SavedInput<T, S> save(const autograd::Context<T, S>& context, const autograd::Variable<T>& x,
                                        Tag tag) override
    {
        return {autograd::Saved<T, S>(context, x, tag), nullptr, observer_};
    }

private:
    std::shared_ptr<const InputObserver<T>> observer_;
};

/// The wish to save inputs as they are.
struct ExactOptions {
    static constexpr std::string_view kind = "exact";
    template <Scalar T, class S>
    using Saver = ExactInput<T, S>;
};

}  // namespace wasi::nn
