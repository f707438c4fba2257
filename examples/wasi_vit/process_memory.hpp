#pragma once
#include <fstream>
#include <string>

#include <sys/resource.h>

namespace wasi_examples {

/// The largest resident memory of this process so far, bytes: VmHWM where /proc has it, else what getrusage says.
[[nodiscard]] inline double peak_rss_bytes()
{
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        if (word == "VmHWM:") {
            double kibibytes = 0.0;
            status >> kibibytes;
            return kibibytes * 1024.0;
        }
    }
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

}  // namespace wasi_examples
