#include "files/output_folder.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wasi/core/error.hpp>

#include "files/interruption.hpp"
#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

namespace fs = std::filesystem;
using wasi::io_error;
using wasi::require;

[[nodiscard]] std::string reason(int number)
{
    return std::generic_category().message(number);
}

/// Whether the name still leads to this open file.
[[nodiscard]] bool is_at(int descriptor, const fs::path& path)
{
    struct stat open_file {};
    struct stat named_file {};
    return fstat(descriptor, &open_file) == 0 && stat(path.c_str(), &named_file) == 0 &&
           open_file.st_dev == named_file.st_dev && open_file.st_ino == named_file.st_ino;
}

}  // namespace

const std::vector<std::string>& run_file_names()
{
    static const std::vector<std::string> names{
        "metrics.csv", "epochs.csv",  "memory.csv",          "model.safetensors",
        "report.json", "report.html", "adapter_config.json", "adapter_model.safetensors"};
    return names;
}

void check_file(const fs::path& path)
{
    std::error_code failure;
    const bool link = fs::is_symlink(fs::symlink_status(path, failure));
    const fs::path target = link ? fs::canonical(path, failure) : path;
    require<io_error>(!link || !failure, path.string(), ": cannot follow the symbolic link: ", failure.message());
    const auto status = fs::status(target, failure);
    require<io_error>(!fs::exists(status) || fs::is_regular_file(status), path.string(),
                      ": exists and is not a regular file");
    const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
    require<io_error>(fs::is_directory(folder, failure), path.string(), ": ", folder.string(), " is not a folder");
    require<io_error>(access(folder.c_str(), W_OK | X_OK) == 0, path.string(), ": cannot create a file in ",
                      folder.string(), ": ", reason(errno));
}

void require_space(const fs::path& folder, double bytes)
{
    std::error_code failure;
    const fs::space_info space = fs::space(folder, failure);
    const auto available = static_cast<double>(space.available);
    // A file system that does not tell is believed to have room.
    require<io_error>(failure || bytes <= available, folder.string(), ": ", page::fixed_text(bytes, 0),
                      " bytes are to be written there, and ", page::fixed_text(available, 0), " are free");
}

FolderLock::FolderLock(const fs::path& folder) : path_(folder / ".wasi_vit.lock")
{
    while (descriptor_ < 0) {
        descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        require<io_error>(descriptor_ >= 0, folder.string(), ": cannot create a file in it: ", reason(errno));
        if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(descriptor_);
            throw io_error(
                wasi::message(folder.string(), ": another run is writing here; give each run a folder of its own"));
        }
        if (!is_at(descriptor_, path_)) {  // removed by a run that ended in between
            close(descriptor_);
            descriptor_ = -1;
        }
    }
}

FolderLock::~FolderLock()
{
    unlink(path_.c_str());  // while it is held: whoever has it open already sees that the name leads elsewhere
    close(descriptor_);
}

OutputFolder::Made::Made(const fs::path& path)
{
    std::error_code failure;
    for (fs::path folder = fs::absolute(path).lexically_normal();
         !folder.empty() && !fs::exists(folder, failure) && folder.has_relative_path(); folder = folder.parent_path()) {
        folders_.push_back(folder);
    }
    failure.clear();
    fs::create_directories(path, failure);
    require<io_error>(!failure && fs::is_directory(path), path.string(), ": cannot be made a folder",
                      failure ? ": " + failure.message() : std::string());
}

OutputFolder::Made::~Made()
{
    forget_removals();
    std::error_code failure;
    for (const fs::path& folder : folders_) {
        fs::remove(folder, failure);  // does nothing to a folder that is not empty
    }
}

OutputFolder::OutputFolder(const fs::path& path) : made_(path), lock_(path)
{
    remove_when_interrupted(lock_.path(), made_.folders());
    for (const std::string& name : run_file_names()) {
        check_file(path / name);  // now, not after an hour of training
    }
}

}  // namespace wasi_examples
