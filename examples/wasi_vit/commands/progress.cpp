#include "commands/progress.hpp"

#include <cstdio>
#include <utility>

#include <unistd.h>

namespace wasi_examples {

Progress::Progress(std::string name, wasi::Index total_steps, wasi::Index steps_per_epoch, wasi::Index batch_size)
    : name_(std::move(name)),
      total_(total_steps),
      per_epoch_(steps_per_epoch),
      batch_size_(batch_size),
      terminal_(isatty(STDOUT_FILENO) == 1),
      begin_(std::chrono::steady_clock::now())
{
}

void Progress::step(const wasi::train::StepRecord& record)
{
    epoch_loss_ += record.loss;
    epoch_seconds_ += record.seconds;
    ++epoch_steps_;
    const bool epoch_ends = (record.step + 1) % per_epoch_ == 0;
    if (terminal_) {
        draw_bar(record);
    } else if (epoch_ends) {
        std::printf("%-8s epoch %3td of %td   loss %.4f   %.1f ms a step   %.0f images/s\n", name_.c_str(),
                    (record.step + 1) / per_epoch_, total_ / per_epoch_,
                    epoch_loss_ / static_cast<double>(epoch_steps_),
                    1e3 * epoch_seconds_ / static_cast<double>(epoch_steps_),
                    images_per_second(epoch_seconds_ / static_cast<double>(epoch_steps_)));
        std::fflush(stdout);
    }
    if (epoch_ends) {
        epoch_loss_ = 0.0;
        epoch_seconds_ = 0.0;
        epoch_steps_ = 0;
    }
}

void Progress::draw_bar(const wasi::train::StepRecord& record)
{
    smoothed_loss_ = record.step == 0 ? record.loss : 0.9 * smoothed_loss_ + 0.1 * record.loss;
    const auto now = std::chrono::steady_clock::now();
    const bool last = record.step + 1 == total_;
    if (!last && now - drawn_ < std::chrono::milliseconds(100)) {
        return;  // a terminal need not be redrawn for every step
    }
    drawn_ = now;
    constexpr wasi::Index width = 28;
    const wasi::Index done = (record.step + 1) * width / total_;
    const std::string bar =
        std::string(static_cast<std::size_t>(done), '#') + std::string(static_cast<std::size_t>(width - done), '.');
    const double elapsed = std::chrono::duration<double>(now - begin_).count();
    const double left = elapsed / static_cast<double>(record.step + 1) * static_cast<double>(total_ - record.step - 1);
    std::printf("\r%-8s [%s] %td/%td  loss %.4f  %.1f ms a step  %.0f images/s  %.0f s left \033[K", name_.c_str(),
                bar.c_str(), record.step + 1, total_, smoothed_loss_, 1e3 * record.seconds,
                images_per_second(record.seconds), left);
    std::fflush(stdout);
}

double Progress::images_per_second(double seconds) const
{
    return seconds > 0.0 ? static_cast<double>(batch_size_) / seconds : 0.0;
}

void Progress::say(const std::string& line)
{
    std::printf("%s%s\n", terminal_ ? "\r\033[K" : "", line.c_str());
    std::fflush(stdout);
}

void Progress::finish()
{
    if (terminal_) {
        std::printf("\n");
    }
}

}  // namespace wasi_examples
