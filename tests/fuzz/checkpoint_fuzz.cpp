// libFuzzer entry for what lies beside a checkpoint's tensors: whatever config.json, preprocessor_config.json and the
// metadata say, either a wasi::error of one printable line or a configuration that makes sense, and no crash.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "wasi/files/checkpoint_config.hpp"

namespace {

using wasi::Index;

/// A header of tensors of a family, made of its own table.
[[nodiscard]] wasi::files::CheckpointHeader header_of(const wasi::files::Family& family, std::uint8_t bits)
{
    using wasi::files::Part;
    wasi::files::CheckpointHeader header;
    header.path = "fuzz";
    const auto add = [&](Part part, std::string_view suffix, std::vector<Index> shape) {
        const std::string name = name_in(family, part, 0, suffix);
        if (name.empty()) {
            return;
        }
        std::uint64_t bytes = 4;
        for (const Index extent : shape) {
            bytes *= static_cast<std::uint64_t>(extent);
        }
        header.tensors[name] = {name, 0, {wasi::io::Dtype::f32, std::move(shape), 0, bytes}};
    };
    const bool flat = (bits & 1U) != 0;
    add(Part::patches, "weight", {8, 3, 2, 2});
    add(Part::positions, "", flat ? std::vector<Index>{bits % 16, 8} : std::vector<Index>{1, bits % 16, 8});
    add(Part::norm1, "weight", {8});
    add(Part::fc1, "weight", {16, 8});
    add(Part::fc2, "weight", {8, (bits & 2U) != 0 ? 16 : 8});
    if ((bits & 4U) != 0) {
        add(Part::class_token, "", {1, 1, 8});
        add(Part::distillation_token, "", {1, 1, 8});
        add(Part::scale1, "", {8});
    }
    if ((bits & 8U) != 0) {
        add(Part::registers, "", {1, 4, 8});
        add(Part::pre_norm, "weight", {8});
    }
    if ((bits & 16U) != 0) {
        add(Part::head, "weight", {3, (bits & 32U) != 0 ? 16 : 8});
    }
    if (!family.mark.empty()) {
        header.tensors[std::string(family.mark)] = {std::string(family.mark), 0, {wasi::io::Dtype::f32, {8}, 0, 32}};
    }
    return header;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 3) {
        return 0;
    }
    auto header = header_of(wasi::files::families[data[0] % wasi::files::families.size()], data[1]);
    const std::string text(reinterpret_cast<const char*>(data) + 3, size - 3);
    // A third of the bytes each, as the third byte says: config, preprocessor, metadata.
    const auto document = [](const std::string& json) {
        auto parsed = nlohmann::json::parse(json, nullptr, false);
        return parsed.is_object() ? parsed : nlohmann::json(nullptr);
    };
    switch (data[2] % 4) {
        case 0:
            header.config = document(text);
            break;
        case 1:
            header.preprocessor = document(text);
            break;
        case 2:
            header.config = document("{\"pretrained_cfg\":" + text + "}");
            break;
        default:
            for (const char* key : {"heads", "epsilon", "gelu", "pooling", "preprocessing"}) {
                header.metadata[key] = text;
            }
    }
    try {
        const wasi::files::NamedCheckpoint named(header);
        wasi::files::facts_of(named, {}).config.check();
    } catch (const wasi::error& refused) {
        for (const char* character = refused.what(); *character != '\0'; ++character) {
            if (*character < 0x20 || *character > 0x7e) {
                std::fprintf(stderr, "message with control or non-ASCII bytes: %s\n", refused.what());
                std::abort();
            }
        }
    }
    return 0;
}
