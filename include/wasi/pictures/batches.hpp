#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/data/batches.hpp"
#include "wasi/pictures/look.hpp"

namespace wasi::pictures {

/// Pictures as data::Batches: kept as bytes or decoded when they are asked for, resized, cut, changed at random, and
/// made numbers only for the batch that is asked for:
///
///     batch(b, c, y, x) = (pixel / 255 - mean_c) / std_c,     (B, 3, crop, crop)
///
/// A batch is a pure function of the examples and the key, for any number of workers and whatever is kept. Of what was
/// gathered last and of what is expected next (`expect`) the pixels are held as bytes, so that asking again costs
/// nothing, and the next batch is made while the caller computes. Move-only. Thread safety: const calls may come from
/// any thread.
template <Scalar T>
class PictureBatches {
public:
    /// Looks at every example once, see look_at_all. Throws io_error, and argument_error for options out of range.
    PictureBatches(Examples examples, const PictureOptions& options, std::shared_ptr<Workers> workers, Skipped& skipped)
        : workers_(std::move(workers)), stages_(std::make_unique<Stages>())
    {
        options.augmentation.check();
        require<argument_error>(options.preprocessing.crop >= 1, "PictureBatches: the preprocessing is not fitted");
        require<argument_error>(!examples.which.empty(), "PictureBatches: there are no examples");
        auto looked = std::make_shared<LookedAt>(look_at_all(std::move(examples), options, *workers_, skipped));
        core_ = std::make_shared<const Core>(Core{std::move(looked), options});
    }

    /// The same pictures, and what is kept of them, without changes at random.
    [[nodiscard]] PictureBatches plain() const
    {
        PictureOptions options = core_->options;
        options.augmentation = {};
        return PictureBatches(std::make_shared<const Core>(Core{core_->looked, options}), workers_);
    }

    [[nodiscard]] Index size() const { return std::ssize(core_->looked->examples.which); }
    /// The sound ones.
    [[nodiscard]] const Examples& examples() const { return core_->looked->examples; }
    [[nodiscard]] std::string name(Index i) const
    {
        return examples().source->name(examples().which[static_cast<std::size_t>(i)]);
    }
    /// Other for other files, labels or order.
    [[nodiscard]] std::uint64_t fingerprint() const { return core_->looked->fingerprint; }
    [[nodiscard]] std::size_t kept_bytes() const { return core_->looked->kept_bytes; }
    [[nodiscard]] std::size_t kept() const { return core_->looked->kept.size(); }

    /// Held for as long as it lives; that of a source that several share is counted by each.
    [[nodiscard]] std::size_t bytes() const
    {
        return kept_bytes() + examples().source->bytes() +
               static_cast<std::size_t>(size()) * (sizeof(Index) + sizeof(std::int64_t));
    }
    /// Taken besides while a batch is made, by each thread at work the largest picture.
    [[nodiscard]] std::size_t decoding_bytes() const
    {
        return static_cast<std::size_t>(workers_->count() + 1) * core_->looked->working;
    }
    /// And held from the first batch of this size on: two batches of bytes, until the last copy of it is gone.
    [[nodiscard]] std::size_t staged_bytes(Index batch) const
    {
        return 2 * static_cast<std::size_t>(std::min(batch, size())) * core_->bytes_of_one();
    }
    /// Both.
    [[nodiscard]] std::size_t working_bytes(Index batch) const { return decoding_bytes() + staged_bytes(batch); }

    /// As data::Batches has it. Numbers are not checked. Throws io_error where a file has changed since it was looked
    /// at.
    [[nodiscard]] Tensor<T> gather(std::span<const Index> which, RandomKey key, Memory& memory) const
    {
        const Staged staged = current(which, key);
        Workers::finish(*staged.job);
        const Index side = core_->options.preprocessing.crop;
        const Index plane = side * side;
        const auto count = std::ssize(which);
        const auto numbers = values_of_bytes();
        Tensor<T> batch(memory, Tag{Use::input, 0}, Shape{count, 3, side, side});
        T* const to = batch.data();
        parallel_for(count, [&](Index i) {
            const std::uint8_t* pixel = staged.stage->pixels.data() + 3 * plane * i;
            T* const own = to + 3 * plane * i;
            for (Index at = 0; at < plane; ++at, pixel += 3) {
                for (Index c = 0; c < 3; ++c) {
                    own[c * plane + at] = numbers[static_cast<std::size_t>(c)][pixel[c]];
                }
            }
        });
        return batch;
    }

    /// As data::expect has it. Does nothing without workers.
    void expect(std::span<const Index> which, RandomKey key) const
    {
        const std::lock_guard lock(stages_->mutex);
        if (workers_->count() > 0 && !stages_->now.is(which, key) && !stages_->next.is(which, key)) {
            stages_->next = begin(which, key);
        }
    }

    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const Index> which) const
    {
        std::vector<std::int64_t> result;
        for (const Index i : which) {
            result.push_back(examples().labels[static_cast<std::size_t>(i)]);
        }
        return result;
    }

    /// Throws argument_error where a label is no class.
    void check(Index classes) const
    {
        for (Index i = 0; i < size(); ++i) {
            const std::int64_t label = examples().labels[static_cast<std::size_t>(i)];
            if (label < 0 || label >= classes) {
                throw argument_error(message(name(i), ": its class is number ", label, ", of a model with ", classes));
            }
        }
    }

private:
    /// What never changes, and workers may hold on to.
    struct Core {
        std::shared_ptr<const LookedAt> looked;
        PictureOptions options;

        [[nodiscard]] std::size_t bytes_of_one() const
        {
            const auto side = static_cast<std::size_t>(options.preprocessing.crop);
            return 3 * side * side;
        }

        /// Example i as it goes into a batch.
        [[nodiscard]] Picture picture(Index i, RandomKey key) const
        {
            const auto at = static_cast<std::size_t>(i);
            const RandomKey own = key.derive(i);
            if (at < looked->kept.size()) {
                const Picture& kept = looked->kept[at];
                if (looked->kept_whole) {
                    return augmented(kept.view(), options.preprocessing, options.augmentation, own);
                }
                Picture copy(kept.size());
                std::copy_n(kept.data(), kept.bytes(), copy.row(0));
                change_at_random(copy, options.augmentation, own);
                return copy;
            }
            const Source& source = *looked->examples.source;
            const Index number = looked->examples.which[at];
            const Picture whole = source.decode(number, source.read(number), 8);
            return augmented(whole.view(), options.preprocessing, options.augmentation, own);
        }
    };

    /// A batch as bytes, on its way or there.
    struct Stage {
        std::vector<Index> which;
        RandomKey key;
        std::vector<std::uint8_t> pixels;

        [[nodiscard]] bool is(std::span<const Index> other, RandomKey with) const
        {
            return key.value() == with.value() && std::equal(which.begin(), which.end(), other.begin(), other.end());
        }
    };
    /// With the work on it, which holds the stage for as long as it needs it.
    struct Staged {
        std::shared_ptr<Stage> stage;
        std::shared_ptr<Workers::Job> job;

        [[nodiscard]] bool is(std::span<const Index> which, RandomKey key) const
        {
            return stage != nullptr && stage->is(which, key);
        }
    };
    struct Stages {
        std::mutex mutex;
        Staged now;
        Staged next;
    };

    PictureBatches(std::shared_ptr<const Core> core, std::shared_ptr<Workers> workers)
        : core_(std::move(core)), workers_(std::move(workers)), stages_(std::make_unique<Stages>())
    {
    }

    [[nodiscard]] Staged begin(std::span<const Index> which, RandomKey key) const
    {
        auto stage = std::make_shared<Stage>(Stage{{which.begin(), which.end()}, key, {}});
        stage->pixels.resize(which.size() * core_->bytes_of_one());
        auto job = workers_->begin(std::ssize(which), [core = core_, stage](Index i) {
            const Picture picture = core->picture(stage->which[static_cast<std::size_t>(i)], stage->key);
            std::copy_n(picture.data(), picture.bytes(),
                        stage->pixels.begin() + i * static_cast<std::ptrdiff_t>(core->bytes_of_one()));
        });
        return {std::move(stage), std::move(job)};
    }

    /// This batch, begun if nobody has; it is the one of now from here on.
    [[nodiscard]] Staged current(std::span<const Index> which, RandomKey key) const
    {
        const std::lock_guard lock(stages_->mutex);
        if (!stages_->now.is(which, key)) {
            const bool expected = stages_->next.is(which, key);
            stages_->now = expected ? std::exchange(stages_->next, {}) : begin(which, key);
        }
        return stages_->now;
    }

    /// (v / 255 - mean) / std for every v and colour.
    [[nodiscard]] std::array<std::array<T, 256>, 3> values_of_bytes() const
    {
        std::array<std::array<T, 256>, 3> values{};
        const data::Preprocessing& how = core_->options.preprocessing;
        for (std::size_t c = 0; c < 3; ++c) {
            for (std::size_t v = 0; v < 256; ++v) {
                values[c][v] = static_cast<T>((static_cast<double>(v) / 255.0 - how.mean[c]) / how.std[c]);
            }
        }
        return values;
    }

    std::shared_ptr<const Core> core_;
    std::shared_ptr<Workers> workers_;
    std::unique_ptr<Stages> stages_;
};

}  // namespace wasi::pictures
