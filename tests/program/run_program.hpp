#pragma once
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

// What runs programs for another machine; nothing for those of this one, such as bench/'s.
#ifndef WASI_VIT_EMULATOR
#define WASI_VIT_EMULATOR ""
#endif

/// Running the program wasi_vit as its users do: a command line, an exit status, what it printed, the files it left.
namespace wasi_tests {

struct Outcome {
    int status = -1;
    std::string out;
    std::string error;
};

/// A folder that is removed at the end.
class TemporaryFolder {
public:
    TemporaryFolder()
    {
        std::string name = (std::filesystem::temp_directory_path() / "wasi_vit_XXXXXX").string();
        path_ = mkdtemp(name.data());
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

[[nodiscard]] inline std::string contents(const std::filesystem::path& path)
{
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// Runs `wasi_vit ARGUMENTS` through the shell, under an emulator where it is for another machine.
[[nodiscard]] inline Outcome run_program(const std::string& arguments, const std::string& before = "")
{
    const TemporaryFolder folder;
    const std::string command = before + WASI_VIT_EMULATOR " '" WASI_VIT_PROGRAM "' " + arguments + " >'" +
                                (folder / "out").string() + "' 2>'" + (folder / "error").string() + "'";
    const int result = std::system(command.c_str());  // NOLINT(cert-env33-c): the command line is what is tested
    return {WIFEXITED(result) ? WEXITSTATUS(result) : 128 + WTERMSIG(result), contents(folder / "out"),
            contents(folder / "error")};
}

/// The program while it runs, for signals.
class RunningProgram {
public:
    explicit RunningProgram(const std::string& arguments)
    {
        const std::string command = "exec '" WASI_VIT_PROGRAM "' " + arguments + " >'" + (folder_ / "out").string() +
                                    "' 2>'" + (folder_ / "error").string() + "'";
        process_ = fork();
        if (process_ == 0) {
            execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
            _exit(127);
        }
    }
    RunningProgram(const RunningProgram&) = delete;
    RunningProgram& operator=(const RunningProgram&) = delete;
    ~RunningProgram()
    {
        if (process_ > 0) {
            kill(process_, SIGKILL);
            wait();
        }
    }

    void signal(int number) const { kill(process_, number); }
    /// What it has printed so far.
    [[nodiscard]] std::string printed() const { return contents(folder_ / "out"); }
    /// Until it ends; of a signal's end the status is 128 + its number.
    Outcome wait()
    {
        int result = 0;
        waitpid(process_, &result, 0);
        process_ = 0;
        return {WIFEXITED(result) ? WEXITSTATUS(result) : 128 + WTERMSIG(result), contents(folder_ / "out"),
                contents(folder_ / "error")};
    }

private:
    TemporaryFolder folder_;
    pid_t process_ = 0;
};

/// Waits until `ready()`, at most so many seconds. Returns what it said last.
template <class Ready>
[[nodiscard]] bool wait_until(const Ready& ready, double seconds = 60.0)
{
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!ready() && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return ready();
}

}  // namespace wasi_tests
