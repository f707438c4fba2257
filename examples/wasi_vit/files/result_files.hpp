#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace wasi_examples {

/// The files of a run that has trained. When one of them cannot be written in the folder that was meant, all go to a
/// second folder: hours of training are not lost to a full disk.
class ResultFiles {
public:
    /// `fallback` empty: a new folder where the system keeps temporary files. Files that an earlier run left in
    /// `folder` are removed, but for its model: an old report never stands beside a new model.
    ResultFiles(std::filesystem::path folder, std::filesystem::path fallback);

    using Write = std::function<void(const std::filesystem::path&)>;
    /// Calls `write` with the whole path. It is called again if a later file makes all go to the second folder. Throws
    /// wasi::io_error when neither folder takes the file, saying what is where.
    void add(const std::string& name, Write write);

    /// The folder that has everything.
    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
    /// Why it is not the one that was meant; empty if it is.
    [[nodiscard]] const std::string& failure() const { return failure_; }

private:
    void turn_to_fallback(const std::string& why);

    std::filesystem::path folder_;
    std::filesystem::path fallback_;
    bool made_fallback_ = false;
    std::string failure_;
    std::vector<std::pair<std::string, Write>> files_;
};

}  // namespace wasi_examples
