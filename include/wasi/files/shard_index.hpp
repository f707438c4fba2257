#pragma once
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "wasi/files/json_file.hpp"
#include "wasi/files/names.hpp"

/// The index of a checkpoint in several files. Needs the target wasi::io.
namespace wasi::files {

/// Which file of the folder each tensor is in.
struct ShardIndex {
    std::map<std::string, std::string> files;  ///< by the tensor's name
    std::optional<std::uint64_t> total_size;   ///< bytes of all tensors, where it says so
};

namespace detail {

/// Whether a name is one of a file in the folder itself.
[[nodiscard]] inline bool is_plain_name(std::string_view name)
{
    return !name.empty() && name.find('/') == std::string_view::npos && name.find('\\') == std::string_view::npos &&
           name.find("..") == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

/// Throws io_error where there is no such file beside the index.
inline void check_shard(const std::filesystem::path& index, const std::string& shard)
{
    std::error_code failure;
    const auto folder = std::filesystem::canonical(index.parent_path(), failure);
    const auto target = std::filesystem::weakly_canonical(index.parent_path() / shard, failure);
    // A link into the cache of a hub is a file there; one that leads anywhere else by "..", a loop or nothing is not.
    require<io_error>(!failure && std::filesystem::is_regular_file(target, failure), index.string(), ": ",
                      io::detail::quote(shard), " is not a file that can be read in ", folder.string());
}

/// metadata.total_size of an index; some writers give it as 21580.0.
[[nodiscard]] inline std::optional<std::uint64_t> total_size_in(const nlohmann::json& json, std::string_view name)
{
    const auto metadata = json.find("metadata");
    if (metadata == json.end() || !metadata->is_object() || !metadata->contains("total_size")) {
        return std::nullopt;
    }
    const auto& said = (*metadata)["total_size"];
    constexpr double most = 9007199254740992.0;  // 2^53: whole numbers up to here
    const bool whole = said.is_number_unsigned() || (said.is_number_float() && said >= 0.0 && said <= most &&
                                                     std::floor(said.get<double>()) == said.get<double>());
    require<io_error>(whole, name, ": metadata.total_size is ", printable(said.dump()), ", bytes are expected");
    return said.get<std::uint64_t>();
}

}  // namespace detail

/// What an index says. `name` is for messages. Throws io_error where it has no weight_map of names, where a name is not
/// one of a file in its folder, and for a total_size that is no number of bytes.
[[nodiscard]] inline ShardIndex parse_index(const nlohmann::json& json, std::string_view name)
{
    const auto map = json.find("weight_map");
    require<io_error>(map != json.end() && map->is_object() && !map->empty(), name,
                      ": has no weight_map of tensors and files");
    ShardIndex index;
    for (const auto& [tensor, shard] : map->items()) {
        require<io_error>(shard.is_string(), name, ": the file of ", io::detail::quote(tensor), " is not a string");
        const auto& file = shard.get_ref<const std::string&>();
        require<io_error>(detail::is_plain_name(file), name, ": ", io::detail::quote(file),
                          " is not a file in its folder");
        index.files.emplace(tensor, file);
    }
    index.total_size = detail::total_size_in(json, name);
    return index;
}

}  // namespace wasi::files
