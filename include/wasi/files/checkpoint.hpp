#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/files/names.hpp"
#include "wasi/files/shard_index.hpp"
#include "wasi/io/safetensors_reader.hpp"

/// A checkpoint as people have it: one safetensors file, or a folder with config.json, preprocessor_config.json and
/// model.safetensors or an index of shards. Needs the target wasi::io.
namespace wasi::files {

/// What is known of a checkpoint without its values.
struct CheckpointHeader {
    struct Entry {
        std::string stored_name;
        std::size_t file = 0;
        io::TensorInfo info;
    };
    std::filesystem::path path;
    std::map<std::string, Entry, std::less<>> tensors;  ///< by name without prefixes
    std::map<std::string, std::string> metadata;
    nlohmann::json config;              ///< config.json, or null
    nlohmann::json preprocessor;        ///< preprocessor_config.json, or null
    std::vector<std::string> prefixes;  ///< that were cut off

    [[nodiscard]] bool contains(std::string_view name) const { return tensors.contains(name); }
    /// nullptr where there is none of that name.
    [[nodiscard]] const std::vector<Index>* shape(std::string_view name) const
    {
        const auto found = tensors.find(name);
        return found == tensors.end() ? nullptr : &found->second.info.shape;
    }

    /// Cuts these prefixes off all names that begin with them, as often as they do. Throws io_error where two tensors
    /// then have one name.
    void cut(std::string_view list)
    {
        decltype(tensors) renamed;
        for (auto& [name, entry] : tensors) {
            std::string_view rest = name;
            const auto cut_one = [&](std::string_view prefix) {
                if (!rest.starts_with(prefix)) {
                    return false;
                }
                rest.remove_prefix(prefix.size());
                if (std::find(prefixes.begin(), prefixes.end(), prefix) == prefixes.end()) {
                    prefixes.emplace_back(prefix);
                }
                return true;
            };
            while (detail::any_of_list(list, cut_one)) {
            }
            const std::string stored = entry.stored_name;
            const bool fresh = renamed.emplace(std::string(rest), std::move(entry)).second;
            require<io_error>(fresh, path.string(), ": tensor ", io::detail::quote(stored),
                              " has the name of another one but for a prefix");
        }
        tensors = std::move(renamed);
    }
};

namespace detail {

inline constexpr const char* pickle_recipe =
    "write it as safetensors first: python3 -c \"import sys, torch; from safetensors.torch import save_file; "
    "s = torch.load(sys.argv[1], map_location='cpu', weights_only=True); s = s.get('model', s.get('state_dict', s)); "
    "save_file({k: v.contiguous().clone() for k, v in s.items() if hasattr(v, 'shape')}, sys.argv[2])\" IN OUT";

/// Throws io_error for what PyTorch writes by default, a zip archive or a pickle.
inline void refuse_pickle(const std::filesystem::path& path)
{
    std::error_code failure;
    if (!std::filesystem::is_regular_file(path, failure)) {
        return;
    }
    std::ifstream in(path, std::ios::binary);
    std::array<char, 4> start{};
    in.read(start.data(), start.size());
    const std::string_view bytes(start.data(), static_cast<std::size_t>(in.gcount()));
    const bool pickled = bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80\x02") ||
                         bytes.starts_with("\x80\x03") || bytes.starts_with("\x80\x04");
    require<io_error>(!pickled, path.string(), ": is a pickle of PyTorch, which can run any program; ", pickle_recipe);
}

}  // namespace detail

/// A checkpoint that is open for reading: headers are kept in memory, values are read when they are asked for. For one
/// thread at a time.
class Checkpoint {
public:
    /// Opens a file or a folder. Throws io_error for what is neither, for a pickle (with the way to convert it), for an
    /// index that names files outside the folder, tensors that are not there, or one tensor twice, or that counts other
    /// bytes than there are, and for everything that SafetensorsFile, read_json and parse_index refuse.
    explicit Checkpoint(const std::filesystem::path& path)
    {
        header_.path = path;
        std::error_code failure;
        if (std::filesystem::is_directory(path, failure)) {
            open_folder(path);
        } else {
            open_file(path);
        }
        header_.cut(wrapper_prefixes);
    }

    [[nodiscard]] const CheckpointHeader& header() const noexcept { return header_; }
    [[nodiscard]] CheckpointHeader& header() noexcept { return header_; }
    /// The file, where there is only one; else nullptr.
    [[nodiscard]] const io::SafetensorsFile* single() const
    {
        return files_.size() == 1 ? files_.front().get() : nullptr;
    }

    /// Reads a tensor as SafetensorsFile::read does. Throws what that does, argument_error for NaN or infinity.
    template <Scalar T>
    void read(std::string_view name, std::span<T> out) const
    {
        const auto& entry = header_.tensors.find(name)->second;
        files_[entry.file]->read(entry.stored_name, out);
        const bool finite = std::all_of(out.begin(), out.end(), [](T value) { return value - value == T(0); });
        require<argument_error>(finite, header_.path.string(), ": tensor ", detail::printable(entry.stored_name), " ",
                                shape_text(entry.info.shape), " holds NaN or infinity");
    }

private:
    void open_file(const std::filesystem::path& path)
    {
        detail::refuse_pickle(path);
        files_.push_back(std::make_unique<io::SafetensorsFile>(path));
        header_.metadata = files_.back()->metadata();
        for (const std::string& name : files_.back()->names()) {
            add(name, files_.size() - 1);
        }
    }

    void open_folder(const std::filesystem::path& folder)
    {
        header_.config = read_json(folder / "config.json");
        header_.preprocessor = read_json(folder / "preprocessor_config.json");
        const auto index = folder / "model.safetensors.index.json";
        if (detail::is_there(folder / "model.safetensors")) {
            open_file(folder / "model.safetensors");
        } else if (detail::is_there(index)) {
            open_shards(index);
        } else {
            for (const char* pickle : {"pytorch_model.bin", "model.pth", "model.pt"}) {
                require<io_error>(!detail::is_there(folder / pickle), (folder / pickle).string(),
                                  ": is a pickle of PyTorch, which can run any program; ", detail::pickle_recipe);
            }
            throw io_error(
                message(folder.string(), ": has neither model.safetensors nor model.safetensors.index.json"));
        }
    }

    void open_shards(const std::filesystem::path& path)
    {
        const ShardIndex index = parse_index(read_json(path), path.string());
        std::map<std::string, std::size_t> numbers;
        for (const auto& [tensor, name] : index.files) {
            if (!numbers.contains(name)) {
                detail::check_shard(path, name);
                numbers.emplace(name, files_.size());
                files_.push_back(std::make_unique<io::SafetensorsFile>(path.parent_path() / name));
                header_.metadata.insert(files_.back()->metadata().begin(), files_.back()->metadata().end());
            }
            require<io_error>(files_[numbers.at(name)]->contains(tensor), path.string(), ": ", io::detail::quote(name),
                              " has no tensor ", io::detail::quote(tensor));
        }
        std::uint64_t bytes = 0;
        for (const auto& [name, number] : numbers) {
            for (const std::string& tensor : files_[number]->names()) {
                require<io_error>(index.files.contains(tensor), path.string(), ": ", io::detail::quote(name),
                                  " has a tensor that the index does not name: ", io::detail::quote(tensor));
                add(tensor, number);
                const io::TensorInfo& info = files_[number]->info(tensor);
                bytes += info.end - info.begin;
            }
        }
        require<io_error>(!index.total_size || *index.total_size == bytes, path.string(), ": metadata.total_size is ",
                          index.total_size.value_or(0), ", the tensors have ", bytes, " bytes");
    }

    void add(const std::string& name, std::size_t file)
    {
        const bool fresh =
            header_.tensors.emplace(name, CheckpointHeader::Entry{name, file, files_[file]->info(name)}).second;
        require<io_error>(fresh, header_.path.string(), ": two files have a tensor ", io::detail::quote(name));
    }

    CheckpointHeader header_;
    std::vector<std::unique_ptr<io::SafetensorsFile>> files_;
};

}  // namespace wasi::files
