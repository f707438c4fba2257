#pragma once
#include <chrono>
#include <string>

#include <wasi/train/trainer.hpp>

namespace wasi_examples {

/// Tells on standard output how a run goes: a bar that rewrites its line on a terminal, a line an epoch elsewhere.
class Progress {
public:
    Progress(std::string name, wasi::Index total_steps, wasi::Index steps_per_epoch, wasi::Index batch_size);

    void step(const wasi::train::StepRecord& record);
    /// A line of its own.
    void say(const std::string& line);
    /// Ends the bar's line.
    void finish();

private:
    [[nodiscard]] double images_per_second(double seconds) const;
    void draw_bar(const wasi::train::StepRecord& record);

    std::string name_;
    wasi::Index total_;
    wasi::Index per_epoch_;
    wasi::Index batch_size_;
    bool terminal_;
    double epoch_loss_ = 0.0;
    double epoch_seconds_ = 0.0;
    wasi::Index epoch_steps_ = 0;
    double smoothed_loss_ = 0.0;
    std::chrono::steady_clock::time_point begin_;
    std::chrono::steady_clock::time_point drawn_{};
};

}  // namespace wasi_examples
