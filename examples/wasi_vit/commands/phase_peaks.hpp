#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <wasi/core/process_memory.hpp>

namespace wasi_examples {

/// The process's peak in one phase after the other. What a phase has freed has left the process before the next begins.
class PhasePeaks {
public:
    /// Ends the phase under its name and begins the next.
    void end(const char* name)
    {
        peaks_.emplace_back(name, static_cast<double>(peak_.bytes()));
        wasi::return_free_memory();
        peak_.restart();
    }
    [[nodiscard]] const std::vector<std::pair<std::string, double>>& all() const { return peaks_; }
    [[nodiscard]] double largest() const
    {
        double most = 0.0;
        for (const auto& [name, bytes] : peaks_) {
            most = std::max(most, bytes);
        }
        return most;
    }

private:
    wasi::ProcessPeak peak_;
    std::vector<std::pair<std::string, double>> peaks_;
};

}  // namespace wasi_examples
