// Pictures a second on one core: from files in the page cache to what a model takes, decoded, resized and normalised.
//   bench_pictures_decode              on pictures that it makes: 32 x 32, and 12 megapixels
//   WASI_PICTURES=FOLDER bench_...     on those of a folder of classes besides
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <wasi/pictures/batches.hpp>

#include "../../tests/pictures/made_files.hpp"

namespace {

using wasi::Index;
using namespace wasi::pictures;

/// Pictures of one kind in a folder of their own, removed at the end.
class Made {
public:
    Made(const std::string& name, int width, int height, int count)
        : path_(std::filesystem::temp_directory_path() / ("wasi_bench_pictures_" + name))
    {
        for (int i = 0; i < count; ++i) {
            wasi_tests::write_in(path_ / "class" / (std::to_string(i) + ".jpg"),
                                 wasi_tests::small_jpeg(width, height, static_cast<unsigned int>(i)));
        }
    }
    Made(const Made&) = delete;
    Made& operator=(const Made&) = delete;
    ~Made()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

[[nodiscard]] const std::filesystem::path& folder_of(const std::string& kind)
{
    if (kind == "given") {
        static const std::filesystem::path given(std::getenv("WASI_PICTURES"));
        return given;
    }
    static const Made small("small", 32, 32, 512);
    static const Made large("large", 4000, 3000, 2);
    return kind == "small" ? small.path() : large.path();
}

/// Batches through a data set without workers: one core.
void batches(benchmark::State& state, const std::string& kind, Index image, Index batch, bool crop)
{
    const wasi::SerialScope serial;
    Skipped skipped;
    skipped.allowed = true;
    PictureOptions options;
    options.preprocessing = wasi::data::fitted(wasi::data::Preprocessing::plain(), image);
    options.augmentation.crop = crop;
    const PictureBatches<float> data(list_folder(folder_of(kind), skipped).training, options,
                                     std::make_shared<Workers>(0), skipped);
    wasi::Ledger memory;
    std::vector<Index> which(static_cast<std::size_t>(batch));
    Index next = 0;
    for ([[maybe_unused]] auto _ : state) {
        for (Index& one : which) {
            one = next;
            next = (next + 37) % data.size();
        }
        benchmark::DoNotOptimize(data.gather(which, wasi::RandomKey(static_cast<std::uint64_t>(next)), memory).data());
    }
    state.SetItemsProcessed(state.iterations() * batch);
}

}  // namespace

int main(int count, char** arguments)
{
    const auto add = [](const std::string& name, const std::string& kind, Index image, Index batch, bool crop) {
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
            batches(state, kind, image, batch, crop);
        })->Unit(benchmark::kMillisecond);
    };
    add("made_32_to_32", "small", 32, 32, false);
    add("made_32_to_98", "small", 98, 32, false);
    add("made_32_to_98_crop", "small", 98, 32, true);
    add("made_12_megapixels_to_224", "large", 224, 1, false);
    if (std::getenv("WASI_PICTURES") != nullptr) {
        add("given_to_32", "given", 32, 32, false);
        add("given_to_98", "given", 98, 32, false);
        add("given_to_224", "given", 224, 32, false);
    }
    benchmark::Initialize(&count, arguments);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
