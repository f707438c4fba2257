#pragma once
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "wasi/plan/forecast_memory.hpp"
#include "wasi/plan/output_calibration.hpp"
#include "wasi/storage/dry.hpp"

namespace wasi::plan {

namespace detail {

/// Examples that nobody looks into.
template <class Config>
struct BlankData {
    Config config;
    Index count = 0;

    [[nodiscard]] Index size() const { return count; }
    [[nodiscard]] Tensor<float> gather(std::span<const Index> which, RandomKey, Memory& memory) const
    {
        return Tensor<float>(memory, Tag{Use::input, 0}, config.example(std::ssize(which)));
    }
    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const Index> which) const
    {
        return std::vector<std::int64_t>(which.size(), 0);
    }
    void check(Index) const {}
};

}  // namespace detail

/// Bytes at the peak of calibrate_outputs on a dense model of this shape, the model's own included, from the
/// calibration itself on a storage that computes nothing: what a real one books on one thread, where every layer has as
/// many directions as a rank may have that pays. Throws what calibrate_outputs does.
template <nn::Model M>
[[nodiscard]] std::size_t forecast_output_calibration(const typename M::Config& config, Index fit, Index held_out,
                                                      const OutputCalibration& options = {}, Index threads = 1)
{
    const SerialScope serial;
    detail::ForecastMemory memory(threads);
    typename M::template On<DryStorage> model(config, memory);
    nn::for_each_parameter(model, [](auto& parameter) {
        if constexpr (requires { parameter.dense(); }) {
            static_cast<void>(parameter.dense());  // made now, as a model that was loaded has it
        }
    });
    std::vector<Index> all(static_cast<std::size_t>(fit + held_out));
    std::iota(all.begin(), all.end(), Index{0});
    const std::span<const Index> examples(all);
    const auto split = static_cast<std::size_t>(fit);
    static_cast<void>(calibrate_outputs(model, detail::BlankData<typename M::Config>{config, fit + held_out},
                                        examples.first(split), examples.subspan(split), options));
    return memory.ledger().total().peak;
}

}  // namespace wasi::plan
