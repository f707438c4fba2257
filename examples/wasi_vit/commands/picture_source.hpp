#pragma once
#include <cstdint>
#include <string>

#include <wasi/core/random.hpp>

#include "commands/data_source.hpp"

/// --data of pictures: folders, CIFAR, IDX.
namespace wasi_examples {

struct ClassRange {
    std::int64_t first = 0;
    std::int64_t last = 0;
};

/// "0-4" as classes. Throws wasi::argument_error.
[[nodiscard]] ClassRange parse_range(const std::string& text);

/// "NUMBER images, HASH".
[[nodiscard]] std::string fingerprint_text(wasi::Index count, std::uint64_t hash);

/// What --validation is drawn from.
[[nodiscard]] inline wasi::RandomKey split_key(const FinetuneOptions& options)
{
    return wasi::RandomKey(options.seed).derive(4);
}

/// `kind` and `rest` are what stands before and behind the first colon of --data. Throws wasi::error.
[[nodiscard]] TrainAndTest load_pictures(const FinetuneOptions& options, const std::string& kind,
                                         const std::string& rest, const wasi::data::Preprocessing& preprocessing);

}  // namespace wasi_examples
