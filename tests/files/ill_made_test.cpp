// What lies beside a checkpoint's tensors may lie: each is an error of one line that names the file and what is wrong.
// All ill-made inputs, and where each is tested: docs/ill_made.md.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <support/files.hpp>
#include <support/models.hpp>
#include <wasi/files/load_checkpoint.hpp>

namespace {

using namespace wasi_tests;
using std::filesystem::path;

[[nodiscard]] path golden_folder(const std::string& name)
{
    return path(WASI_TEST_DATA) / "golden" / "checkpoints" / name;
}

/// What loading a copy of a golden folder says, once `edit` has been at it.
[[nodiscard]] std::string refusal(const std::string& golden, const std::function<void(const path&)>& edit)
{
    const TemporaryFolder folder;
    const path own = folder / "m";
    std::filesystem::copy(golden_folder(golden), own);
    edit(own);
    return message_of<wasi::error>(
        [&] { (void)wasi::files::load_checkpoint<float, EigenStorage>(own, wasi::plain_memory(), {.heads = 2}); });
}

/// A document in place of the one that the folder has, and what is said of it.
struct Row {
    std::string golden;
    std::string file;
    std::string text;
    std::string says;
};

void check(const Row& row)
{
    CAPTURE(row.golden);
    CAPTURE(row.text.substr(0, 200));
    const std::string said = refusal(row.golden, [&](const path& folder) { write_bytes(folder / row.file, row.text); });
    CHECK_MESSAGE(has(said, row.file + ": " + row.says), said);
    CHECK(said.find('\n') == std::string::npos);
    CHECK(said.size() < 400);
}

[[nodiscard]] std::string nested(std::size_t depth)
{
    return std::string(depth, '[') + std::string(depth, ']');
}

[[nodiscard]] std::string changed(std::string text, const std::string& from, const std::string& to)
{
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

TEST_CASE("ill-made: config.json")
{
    const std::string config = "config.json";
    const auto vit = [&](const std::string& text, const std::string& says) { check({"hf_vit", config, text, says}); };
    vit("", "is not a JSON object");
    vit("hello", "is not a JSON object: byte 1, near 'h'");
    vit("[1]", "is not a JSON object");
    vit("{\"a\": 1", "is not a JSON object");
    vit("{\"a\": NaN}", "is not a JSON object");
    vit("{\"a\": 1e999}", "is not a JSON object");
    vit("{\"a\": \"\xff\"}", "is not a JSON object");
    vit(std::string("{}\0{", 4), "is not a JSON object: it holds a zero byte");
    vit("{\"a\": " + nested(2000000) + "}", "has values within values more than 64 deep");
    vit("{\"b\": {\"a\\n\": 1, \"a\\n\": 2}}", "the key 'a\\x0a' appears twice");
    vit(R"({"hidden_size": 99999999999999999999999})",
        "hidden_size is 9.999999999999999e+22, a positive number is expected");
    vit(R"({"hidden_size": 18446744073709551615})", "hidden_size is 18446744073709551615, a positive number");
    vit(R"({"hidden_size": 16.0})", "hidden_size is 16.0, a positive number");
    vit(R"({"hidden_size": "16"})", "hidden_size is \"16\", a positive number");
    vit(R"({"hidden_size": [16]})", "hidden_size is [16], a positive number");
    vit(R"({"hidden_act": 5})", "hidden_act is 5, a word is expected");
    vit(R"({"hidden_act": ["gelu"]})", "hidden_act is [\"gelu\"], a word is expected");
    vit(R"({"global_pool": {}})", "global_pool is {}, a word is expected");
    vit(R"({"image_size": "12"})", "image_size is \"12\", a positive number");
    vit(R"({"image_size": [12, 16]})", "image_size is [12,16], a square is expected");
    vit(R"({"image_size": [12, -12]})", "image_size is [12,-12], a square is expected");
    vit(R"({"input_size": [3, 4611686018427387904, 4611686018427387904]})", "input_size is 4611686018427387904, a pos");
    vit(R"({"layer_norm_eps": {}})", "layer_norm_eps is {}");
    const auto timm = [&](const std::string& cfg, const std::string& says) {
        check({"timm_vit", config, "{\"pretrained_cfg\": {" + cfg + "}}", says});
    };
    timm(R"("input_size": [3, 12, -7])", "input_size is [3,12,-7], a square is expected");
    timm(R"("mean": "0.5")", "mean is \"0.5\", three numbers are expected");
    timm(R"("std": [0, 0, 0])", "Preprocessing: std is 0");
    timm(R"("crop_pct": "all")", "crop_pct is \"all\", a share above 0.1 is expected");
    timm(R"("crop_pct": 0)", "crop_pct is 0, a share above 0.1 is expected");
    timm(R"("interpolation": "nearest")", "interpolation is \"nearest\", bilinear and bicubic are supported");
    // Numbers that are checked with the whole of the model name the folder.
    const std::string epsilon = refusal(
        "hf_vit", [](const path& folder) { write_bytes(folder / "config.json", R"({"layer_norm_eps": 1e308})"); });
    CHECK_MESSAGE(has(epsilon, "/m: VisionTransformerConfig: epsilon is 1e+308"), epsilon);
}

TEST_CASE("ill-made: a config.json whose image is none that the positions are for")
{
    // Nine positions, four registers: of nine patches, or of four and five tokens before them.
    const TemporaryFolder folder;
    wasi::files::CheckpointHeader header;
    header.path = folder.path();
    const auto& family = wasi::files::family_named("dinov2");
    const auto add = [&](wasi::files::Part part, std::string_view suffix, std::vector<Index> shape) {
        std::uint64_t bytes = 4;
        for (const Index extent : shape) {
            bytes *= static_cast<std::uint64_t>(extent);
        }
        const std::string name = name_in(family, part, 0, suffix);
        header.tensors[name] = {name, 0, {wasi::io::Dtype::f32, std::move(shape), 0, bytes}};
    };
    using wasi::files::Part;
    add(Part::patches, "weight", {8, 3, 2, 2});
    add(Part::positions, "", {1, 9, 8});
    add(Part::class_token, "", {1, 1, 8});
    add(Part::registers, "", {1, 4, 8});
    add(Part::norm1, "weight", {8});
    add(Part::fc1, "weight", {16, 8});
    add(Part::fc2, "weight", {8, 16});
    add(Part::scale1, "", {8});
    const wasi::files::NamedCheckpoint named(header);
    const auto facts = [&] { return wasi::files::facts_of(named, {.heads = 2}); };
    CHECK(has(message_of<wasi::io_error>([&] { (void)facts(); }), "may be for a grid of 2 or of 3: a config.json"));
    header.config = nlohmann::json::parse(R"({"image_size": 6})");
    CHECK(facts().stored_grid == 3);
    header.config = nlohmann::json::parse(R"({"image_size": 4})");
    CHECK(facts().stored_grid == 2);
    header.config = nlohmann::json::parse(R"({"image_size": 400})");
    const std::string said = message_of<wasi::io_error>([&] { (void)facts(); });
    CHECK_MESSAGE(has(said, "config.json: an image of 400 pixels, for which embeddings.position_embeddings"), said);
}

TEST_CASE("ill-made: preprocessor_config.json")
{
    const auto row = [&](const std::string& text, const std::string& says) {
        check({"hf_vit", "preprocessor_config.json", text, says});
    };
    row("", "is not a JSON object");
    row("{\"size\": {\"height\": " + nested(300000) + ", \"width\": " + nested(300000) + "}}",
        "has values within values");
    row(R"({"size": 99999999999})", "size is 99999999999, a positive number");
    row(R"({"size": -1})", "size is -1, a positive number");
    row(R"({"size": 12.0})", "size is 12.0, a positive number");
    row(R"({"size": {"shortest_edge": "all"}})", "size is \"all\", a positive number");
    row(R"({"size": {"height": 12}})", "size is {\"height\":12}, a square is expected");
    row(R"({"size": 8, "crop_size": 12})", "Preprocessing: a crop of 12 pixels of a picture that is resized to 8");
    row(R"({"image_mean": [0, 1e300, 0]})", "Preprocessing: mean is 1e+300");
    row(R"({"image_std": [1, 0, 1]})", "Preprocessing: std is 0");
    row(R"({"image_std": [1, 1]})", "image_std is [1,1], three numbers are expected");
    row(R"({"resample": "cubic"})", "resample is \"cubic\", 2 (bilinear) and 3 (bicubic) are supported");
    row(R"({"resample": 4294967298})", "resample is 4294967298, 2 (bilinear) and 3 (bicubic) are supported");
    row(R"({"do_normalize": "no"})", "do_normalize is \"no\", true or false is expected");
}

TEST_CASE("ill-made: an index of shards")
{
    const std::string name = "model.safetensors.index.json";
    const std::string good = bytes_of_file(golden_folder("hf_vit_shards") / name);
    const auto row = [&](const std::string& text, const std::string& says) {
        check({"hf_vit_shards", name, text, says});
    };
    row("", "is not a JSON object");
    row("{\"weight_map\": " + nested(1000000) + "}", "has values within values");
    row("{\"weight_map\": {}}", "has no weight_map of tensors and files");
    row(changed(good, "\"weight_map\": {",
                "\"weight_map\": {\"classifier.bias\": \"model-00002-of-00002.safetensors\","),
        "the key 'classifier.bias' appears twice");
    const std::string size = "\"total_size\": 21580";
    row(changed(good, size, "\"total_size\": 21576"), "metadata.total_size is 21576, the tensors have 21580 bytes");
    row(changed(good, size, "\"total_size\": 0"), "metadata.total_size is 0, the tensors have 21580 bytes");
    row(changed(good, size, "\"total_size\": -1"), "metadata.total_size is -1, bytes are expected");
    row(changed(good, size, "\"total_size\": \"21580\""), "metadata.total_size is \"21580\", bytes are expected");
    row(changed(good, size, "\"total_size\": 21580.5"), "metadata.total_size is 21580.5, bytes are expected");
    row(changed(good, size, "\"total_size\": 1e300"), "metadata.total_size is 1e+300, bytes are expected");
    const auto fine = [&](const std::string& text) {
        return refusal("hf_vit_shards", [&](const path& folder) { write_bytes(folder / name, text); });
    };
    CHECK(fine(changed(good, size, "\"total_size\": 21580.0")) == "(nothing was thrown)");
    CHECK(fine(changed(good, "\"total_size\"", "\"size\"")) == "(nothing was thrown)");
}

TEST_CASE("ill-made: files of a checkpoint that are no files")
{
    const auto replaced = [](const std::string& name, const std::function<void(const path&)>& make) {
        return refusal("hf_vit", [&](const path& folder) {
            std::filesystem::remove(folder / name);
            make(folder / name);
        });
    };
    const auto link = [](const std::string& target) {
        return [target](const path& file) { std::filesystem::create_symlink(target, file); };
    };
    const auto pipe = [](const path& file) { REQUIRE(::mkfifo(file.c_str(), 0600) == 0); };
    const auto folder = [](const path& file) { std::filesystem::create_directory(file); };
    for (const std::string name : {"config.json", "preprocessor_config.json"}) {
        CAPTURE(name);
        const std::string says = name + ": is no file of at most 67108864 bytes";
        CHECK(has(replaced(name, link("nowhere")), says));
        CHECK(has(replaced(name, link(name)), says));
        CHECK(has(replaced(name, pipe), says));
        CHECK(has(replaced(name, folder), says));
    }
    const std::string model = "model.safetensors";
    CHECK(has(replaced(model, link("nowhere")), model + ": cannot be opened: No such file"));
    CHECK(has(replaced(model, link(model)), model + ": cannot be opened: Too many levels"));
    CHECK(has(replaced(model, pipe), model + ": is not a regular file"));
    CHECK(has(replaced(model, folder), model + ": is not a regular file"));
    CHECK(has(replaced(model, [](const path&) {}), "/m: has neither model.safetensors nor"));
}

}  // namespace
