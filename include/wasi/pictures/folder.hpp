#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include "wasi/pictures/source.hpp"

namespace wasi::pictures {

/// What was left out on the way, and why. With `allowed` false the first is an io_error instead.
struct Skipped {
    bool allowed = false;
    Index count = 0;
    std::vector<std::string> reasons = {};  ///< of the first ten
    std::string cure = {};                  ///< ends the message where nothing may be left out

    void note(const std::string& reason)
    {
        require<io_error>(allowed, reason, cure);
        constexpr std::size_t shown = 10;
        if (reasons.size() < shown) {
            reasons.push_back(reason);
        }
        ++count;
    }
};

namespace detail {

namespace fs = std::filesystem;

/// Whether the name ends in .jpg, .jpeg or .png, in large or small letters.
[[nodiscard]] inline bool named_like_a_picture(const fs::path& path)
{
    std::string ending = path.extension().string();
    for (char& letter : ending) {
        letter = letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
    }
    return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

/// What a folder holds, without hidden names, sorted by bytes. Throws io_error.
[[nodiscard]] inline std::vector<fs::path> entries_of(const fs::path& folder)
{
    std::error_code failure;
    std::vector<fs::path> result;
    fs::directory_iterator entry(folder, failure);
    while (!failure && entry != fs::directory_iterator()) {
        if (const std::string name = entry->path().filename().string(); !name.starts_with('.')) {
            result.push_back(entry->path());
        }
        entry.increment(failure);
    }
    require<io_error>(!failure, shown_name(folder), ": cannot be listed: ", failure.message());
    std::sort(result.begin(), result.end(),
              [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
    return result;
}

/// Folders by what they are, not by their names: two names of one folder are one.
using Identity = std::pair<std::uint64_t, std::uint64_t>;

[[nodiscard]] inline std::optional<Identity> identity(const fs::path& folder)
{
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0) {
        return std::nullopt;
    }
    return Identity{status.st_dev, status.st_ino};
}

/// The folder and all that it lies in.
[[nodiscard]] inline std::vector<Identity> folders_around(const fs::path& folder)
{
    std::error_code failure;
    std::vector<Identity> result;
    fs::path path = fs::canonical(folder, failure);
    while (!path.empty()) {
        if (const auto own = identity(path)) {
            result.push_back(*own);
        }
        if (path == path.parent_path()) {
            break;
        }
        path = path.parent_path();
    }
    return result;
}

/// Adds the pictures below a folder, deeper ones too, to `found`. `around`: the folders that this one lies in.
inline void find_pictures(const fs::path& folder, std::vector<Identity>& around, std::vector<fs::path>& found,
                          Skipped& skipped)
{
    const auto own = identity(folder);
    if (own && std::find(around.begin(), around.end(), *own) != around.end()) {
        skipped.note(shown_name(folder) + ": a loop of symbolic links");
        return;
    }
    around.push_back(own.value_or(Identity{}));
    for (const fs::path& path : entries_of(folder)) {
        std::error_code failure;
        if (fs::is_directory(path, failure)) {
            find_pictures(path, around, found, skipped);
        } else if (named_like_a_picture(path)) {
            found.push_back(path);  // whether it can be read, reading will tell
        }
    }
    around.pop_back();
}

/// Adds the pictures of `folder`, a subfolder for each class, to `source` and `examples`. Classes that `examples` does
/// not have yet are new if `may_add`, else an io_error.
inline void add_classes(const fs::path& folder, const fs::path& root, bool may_add, FileSource& source,
                        Examples& examples, Skipped& skipped)
{
    for (const fs::path& path : entries_of(folder)) {
        std::error_code failure;
        if (!fs::is_directory(path, failure)) {
            continue;
        }
        const std::string name = path.filename().string();
        auto known = std::find(examples.classes.begin(), examples.classes.end(), name);
        if (known == examples.classes.end()) {
            require<io_error>(may_add, shown_name(path), ": there is no class of that name to learn from");
            examples.classes.push_back(name);
            known = examples.classes.end() - 1;
        }
        std::vector<Identity> around = folders_around(folder);
        std::vector<fs::path> found;
        find_pictures(path, around, found, skipped);
        require<io_error>(!found.empty(), shown_name(path), ": the class is empty: no JPEG or PNG file is in it");
        for (const fs::path& picture : found) {
            examples.which.push_back(source.count());
            examples.labels.push_back(known - examples.classes.begin());
            source.add(picture.lexically_relative(root).native());
        }
    }
    require<io_error>(!examples.which.empty(), shown_name(folder),
                      ": there are no pictures; a subfolder for each class is expected");
}

}  // namespace detail

/// What there is to learn from, and to measure on where the data set has such a part.
struct PictureFolder {
    Examples training;
    std::optional<Examples> held_out;
};

/// The pictures of a folder: FOLDER/CLASS/... or FOLDER/train/CLASS/... with FOLDER/test/CLASS/... (or val/,
/// validation/) beside it. Classes and files are sorted by the bytes of their names; hidden ones and files that are not
/// named .jpg, .jpeg or .png are passed over. Nothing is opened.
/// Throws io_error: a folder that is not there or has no pictures, an empty class, a class that is only measured on; a
/// loop of symbolic links unless `skipped` allows for it.
[[nodiscard]] inline PictureFolder list_folder(const std::filesystem::path& folder, Skipped& skipped,
                                               DecodeLimits limits = {})
{
    std::error_code failure;
    require<io_error>(std::filesystem::is_directory(folder, failure), shown_name(folder), ": is not a folder");
    const auto source = std::make_shared<FileSource>(folder, limits);
    PictureFolder result{{source, {}, {}, {}}, std::nullopt};
    const bool parted = std::filesystem::is_directory(folder / "train", failure);
    detail::add_classes(parted ? folder / "train" : folder, folder, true, *source, result.training, skipped);
    if (parted) {
        for (const char* name : {"test", "val", "validation"}) {
            if (std::filesystem::is_directory(folder / name, failure)) {
                result.held_out = Examples{source, {}, {}, result.training.classes};
                detail::add_classes(folder / name, folder, false, *source, *result.held_out, skipped);
                break;
            }
        }
    }
    return result;
}

/// Pictures to say something about: files as they are named, and of folders all that is in them. Labels are 0.
/// Throws io_error where there are none, or a file or folder is not there.
[[nodiscard]] inline Examples list_pictures(const std::vector<std::filesystem::path>& files_and_folders,
                                            Skipped& skipped, DecodeLimits limits = {})
{
    const auto source = std::make_shared<FileSource>(std::filesystem::path(), limits);
    Examples result{source, {}, {}, {}};
    for (const auto& path : files_and_folders) {
        std::error_code failure;
        std::vector<std::filesystem::path> found;
        if (std::filesystem::is_directory(path, failure)) {
            std::vector<detail::Identity> around;
            detail::find_pictures(path, around, found, skipped);
            require<io_error>(!found.empty(), shown_name(path), ": no JPEG or PNG file is in it");
        } else {
            require<io_error>(std::filesystem::exists(path, failure), shown_name(path), ": is not there");
            found.push_back(path);
        }
        for (const auto& picture : found) {
            result.which.push_back(source->count());
            result.labels.push_back(0);
            source->add(picture.native());
        }
    }
    require<io_error>(!result.which.empty(), "there are no pictures");
    return result;
}

}  // namespace wasi::pictures
