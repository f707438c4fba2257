#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <zlib.h>

#include "wasi/core/word_hash.hpp"
#include "wasi/pictures/folder.hpp"
#include "wasi/pictures/transform.hpp"
#include "wasi/pictures/workers.hpp"

namespace wasi::pictures {

/// How pictures become batches.
struct PictureOptions {
    data::Preprocessing preprocessing;  ///< fitted to the model
    Augmentation augmentation;
    /// Bytes that pictures may be kept in, so that they need not be decoded again: as many as fit, from the first on.
    std::size_t cache_bytes = 0;
};

/// What is known of examples once each has been looked at.
struct LookedAt {
    Examples examples;  ///< the sound ones
    /// The first of them: cut to their middle, or whole where a random part is to be cut from them.
    std::vector<Picture> kept;
    bool kept_whole = false;
    std::uint64_t fingerprint = 0;  ///< of bytes as stored, sizes, labels and their order
    std::size_t working = 0;        ///< bytes that the largest takes from its file to its batch
    std::size_t kept_bytes = 0;
};

namespace detail {

/// What one example turned out to be.
struct Look {
    std::uint64_t sum = 0;  ///< of its bytes
    std::size_t working = 0;
    std::size_t whole = 0;  ///< bytes of all its pixels
    Picture kept;
    std::string broken;  ///< why; empty: it is sound
};

[[nodiscard]] inline std::size_t picture_bytes(Size size)
{
    constexpr std::size_t around = sizeof(Picture) + 16;  // the object, and what an allocator keeps
    return 3 * static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.height) + around;
}

/// Bytes that resizing takes beside its input: rows of the new width, a row in lanes of 32 bits, the result.
[[nodiscard]] inline std::size_t resize_bytes(Size from, Index crop)
{
    constexpr std::size_t lanes = 32;
    return 3 * static_cast<std::size_t>(crop) * static_cast<std::size_t>(from.height + 5 * crop) +
           lanes * static_cast<std::size_t>(from.width) + std::size_t{12} * static_cast<std::size_t>(from.width);
}

[[nodiscard]] inline Look look(const Examples& examples, Index i, const PictureOptions& options, bool keep)
{
    Look result;
    const Source& source = *examples.source;
    const Index number = examples.which[static_cast<std::size_t>(i)];
    try {
        const auto bytes = source.read(number);
        result.sum = crc32_z(0, bytes.data(), bytes.size()) | std::uint64_t{bytes.size()} << 32U;
        const Header header = source.header(number, bytes);
        result.whole = picture_bytes(header.size);
        result.working = bytes.size() + header.bytes_to_decode + resize_bytes(header.size, options.preprocessing.crop);
        // All of its data are read; an eighth of its pixels is enough to see that they are sound.
        const Picture picture = source.decode(number, bytes, keep ? 8 : 1);
        if (keep) {
            result.kept = prepare(picture.view(), options.preprocessing);
        }
    } catch (const io_error& failure) {
        result.broken = failure.what();
    }
    return result;
}

/// The whole pictures of the first examples, as many as fit.
inline void keep_whole(LookedAt& result, const std::vector<Look>& looks, std::size_t most, Workers& workers)
{
    result.kept_whole = true;
    for (std::size_t i = 0; i < looks.size() && looks[i].whole <= most - result.kept_bytes; ++i) {
        result.kept_bytes += looks[i].whole;
        result.kept.emplace_back();
    }
    const Examples& examples = result.examples;
    workers.run(std::ssize(result.kept), [&](Index i) {
        const Index number = examples.which[static_cast<std::size_t>(i)];
        const auto bytes = examples.source->read(number);
        result.kept[static_cast<std::size_t>(i)] = examples.source->decode(number, bytes, 8);
    });
}

}  // namespace detail

/// Reads and decodes every example once, on all workers: so what is broken is known before anything is learned. It goes
/// to `skipped`, in order. Keeps as many pictures as may be kept. Throws io_error where something is broken and may not
/// be skipped, or where nothing sound is left of a class. Cost: each file read once, and decoded at an eighth of its
/// size unless it is kept.
[[nodiscard]] inline LookedAt look_at_all(Examples examples, const PictureOptions& options, Workers& workers,
                                          Skipped& skipped)
{
    const auto count = std::ssize(examples.which);
    const std::size_t middle = detail::picture_bytes({options.preprocessing.crop, options.preprocessing.crop});
    const bool whole = options.augmentation.crop;
    const Index may_keep = whole ? 0 : std::min<Index>(count, static_cast<Index>(options.cache_bytes / middle));
    std::vector<detail::Look> looks(static_cast<std::size_t>(count));
    workers.run(
        count, [&](Index i) { looks[static_cast<std::size_t>(i)] = detail::look(examples, i, options, i < may_keep); });

    LookedAt result;
    WordHash hash;
    std::vector<Index> sound;
    std::vector<detail::Look> sound_looks;
    const std::set<std::int64_t> classes(examples.labels.begin(), examples.labels.end());
    std::set<std::int64_t> left;
    for (Index i = 0; i < count; ++i) {
        auto& one = looks[static_cast<std::size_t>(i)];
        if (!one.broken.empty()) {
            skipped.note(one.broken);
            continue;
        }
        const std::int64_t label = examples.labels[static_cast<std::size_t>(i)];
        hash.mix(one.sum);
        hash.mix(static_cast<std::uint64_t>(label));
        left.insert(label);
        result.working = std::max(result.working, one.working);
        if (i < may_keep) {
            result.kept.push_back(std::move(one.kept));
        }
        sound.push_back(i);
        sound_looks.push_back(std::move(one));
    }
    for (const std::int64_t label : classes) {
        const auto at = static_cast<std::size_t>(label);
        require<io_error>(left.contains(label), "class ", label,
                          at < examples.classes.size() ? " (" + shown_name(examples.classes[at]) + ")" : "",
                          ": none of its pictures can be read");
    }
    result.fingerprint = hash.value();
    result.kept_bytes = result.kept.size() * middle;
    result.examples = std::ssize(sound) == count ? std::move(examples) : examples.part(sound);
    if (whole) {
        detail::keep_whole(result, sound_looks, options.cache_bytes, workers);
    }
    return result;
}

}  // namespace wasi::pictures
