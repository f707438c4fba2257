// wasi_vit predict: what a model takes pictures for; or the logits of images in a safetensors file.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <vector>

#include <nlohmann/json.hpp>

#include <wasi/io/safetensors.hpp>
#include <wasi/measure/confusion.hpp>
#include <wasi/measure/evaluate.hpp>

#include "commands/commands.hpp"
#include "commands/data_source.hpp"
#include "commands/weights.hpp"
#include "files/output_folder.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using Json = nlohmann::ordered_json;

[[nodiscard]] Json json_of(const std::string& name, const std::vector<wasi::measure::Guess>& guesses,
                           const std::vector<std::string>& classes)
{
    Json entry{{"picture", name}, {"classes", Json::array()}};
    for (const auto& guess : guesses) {
        entry["classes"].push_back({{"class", classes[static_cast<std::size_t>(guess.label)]},
                                    {"number", guess.label},
                                    {"probability", guess.probability}});
    }
    return entry;
}

void print(const std::string& name, const std::vector<wasi::measure::Guess>& guesses,
           const std::vector<std::string>& classes)
{
    std::printf("%s\n", name.c_str());
    for (const auto& guess : guesses) {
        std::printf("  %6s  %s\n", page::percent_text(guess.probability).c_str(),
                    wasi::pictures::shown_name(classes[static_cast<std::size_t>(guess.label)]).c_str());
    }
    std::fflush(stdout);
}

/// Batch after batch: what is known is printed, and of the pictures only one batch is held.
int predict_pictures(const PredictOptions& options, ModelWithOrigin& loaded, wasi::Ledger& ledger)
{
    auto& model = *loaded.model;
    wasi::pictures::Skipped skipped;
    skipped.allowed = options.skip_broken;
    skipped.cure = "; --skip-broken on leaves out what cannot be read";
    const std::vector<std::filesystem::path> paths(options.pictures.begin(), options.pictures.end());
    const auto pictures =
        open_pictures(paths, preprocessing_of(loaded.origin), model.config().image, options.threads, skipped);
    tell_skipped(skipped, stderr);
    const auto classes = class_names(loaded.classes, model.config().classes);
    const wasi::autograd::Context<float, wasi::EigenStorage> context{ledger, nullptr};
    Json json = Json::array();
    for (Index first = 0; first < pictures.size(); first += options.batch_size) {
        std::vector<Index> which(static_cast<std::size_t>(std::min(options.batch_size, pictures.size() - first)));
        std::iota(which.begin(), which.end(), first);
        const auto logits = model.forward(context, wasi::nn::Source<float>([&](wasi::Memory& memory) {
                                              return pictures.gather(which, wasi::RandomKey(0), memory);
                                          }));
        const auto width = static_cast<std::size_t>(model.config().classes);
        for (std::size_t i = 0; i < which.size(); ++i) {
            const auto guesses = wasi::measure::likeliest(logits.value().span().subspan(i * width, width), options.top);
            if (options.json) {
                json.push_back(json_of(pictures.name(which[i]), guesses, classes));
            } else {
                print(pictures.name(which[i]), guesses, classes);
            }
        }
    }
    if (options.json) {
        std::printf("%s\n", json.dump(1, ' ', false, Json::error_handler_t::replace).c_str());
    }
    return 0;
}

int predict_tensors(const PredictOptions& options, ModelWithOrigin& loaded)
{
    auto data = load_images(options.images);
    data.labels.assign(static_cast<std::size_t>(data.count), 0);  // not read by predict; the check wants one an image
    data.check(loaded.model->config().classes);
    const wasi::Tensor<float> logits =
        wasi::measure::predict(*loaded.model, data, std::min(options.batch_size, data.count));
    wasi::io::write_safetensors(options.out, {{"logits", {logits.shape()[0], logits.shape()[1]}, logits.span()}}, {});
    return 0;
}

}  // namespace

int predict(const PredictOptions& options)
{
    using wasi::argument_error;
    wasi::require<argument_error>(options.images.empty() != options.pictures.empty(),
                                  "predict: name pictures or folders, or a file by --images");
    wasi::require<argument_error>(options.images.empty() == options.out.empty(),
                                  "--out is the file for the logits of --images, and they need one");
    if (!options.out.empty()) {
        check_file(options.out);
    }
    use_threads(options.threads);
    wasi::Ledger ledger;
    auto loaded =
        load_weights({options.weights, options.heads, false}, ledger, !options.images.empty() || options.json);
    require_head(loaded.model->config().head);
    return options.images.empty() ? predict_pictures(options, loaded, ledger) : predict_tensors(options, loaded);
}

}  // namespace wasi_examples
