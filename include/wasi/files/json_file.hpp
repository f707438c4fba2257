#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/core/error.hpp"
#include "wasi/io/safetensors_types.hpp"

/// The JSON documents beside a checkpoint. Needs the target wasi::io.
namespace wasi::files {

namespace detail {

/// Looks at the events of the JSON parser, keeps nothing, and refuses what a reader could take for two things or could
/// not hold: a key that appears twice, and values so deep within others that whoever copies, compares or prints them
/// would run out of stack.
class DocumentCheck : public nlohmann::json::json_sax_t {
public:
    explicit DocumentCheck(std::string_view name) : name_(name) {}

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool start_array(std::size_t) override { return deeper(); }
    bool end_array() override { return higher(); }
    bool start_object(std::size_t) override { return deeper(); }
    bool end_object() override { return higher(); }
    bool key(string_t& key) override
    {
        require<io_error>(keys_.back().insert(key).second, name_, ": the key ", io::detail::quote(key),
                          " appears twice");
        return true;
    }
    bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception&) override
    {
        throw io_error(message(name_, ": is not a JSON object: byte ", position, ", near ", io::detail::quote(token)));
    }

private:
    bool deeper()
    {
        constexpr std::size_t deepest = 64;
        require<io_error>(keys_.size() < deepest, name_, ": has values within values more than ", deepest, " deep");
        keys_.emplace_back();
        return true;
    }
    bool higher()
    {
        keys_.pop_back();
        return true;
    }

    std::string_view name_;
    std::vector<std::set<std::string>> keys_;  // of the objects and arrays around
};

/// Whether there is something of that name, a link to nowhere included.
[[nodiscard]] inline bool is_there(const std::filesystem::path& path)
{
    std::error_code failure;
    return std::filesystem::symlink_status(path, failure).type() != std::filesystem::file_type::not_found;
}

}  // namespace detail

/// A text that is one JSON object. `name` is for messages. Throws io_error for anything else, for a key that appears
/// twice in an object, and for values more than 64 deep within others.
[[nodiscard]] inline nlohmann::json parse_json(std::string_view text, std::string_view name)
{
    // The parser takes a zero byte for the end of its input and would not look at what follows.
    require<io_error>(text.find('\0') == std::string_view::npos, name, ": is not a JSON object: it holds a zero byte");
    detail::DocumentCheck check(name);
    nlohmann::json::sax_parse(text, &check);
    auto json = nlohmann::json::parse(text, nullptr, false);
    require<io_error>(json.is_object(), name, ": is not a JSON object");
    return json;
}

/// A JSON object in a file; null where there is no such file. Throws io_error for what cannot be read, for more than 64
/// MiB, and as parse_json does.
[[nodiscard]] inline nlohmann::json read_json(const std::filesystem::path& path)
{
    if (!detail::is_there(path)) {
        return nullptr;
    }
    std::error_code failure;
    constexpr std::uintmax_t longest = std::uintmax_t{64} << 20U;
    require<io_error>(
        std::filesystem::is_regular_file(path, failure) && std::filesystem::file_size(path, failure) <= longest,
        path.string(), ": is no file of at most ", longest, " bytes");
    std::ifstream in(path, std::ios::binary);
    require<io_error>(in.good(), path.string(), ": cannot be read");
    std::string text;
    text.resize(static_cast<std::size_t>(std::filesystem::file_size(path, failure)));
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    require<io_error>(static_cast<std::size_t>(in.gcount()) == text.size(), path.string(), ": cannot be read");
    return parse_json(text, path.string());
}

}  // namespace wasi::files
