#pragma once
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/core/process_memory.hpp"
#include "wasi/plan/memory_plan.hpp"

namespace wasi::plan {

/// A run that is to fit into a budget, with functions that make what its calibration needs, so that files and data are
/// the caller's business.
template <nn::Model M>
struct FitRequest {
    RunDescription<M> run;                ///< its layers are the wishes: wished_layers
    std::vector<WeightSpectrum> spectra;  ///< of the layers of blocks: weight_spectra
    std::size_t budget = 0;               ///< bytes of the whole process
    MemoryPlanOptions options;            ///< base is what the process holds now
    /// Whether inputs may be compressed at all.
    bool may_compress = true;
    /// The model, its weights held as described, in this memory.
    std::function<std::unique_ptr<M>(const RunDescription<M>& run, Memory& memory)> make_model;
    /// One of the run's largest micro-batches, and its labels.
    nn::Source<typename M::Value> batch;
    std::vector<std::int64_t> labels;
};

/// How the inputs of a plan came to be saved as they are.
enum class InputsDecision : std::uint8_t {
    exact_suffices,       ///< nothing was given up with exact ones
    may_not_compress,     ///< the request forbids it
    calibration_too_big,  ///< calibrating compressed ones would not fit
    looked_at,            ///< calibrated; the plan's input_share says what came of it
};

/// What fit() came to.
template <nn::Model M>
struct Fit {
    MemoryPlan<M> plan;
    InputsDecision inputs = InputsDecision::exact_suffices;
    std::size_t calibration = 0;  ///< bytes that calibration would have taken or took, the whole process; 0: not asked
};

namespace detail {

template <nn::Model M>
class Fitter {
public:
    explicit Fitter(FitRequest<M> request) : request_(std::move(request)) {}

    [[nodiscard]] Fit<M> fit()
    {
        std::exception_ptr refusal;
        const auto exact = plan_if_possible(refusal);
        const auto exact_or_refusal = [&] {
            if (refusal) {
                std::rethrow_exception(refusal);
            }
            return *exact;
        };
        if (exact && exact->chosen.error() == 0.0) {
            return {*exact, InputsDecision::exact_suffices};
        }
        if (!request_.may_compress) {
            return {exact_or_refusal(), InputsDecision::may_not_compress};
        }
        nn::KeepOptions by_block;
        by_block.recompute = nn::Recompute::block;
        RunDescription<M> calibrated = request_.run;
        calibrated.keep.assign(count_parts<nn::KeepOptions, M>(calibrated.model), by_block);
        calibrated.layers = exact ? exact->chosen.run.layers : smallest_layers();
        const std::size_t needed =
            request_.options.process(forecast_calibration(calibrated, request_.options.layers), calibrated.threads);
        if (needed > request_.budget) {
            return {exact_or_refusal(), InputsDecision::calibration_too_big, needed};
        }
        calibrate(calibrated);
        return {plan_or_throw(), InputsDecision::looked_at, needed};
    }

private:
    [[nodiscard]] MemoryPlan<M> plan_or_throw()
    {
        request_.options.reached = process_memory().peak;
        return plan_memory(request_.run, request_.spectra, request_.budget, request_.options);
    }

    [[nodiscard]] std::optional<MemoryPlan<M>> plan_if_possible(std::exception_ptr& refusal)
    {
        try {
            return plan_or_throw();
        } catch (const budget_error&) {
            refusal = std::current_exception();
            return std::nullopt;
        }
    }

    /// Those of the least energy.
    [[nodiscard]] std::vector<nn::LayerSetup> smallest_layers() const
    {
        auto options = request_.options;
        options.energies = {options.energies.back()};
        options.keep.resize(1);
        constexpr std::size_t any = std::numeric_limits<std::size_t>::max();
        return plan_memory(request_.run, request_.spectra, any, options).chosen.run.layers;
    }

    void calibrate(const RunDescription<M>& run)
    {
        {
            Ledger ledger;
            const auto model = request_.make_model(run, ledger);
            nn::keep(*model, run.keep.front());
            request_.options.inputs =
                calibrate_inputs(*model, request_.batch, request_.labels, request_.options.layers);
        }
        return_free_memory();
    }

    FitRequest<M> request_;
};

}  // namespace detail

/// plan_memory, with exact inputs first. Only if that gives something up, or cannot be, and the budget has room for it,
/// a calibration step shows what compressed inputs would do. Throws what plan_memory and calibrate_inputs do.
template <nn::Model M>
[[nodiscard]] Fit<M> fit(FitRequest<M> request)
{
    return detail::Fitter<M>(std::move(request)).fit();
}

}  // namespace wasi::plan
