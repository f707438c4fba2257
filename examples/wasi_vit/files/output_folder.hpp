#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace wasi_examples {

/// The files that a run leaves in its folder.
[[nodiscard]] const std::vector<std::string>& run_file_names();

/// Throws wasi::io_error when no file can be written at `path`, as far as that can be known before.
void check_file(const std::filesystem::path& path);

/// Throws wasi::io_error with both numbers when the file system of a folder has not so many bytes left.
void require_space(const std::filesystem::path& folder, double bytes);

/// A folder that one run at a time may write to: a lock on a file in it, which the system gives back when the process
/// ends, however it ends. Where a file system knows no locks there is none.
class FolderLock {
public:
    /// Throws wasi::io_error when another run holds it, or nothing can be written there.
    explicit FolderLock(const std::filesystem::path& folder);
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;
    ~FolderLock();
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
    int descriptor_ = -1;
};

/// The folder of --out: made if it is not there, held by this run alone, its files found fit to be written. Taken away
/// again if the run ends before it has written anything. Throws wasi::io_error.
class OutputFolder {
public:
    explicit OutputFolder(const std::filesystem::path& path);

private:
    /// The folders that were made, removed again where they are empty.
    class Made {
    public:
        explicit Made(const std::filesystem::path& path);
        Made(const Made&) = delete;
        Made& operator=(const Made&) = delete;
        ~Made();
        [[nodiscard]] const std::vector<std::filesystem::path>& folders() const { return folders_; }

    private:
        std::vector<std::filesystem::path> folders_;  // the innermost first
    };

    Made made_;
    FolderLock lock_;
};

}  // namespace wasi_examples
