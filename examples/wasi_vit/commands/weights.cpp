#include "commands/weights.hpp"

#include <cstdio>

namespace wasi_examples {

ModelWithOrigin load_weights(const WeightsOptions& options, wasi::Memory& memory, bool quiet,
                             const wasi::files::WeightVisitor<float, wasi::EigenStorage>& visitor)
{
    auto loaded = wasi::files::load_checkpoint<float, wasi::EigenStorage>(
        options.path, memory,
        {.heads = options.heads, .image = options.image, .train_layer_scale = options.train_layer_scale}, visitor);
    const auto& report = loaded.report;
    const bool as_usual = report.family == wasi::files::families.front().title && report.ignored.empty() &&
                          report.notes.empty();  // a file of this program's own, say
    if (!quiet && !as_usual) {
        std::printf("%s\n", loaded.report.text().c_str());
        for (const std::string& note : loaded.report.notes) {
            std::printf("  %s\n", note.c_str());
        }
    }
    return {std::move(loaded.model), loaded.report.metadata(), loaded.report.preprocessing, loaded.report.classes};
}

wasi::data::Preprocessing preprocessing_of(const std::map<std::string, std::string>& origin)
{
    const auto found = origin.find("preprocessing");
    return found == origin.end() ? wasi::data::Preprocessing::plain()
                                 : wasi::data::preprocessing_from_text(found->second);
}

void require_head(bool there)
{
    wasi::require<wasi::argument_error>(there, "--weights: the file has no head; --classes C makes one for C classes");
}

std::vector<std::string> class_names(std::vector<std::string> names, wasi::Index classes)
{
    if (std::ssize(names) != classes) {
        names.clear();
        for (wasi::Index i = 0; i < classes; ++i) {
            names.push_back(std::to_string(i));
        }
    }
    return names;
}

}  // namespace wasi_examples
