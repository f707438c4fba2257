#pragma once
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

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

/// Runs `wasi_vit ARGUMENTS` through the shell.
[[nodiscard]] inline Outcome run_program(const std::string& arguments, const std::string& before = "")
{
    const TemporaryFolder folder;
    const std::string command = before + "'" WASI_VIT_PROGRAM "' " + arguments + " >'" + (folder / "out").string() +
                                "' 2>'" + (folder / "error").string() + "'";
    const int result = std::system(command.c_str());  // NOLINT(cert-env33-c): the command line is what is tested
    return {WIFEXITED(result) ? WEXITSTATUS(result) : 128 + WTERMSIG(result), contents(folder / "out"),
            contents(folder / "error")};
}

}  // namespace wasi_tests
