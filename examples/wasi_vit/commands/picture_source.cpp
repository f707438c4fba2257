#include "commands/picture_source.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <thread>
#include <utility>

#include <wasi/data/split.hpp>
#include <wasi/pictures/idx.hpp>

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::require;
using wasi::pictures::PictureBatches;
using wasi::pictures::PictureFolder;
using wasi::pictures::Skipped;

/// Threads that decode while others compute: one fewer than those, none for a run on one thread.
[[nodiscard]] std::shared_ptr<wasi::pictures::Workers> make_workers(int threads)
{
    const auto all = threads > 0 ? threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    return std::make_shared<wasi::pictures::Workers>(all - 1);
}

/// FOLDER or FOLDER:A-B of cifar10, cifar100 and idx.
[[nodiscard]] PictureFolder read_records(const std::string& kind, const std::string& rest)
{
    const auto colon = rest.rfind(':');
    const bool subset = colon != std::string::npos && colon + 1 < rest.size() && rest[colon + 1] >= '0' &&
                        rest[colon + 1] <= '9' && rest.find('/', colon) == std::string::npos;
    const std::string folder = subset ? rest.substr(0, colon) : rest;
    require<wasi::argument_error>(!folder.empty(), "--data: ", kind, " needs a folder, ", kind, ":FOLDER");
    PictureFolder result = kind == "idx" ? wasi::pictures::read_idx(folder)
                                         : wasi::pictures::read_cifar(folder, kind == "cifar10" ? 10 : 100);
    if (subset) {
        const ClassRange range = parse_range(rest.substr(colon + 1));
        try {
            result.training = result.training.of_classes(range.first, range.last);
            result.held_out = result.held_out->of_classes(range.first, range.last);
        } catch (const wasi::argument_error& failure) {
            throw wasi::argument_error(wasi::message("--data ", kind, ':', rest, ": ", failure.what()));
        }
    }
    return result;
}

/// What --data-cache says; else 64 MiB, or an eighth of --memory-budget if that is less.
[[nodiscard]] std::size_t cache_bytes(const FinetuneOptions& options)
{
    constexpr std::int64_t usual = std::int64_t{64} << 20;
    const std::int64_t budget = options.memory_budget.value_or(8 * usual);
    return static_cast<std::size_t>(options.data_cache.value_or(std::min(usual, budget / 8)));
}

}  // namespace

void tell_skipped(const Skipped& skipped, std::FILE* where)
{
    if (skipped.count == 0) {
        return;
    }
    std::fprintf(where, "%td broken %s skipped:\n", skipped.count, skipped.count == 1 ? "picture is" : "pictures are");
    for (const std::string& reason : skipped.reasons) {
        std::fprintf(where, "  %s\n", reason.c_str());
    }
    if (skipped.count > std::ssize(skipped.reasons)) {
        std::fprintf(where, "  and %td more\n", skipped.count - std::ssize(skipped.reasons));
    }
}

ClassRange parse_range(const std::string& text)
{
    ClassRange range;
    const char* const end = text.data() + text.size();
    const auto head = std::from_chars(text.data(), end, range.first);
    const bool dash = head.ec == std::errc() && head.ptr != end && *head.ptr == '-';
    const auto tail = std::from_chars(dash ? head.ptr + 1 : end, end, range.last);
    require<wasi::argument_error>(dash && tail.ec == std::errc() && tail.ptr == end, "--data: '", text,
                                  "' is not a range of classes like 0-4");
    return range;
}

std::string fingerprint_text(Index count, std::uint64_t hash)
{
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%td images, %016llx", count, static_cast<unsigned long long>(hash));
    return text.data();
}

TrainAndTest load_pictures(const FinetuneOptions& options, const std::string& kind, const std::string& rest,
                           const wasi::data::Preprocessing& preprocessing)
{
    Skipped skipped;
    skipped.allowed = options.skip_broken;
    skipped.cure = "; --skip-broken on leaves out what cannot be read";
    PictureFolder found;
    if (kind == "cifar10" || kind == "cifar100" || kind == "idx") {
        found = read_records(kind, rest);
    } else {
        std::error_code failure;
        require<wasi::argument_error>(std::filesystem::is_directory(options.data, failure), "--data: '", options.data,
                                      "' is no folder and none of digits, digits:A-B, tensors:FILE.safetensors, "
                                      "cifar10:DIR, cifar100:DIR, idx:DIR");
        found = wasi::pictures::list_folder(options.data, skipped);
    }
    std::optional<wasi::pictures::Examples> validation;
    if (options.validation) {
        const auto split = wasi::data::stratified_split(found.training.labels, *options.validation, split_key(options));
        require<wasi::argument_error>(!split.validation.empty(), "--validation: no class has two pictures");
        validation = found.training.part(split.validation);
        found.training = found.training.part(split.training);
    }
    const auto workers = make_workers(options.threads);
    TrainAndTest data;
    data.classes = found.training.classes;
    data.class_count = std::ssize(data.classes);
    data.of_pictures = true;
    data.pixels = preprocessing;
    wasi::pictures::PictureOptions how{preprocessing, options.augmentation, cache_bytes(options)};
    PictureBatches<float> train(std::move(found.training), how, workers, skipped);
    const std::size_t kept = how.cache_bytes;
    data.fingerprint = fingerprint_text(train.size(), train.fingerprint());
    data.bytes = train.bytes();
    std::size_t decoding = train.decoding_bytes();  // of one set at a time, by the same threads
    std::size_t staged = train.staged_bytes(options.batch_size);
    std::size_t left = kept - std::min(kept, train.kept_bytes());
    how.augmentation = {};
    const auto open = [&](wasi::pictures::Examples examples) {
        how.cache_bytes = left;
        PictureBatches<float> set(std::move(examples), how, workers, skipped);
        left -= std::min(left, set.kept_bytes());
        data.bytes += set.bytes();
        decoding = std::max(decoding, set.decoding_bytes());
        staged += set.staged_bytes(options.batch_size);
        return RunData(std::move(set));
    };
    if (validation) {
        data.validation = open(std::move(*validation));
    }
    if (found.held_out) {
        data.held_out = open(std::move(*found.held_out));
    } else if (!validation && !(options.augmentation == wasi::pictures::Augmentation{})) {
        data.held_out = RunData(train.plain());
        staged *= 2;
    }
    data.working_bytes = decoding + staged;
    data.train = RunData(std::move(train));
    tell_skipped(skipped, stdout);
    return data;
}

PictureBatches<float> open_pictures(const std::vector<std::filesystem::path>& files_and_folders,
                                    const wasi::data::Preprocessing& preprocessing, Index image, int threads,
                                    Skipped& skipped)
{
    return {wasi::pictures::list_pictures(files_and_folders, skipped),
            {wasi::data::fitted(preprocessing, image), {}, 0},
            make_workers(threads),
            skipped};
}

}  // namespace wasi_examples
