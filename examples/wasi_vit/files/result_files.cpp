#include "files/result_files.hpp"

#include <cstdlib>
#include <system_error>
#include <utility>

#include <wasi/core/error.hpp>

#include "files/output_folder.hpp"

namespace wasi_examples {
namespace {

namespace fs = std::filesystem;
using wasi::io_error;

/// Throws wasi::io_error when one of them cannot be removed.
void remove_old_files(const fs::path& folder)
{
    for (const std::string& name : run_file_names()) {
        std::error_code failure;
        if (name != "model.safetensors" && !fs::remove(folder / name, failure) && failure) {
            throw io_error(
                wasi::message((folder / name).string(), ": of an earlier run, cannot be removed: ", failure.message()));
        }
    }
}

[[nodiscard]] fs::path new_temporary_folder()
{
    std::string name = (fs::temp_directory_path() / "wasi_vit-XXXXXX").string();
    wasi::require<io_error>(mkdtemp(name.data()) != nullptr, name, ": cannot be made a folder");
    return name;
}

}  // namespace

ResultFiles::ResultFiles(fs::path folder, fs::path fallback)
    : folder_(std::move(folder)), fallback_(std::move(fallback))
{
    try {
        remove_old_files(folder_);
    } catch (const io_error& failure) {
        turn_to_fallback(failure.what());
    }
}

void ResultFiles::turn_to_fallback(const std::string& why)
{
    failure_ = why;
    try {
        if (fallback_.empty()) {
            fallback_ = new_temporary_folder();
            made_fallback_ = true;
        }
        fs::create_directories(fallback_);
        remove_old_files(fallback_);
    } catch (const std::exception& failure) {  // of the file system, or of a file
        throw io_error(wasi::message(why, "; and no other folder takes the files: ", failure.what()));
    }
    folder_ = fallback_;
}

void ResultFiles::add(const std::string& name, Write write)
{
    files_.emplace_back(name, std::move(write));
    const fs::path meant = folder_;
    try {
        files_.back().second(folder_ / name);
        return;
    } catch (const io_error& failure) {
        if (!failure_.empty()) {
            throw;
        }
        turn_to_fallback(failure.what());
    }
    try {
        for (const auto& [earlier, write_again] : files_) {
            write_again(folder_ / earlier);
        }
    } catch (const io_error& failure) {
        if (made_fallback_) {
            std::error_code ignored;
            fs::remove_all(folder_, ignored);
        }
        throw io_error(wasi::message(failure_, "; and ", failure.what(),
                                     files_.size() > 1 ? "; what could be written is in " + meant.string() : ""));
    }
}

}  // namespace wasi_examples
