#pragma once
#include <filesystem>
#include <vector>

/// SIGINT (Ctrl-C) and SIGTERM. Nothing here changes what they do, which is to end the process at once, but for two
/// cases: a run that holds a folder gives it back first, and a training loop ends after the step at hand.
namespace wasi_examples {

/// A signal that ends the process also removes this file and then these folders where they are empty.
void remove_when_interrupted(const std::filesystem::path& file, const std::vector<std::filesystem::path>& folders);
void forget_removals();

/// While one lives, the first signal is noted and no more; a second ends the process.
class FinishStepFirst {
public:
    FinishStepFirst();
    FinishStepFirst(const FinishStepFirst&) = delete;
    FinishStepFirst& operator=(const FinishStepFirst&) = delete;
    ~FinishStepFirst();
};

/// The signal that was noted, 0 if there was none.
[[nodiscard]] int noted_signal();

}  // namespace wasi_examples
