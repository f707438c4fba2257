#include "files/interruption.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <string>

#include <unistd.h>

namespace wasi_examples {
namespace {

static_assert(std::atomic<int>::is_always_lock_free);  // what a signal handler may touch
std::atomic<int> noted{0};
std::atomic<bool> finish_step{false};

/// Paths for the handler, which may not allocate: "file\0folder\0folder\0\0".
std::array<char, 16384> removals{};
std::atomic<bool> removals_ready{false};

extern "C" void on_signal(int number)
{
    int none = 0;
    if (finish_step.load() && noted.compare_exchange_strong(none, number)) {
        return;
    }
    if (removals_ready.load()) {
        const char* path = removals.data();
        unlink(path);
        for (path += std::strlen(path) + 1; *path != '\0'; path += std::strlen(path) + 1) {
            rmdir(path);
        }
    }
    std::signal(number, SIG_DFL);
    std::raise(number);  // takes effect when this handler returns
}

void handle(int number)
{
    struct sigaction before {};
    sigaction(number, nullptr, &before);
    if (before.sa_handler == SIG_IGN) {
        return;  // whoever started the program wants it so, as nohup does
    }
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, nullptr);
}

void handle_both()
{
    handle(SIGINT);
    handle(SIGTERM);
}

}  // namespace

void remove_when_interrupted(const std::filesystem::path& file, const std::vector<std::filesystem::path>& folders)
{
    std::string text = std::filesystem::absolute(file).string() + '\0';
    for (const auto& folder : folders) {
        text += folder.string() + '\0';
    }
    if (text.size() < removals.size()) {
        removals_ready.store(false);
        removals.fill('\0');
        std::memcpy(removals.data(), text.data(), text.size());
        removals_ready.store(true);
    }
    handle_both();
}

void forget_removals()
{
    removals_ready.store(false);
}

FinishStepFirst::FinishStepFirst()
{
    finish_step.store(true);
    handle_both();
}

FinishStepFirst::~FinishStepFirst()
{
    finish_step.store(false);
}

int noted_signal()
{
    return noted.load();
}

}  // namespace wasi_examples
