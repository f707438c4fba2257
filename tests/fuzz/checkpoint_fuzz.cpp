// libFuzzer entry for what lies beside a checkpoint's tensors: whatever config.json, preprocessor_config.json, an index
// of shards and the metadata say, either a wasi::error of one printable line or a configuration that makes sense, and
// no crash.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
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

void fail(const char* why)
{
    std::fprintf(stderr, "%s\n", why);
    std::abort();
}

/// What is accepted can be used: pictures can be prepared, positions read.
void check_facts(const wasi::files::CheckpointFacts& facts)
{
    static_cast<void>(wasi::data::fitted(facts.preprocessing, facts.config.image));
    const Index before = facts.stored_position_rows - facts.stored_grid * facts.stored_grid;
    if (facts.stored_grid < 1 || before < 0 || before > facts.config.placed_tokens() + facts.config.registers) {
        fail("a grid that the positions are not for");
    }
}

void check_index(const std::string& text)
{
    const auto index = wasi::files::parse_index(wasi::files::parse_json(text, "fuzz/index"), "fuzz/index");
    for (const auto& [tensor, file] : index.files) {
        if (std::filesystem::path(file).has_parent_path() || file == "." || file == "..") {
            fail("a file outside the folder");
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 3) {
        return 0;
    }
    auto header = header_of(wasi::files::families[data[0] % wasi::files::families.size()], data[1]);
    const std::string text(reinterpret_cast<const char*>(data) + 3, size - 3);
    try {
        // Where the text stands, the third byte says.
        switch (data[2] % 5) {
            case 0:
                header.config = wasi::files::parse_json(text, "fuzz/config.json");
                break;
            case 1:
                header.preprocessor = wasi::files::parse_json(text, "fuzz/preprocessor_config.json");
                break;
            case 2:
                header.config = wasi::files::parse_json("{\"pretrained_cfg\":" + text + "}", "fuzz/config.json");
                break;
            case 3:
                check_index(text);
                return 0;
            default:
                for (const char* key : {"heads", "epsilon", "gelu", "pooling", "preprocessing"}) {
                    header.metadata[key] = text;
                }
        }
        const wasi::files::NamedCheckpoint named(header);
        const auto facts = wasi::files::facts_of(named, {});
        facts.config.check();
        check_facts(facts);
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
