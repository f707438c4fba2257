// Checkpoints as they lie about: prefixes, shards, what is left over, missing or refused; heads; positions; memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <support/files.hpp>
#include <support/models.hpp>
#include <wasi/files/export_checkpoint.hpp>

namespace {

using namespace wasi_tests;
namespace files = wasi::files;
namespace nn = wasi::nn;
using std::filesystem::path;

[[nodiscard]] path golden_model(const std::string& name)
{
    return path(WASI_TEST_DATA) / "golden" / "checkpoints" / name / "model.safetensors";
}

/// The tensors of a file, to be changed and written again.
struct Tensors {
    struct Tensor {
        std::vector<Index> shape;
        std::vector<float> values;
    };
    std::map<std::string, Tensor> all;
    std::map<std::string, std::string> metadata;

    explicit Tensors(const path& from)
    {
        const wasi::io::SafetensorsFile file(from);
        metadata = file.metadata();
        for (const std::string& name : file.names()) {
            all[name] = {file.info(name).shape, read_values<float>(file, name)};
        }
    }
    void rename(const std::function<std::string(const std::string&)>& change)
    {
        std::map<std::string, Tensor> renamed;
        for (auto& [name, tensor] : all) {
            renamed[change(name)] = std::move(tensor);
        }
        all = std::move(renamed);
    }
    void write(const path& to) const
    {
        std::vector<wasi::io::TensorToWrite> tensors;
        for (const auto& [name, tensor] : all) {
            tensors.push_back({name, tensor.shape, std::span<const float>(tensor.values)});
        }
        wasi::io::write_safetensors(to, tensors, metadata);
    }
};

[[nodiscard]] auto load(const path& from, const files::LoadOptions& options = {})
{
    return files::load_checkpoint<float, EigenStorage>(from, wasi::plain_memory(), options);
}

[[nodiscard]] bool notes(const files::LoadReport& report, const std::string& part)
{
    return std::any_of(report.notes.begin(), report.notes.end(),
                       [&](const std::string& note) { return has(note, part); });
}

template <class Error>
[[nodiscard]] std::string refusal(const path& from, const files::LoadOptions& options = {})
{
    return message_of<Error>([&] { (void)load(from, options); });
}

TEST_CASE("checkpoints: prefixes are cut off, a head may be called otherwise, counters are ignored, and it is said")
{
    const TemporaryFolder folder;
    const auto plain = load(golden_model("torchvision"));
    const auto wanted = snapshot(*plain.model);
    for (const std::string prefix : {"module.", "_orig_mod.", "model.", "module._orig_mod.", "model.model."}) {
        CAPTURE(prefix);
        Tensors tensors(golden_model("torchvision"));
        tensors.rename([&](const std::string& name) { return prefix + name; });
        tensors.write(folder / "a");
        const auto loaded = load(folder / "a");
        CHECK(snapshot(*loaded.model) == wanted);
        CHECK(has(loaded.report.notes.back(), "is cut off the names"));
    }
    Tensors tensors(golden_model("torchvision"));
    tensors.rename(
        [](const std::string& name) { return name.starts_with("heads.head.") ? "heads." + name.substr(11) : name; });
    const std::vector<std::int64_t> counter{7};
    tensors.write(folder / "a");
    CHECK(snapshot(*load(folder / "a").model) == wanted);

    std::vector<wasi::io::TensorToWrite> with_counter;
    for (const auto& [name, tensor] : tensors.all) {
        with_counter.push_back({name, tensor.shape, std::span<const float>(tensor.values)});
    }
    with_counter.push_back({"num_batches_tracked", {}, std::span<const std::int64_t>(counter)});
    wasi::io::write_safetensors(folder / "a", with_counter, tensors.metadata);
    const auto loaded = load(folder / "a");
    CHECK(loaded.report.text() == "torchvision: loaded 32 of 33 tensors, ignored 1 (num_batches_tracked)");
}

TEST_CASE("checkpoints: without a head the features come, and a new head is made")
{
    const TemporaryFolder folder;
    Tensors tensors(golden_model("torchvision"));
    std::erase_if(tensors.all, [](const auto& entry) { return entry.first.starts_with("heads"); });
    tensors.write(folder / "a");
    auto loaded = load(folder / "a");
    CHECK_FALSE(loaded.model->config().head);
    CHECK(has(loaded.report.notes.front(), "there is no head: the result is its input, 16 features"));
    loaded.model->replace_head(7);
    files::save_model(*loaded.model, folder / "b", loaded.report.metadata());
    CHECK(load(folder / "b").model->config().classes == 7);
}

TEST_CASE("checkpoints: what is left over is listed, at most ten of them, and what is missing is named")
{
    const TemporaryFolder folder;
    Tensors tensors(golden_model("timm_vit"));
    tensors.metadata["heads"] = "2";
    const auto good = tensors;
    tensors.all["blocks.0.extra"] = {{1}, {0.0F}};
    tensors.write(folder / "a");
    CHECK(has(refusal<wasi::io_error>(folder / "a"), "a: tensor blocks.0.extra does not belong to this model (timm)"));
    for (int i = 0; i < 14; ++i) {
        tensors.all["x" + std::to_string(10 + i)] = {{1}, {0.0F}};
    }
    tensors.write(folder / "a");
    CHECK(has(refusal<wasi::io_error>(folder / "a"), "x18 and 5 more do not belong"));

    // A part of a checkpoint is no model: a tensor, half a block, the last block of those that config.json counts.
    for (const std::string missing : {"pos_embed", "blocks.0.attn.qkv.weight", "blocks.1.mlp.fc2.weight"}) {
        CAPTURE(missing);
        tensors = good;
        tensors.all.erase(missing);
        tensors.write(folder / "a");
        CHECK(has(refusal<wasi::io_error>(folder / "a"), missing));
    }
    tensors = good;
    std::erase_if(tensors.all, [](const auto& entry) { return entry.first.starts_with("blocks.1."); });
    std::filesystem::create_directory(folder / "d");
    tensors.write(folder / "d" / "model.safetensors");
    write_bytes(folder / "d" / "config.json", R"({"num_hidden_layers": 2, "num_attention_heads": 2})");
    CHECK(has(refusal<wasi::io_error>(folder / "d"), "num_hidden_layers is 2, the tensors say 1"));

    tensors = good;
    tensors.all["blocks.1.norm1.weight"].values[3] = std::numeric_limits<float>::quiet_NaN();
    tensors.write(folder / "a");
    CHECK(has(refusal<wasi::argument_error>(folder / "a"), "tensor blocks.1.norm1.weight (16) holds NaN or infinity"));
    tensors = good;
    tensors.all["blocks.1.mlp.fc1.weight"] = {{16, 16}, std::vector<float>(256)};
    tensors.write(folder / "a");
    CHECK(has(refusal<wasi::shape_error>(folder / "a"), "tensor blocks.1.mlp.fc1.weight has shape (16, 16)"));
}

TEST_CASE("checkpoints: models that this one is not are refused by name, pickles with the way to convert them")
{
    const TemporaryFolder folder;
    for (const auto& each : std::vector<std::pair<std::string, std::string>>{
             {"blocks.0.attn.qkv.bias_mask", "DINOv3"},
             {"storage_tokens", "DINOv3"},
             {"embeddings.patch_embeddings.weight", "DINOv3"},
             {"layers.0.blocks.0.attn.cpb_mlp.0.weight", "Swin V2"},
             {"layers.0.blocks.0.attn.relative_position_bias_table", "Swin"},
             {"encoder.layer.0.mlp.weights_in.weight", "SwiGLU"},
             {"blocks.0.mlp.w12.weight", "SwiGLU"},
             {"blocks.0.attn.q_norm.weight", "normalises queries and keys"},
             {"attn_pool.latent", "pooling by attention"},
             {"heads.pre_logits.weight", "pre_logits"}}) {
        const std::string& tensor = each.first;
        CAPTURE(tensor);
        Tensors tensors(golden_model("timm_vit"));
        tensors.all[tensor] = {{1}, {0.0F}};
        tensors.write(folder / "a");
        const std::string text = refusal<wasi::io_error>(folder / "a", {.heads = 2});
        CHECK(has(text, tensor));
        CHECK(has(text, each.second));
    }
    Tensors other(golden_model("timm_vit"));
    other.rename([](const std::string& name) { return "bert." + name; });
    other.write(folder / "a");
    CHECK(has(refusal<wasi::io_error>(folder / "a"), "no Vision Transformer is recognised"));
    write_bytes(folder / "model.pth", "PK\x03\x04 and so on");
    CHECK(has(refusal<wasi::io_error>(folder / "model.pth"), "is a pickle of PyTorch"));
    CHECK(has(refusal<wasi::io_error>(folder / "model.pth"), "save_file("));
    CHECK(has(refusal<wasi::io_error>(folder.path()), "is a pickle of PyTorch"));
    CHECK(has(refusal<wasi::io_error>(folder / "nothing"), "nothing"));
}

TEST_CASE("checkpoints: heads are of the option, the files, or the published widths, said then; never of a guess")
{
    const TemporaryFolder folder;
    const auto write = [&](Index dim) {
        wasi::Ledger memory;
        Model<float> model({.image = 8, .patch = 4, .dim = dim, .depth = 1, .heads = 1, .mlp = 8, .classes = 2}, memory,
                           wasi::RandomKey(1));
        nn::keep(model, {});
        files::write_model(model, folder / "a");  // without the metadata of save_model
    };
    for (const auto& published : {std::pair<Index, Index>{192, 3}, {384, 6}, {1280, 16}, {1664, 16}}) {
        const Index heads = published.second;
        write(published.first);
        const auto loaded = load(folder / "a");
        CHECK(loaded.model->config().heads == heads);
        const std::string said = "attention heads: " + std::to_string(heads);
        CHECK(std::any_of(loaded.report.notes.begin(), loaded.report.notes.end(),
                          [&](const std::string& note) { return note.starts_with(said); }));
        CHECK(load(folder / "a", {.heads = 4}).model->config().heads == 4);
    }
    write(320);
    CHECK(has(refusal<wasi::io_error>(folder / "a"), "no published model has the width 320: give --heads"));
    CHECK_THROWS_AS((void)load(folder / "a", {.heads = 7}), wasi::argument_error);
}

TEST_CASE("checkpoints: positions of this library's own files are resampled too, whatever holds the weights")
{
    const TemporaryFolder folder;
    auto loaded = load(golden_model("torchvision"));
    auto& model = *loaded.model;
    files::save_model(model, folder / "dense");
    nn::visit_layers(model, [](nn::Place place, auto& layer) {
        if (nn::is_selected(place.role, nn::Layers::all)) {
            make_low_rank<nn::FactorsOptions>(layer.weight, 3);
        }
    });
    files::save_model(model, folder / "factored");
    const auto wanted = load(folder / "dense", {.image = 20});
    const auto found = load(folder / "factored", {.image = 20});
    CHECK(found.model->config().image == 20);
    CHECK(notes(found.report, "positions are resampled from 3 x 3 to 5 x 5 patches: bicubic, corner on corner"));
    const std::string positions = "encoder.pos_embedding";
    CHECK(snapshot(*found.model).at(positions) == snapshot(*wanted.model).at(positions));
    CHECK(found.report.loaded == found.report.total);
    const auto same = snapshot(*load(folder / "factored").model);
    for (const auto& [name, values] : snapshot(*found.model)) {
        CHECK((name == positions || values == same.at(name)));
    }
}

TEST_CASE("checkpoints: indexes of shards that lie are refused")
{
    const path good = path(WASI_TEST_DATA) / "golden" / "checkpoints" / "hf_vit_shards";
    const TemporaryFolder folder;
    const path own = folder / "m";
    const auto index = own / "model.safetensors.index.json";
    const std::string text = bytes_of_file(good / "model.safetensors.index.json");
    const auto says = [&](const std::string& from, const std::string& to, const std::string& message) {
        std::filesystem::remove_all(own);
        std::filesystem::copy(good, own);
        std::string changed = text;
        const auto at = changed.find(from);
        REQUIRE(at != std::string::npos);
        write_bytes(index, changed.replace(at, from.size(), to));
        const std::string found = refusal<wasi::io_error>(own);
        CAPTURE(found);
        CHECK(has(found, message));
    };
    std::filesystem::copy(good, own);
    CHECK(load(own).report.loaded > 0);
    const std::string shard = "\"model-00001-of-00002.safetensors\"";
    says(shard, "\"../model-00001-of-00002.safetensors\"", "is not a file in its folder");
    says(shard, "\"/etc/passwd\"", "is not a file in its folder");
    says(shard, "\"..\"", "is not a file in its folder");
    says(shard, "\"\"", "is not a file in its folder");
    says(shard, "\"elsewhere.safetensors\"", "is not a file that can be read");
    says(shard, "17", "is not a string");
    says(shard, "[" + shard + "]", "is not a string");
    says(shard, "\"model-00002-of-00002.safetensors\"", "has no tensor");
    says("\"weight_map\"", "\"weight_mop\"", "has no weight_map");
    says("{", "{{", "is not a JSON object");
    says("\"classifier.bias\"", "\"classifier.bias_\"", "has no tensor 'classifier.bias_'");

    // Two shards with one tensor; a shard that links to itself.
    std::filesystem::remove_all(own);
    std::filesystem::copy(good, own);
    std::filesystem::copy_file(own / "model-00001-of-00002.safetensors", own / "third.safetensors");
    std::string twice = text;
    const auto entry = twice.find("\"classifier.bias\"");
    twice.replace(twice.find("\"model-", entry), shard.size(), "\"third.safetensors\"");
    write_bytes(index, twice);
    CHECK(has(refusal<wasi::io_error>(own), "two files have a tensor"));
    std::filesystem::remove_all(own);
    std::filesystem::copy(good, own);
    std::filesystem::remove(own / "model-00001-of-00002.safetensors");
    std::filesystem::create_symlink("model-00001-of-00002.safetensors", own / "model-00001-of-00002.safetensors");
    CHECK(has(refusal<wasi::io_error>(own), "is not a file that can be read"));
}

TEST_CASE("checkpoints: configs that say what cannot be are refused, and what of preprocessing they say is kept")
{
    const TemporaryFolder folder;
    const path own = folder / "m";
    std::filesystem::copy(path(WASI_TEST_DATA) / "golden" / "checkpoints" / "hf_vit", own);
    const auto with = [&](const std::string& more) {
        write_bytes(own / "config.json", "{\"num_attention_heads\": 2, " + more + "}");
        return refusal<wasi::error>(own);
    };
    CHECK(has(with("\"hidden_act\": \"gelu_new\""), "the activation 'gelu_new' is not supported"));
    CHECK(has(with("\"hidden_size\": 17"), "hidden_size is 17, the tensors say 16"));
    CHECK(has(with("\"patch_size\": -4"), "patch_size is -4, a positive number is expected"));
    CHECK(has(with("\"layer_norm_eps\": \"tiny\""), "layer_norm_eps is \"tiny\""));
    CHECK(has(with("\"layer_norm_eps\": -1"), "epsilon is -1"));
    CHECK(has(with("\"use_swiglu_ffn\": true"), "SwiGLU"));
    write_bytes(own / "config.json", "{\"num_attention_heads\": 3}");
    CHECK(has(refusal<wasi::argument_error>(own), "dim 16 is not a multiple of heads 3"));
    CHECK(with("\"hidden_act\": \"gelu\"") == "(nothing was thrown)");
    CHECK(notes(load(own).report, "as usual for Hugging Face ViT"));

    write_bytes(own / "preprocessor_config.json",
                R"({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3,
                    "size": {"shortest_edge": 32}, "crop_size": {"height": 20, "width": 20}, "do_center_crop": true})");
    auto loaded = load(own);
    CHECK(loaded.model->config().image == 20);
    CHECK(notes(loaded.report, "positions are resampled from 3 x 3 to 5 x 5 patches: bicubic, half-pixel"));
    const wasi::data::Preprocessing wanted{.mean = {0.1, 0.2, 0.3},
                                           .std = {0.4, 0.5, 0.6},
                                           .resize = 32,
                                           .crop = 20,
                                           .interpolation = wasi::data::Interpolation::bicubic};
    CHECK(loaded.report.preprocessing == wanted);
    files::save_model(*loaded.model, folder / "own", loaded.report.metadata());
    CHECK(load(folder / "own").report.preprocessing == wanted);
    write_bytes(own / "preprocessor_config.json", R"({"image_mean": [0.1, "a", 0.3]})");
    CHECK(has(refusal<wasi::io_error>(own), "image_mean is [0.1,\"a\",0.3]"));
    write_bytes(own / "preprocessor_config.json", R"({"size": {"height": 20, "width": 30}})");
    CHECK(has(refusal<wasi::io_error>(own), "a square is expected"));
}

TEST_CASE("checkpoints: loading takes the model as it is held and one layer more")
{
    for (const std::string name : {"hf_dinov2", "timm_deit_distilled", "openai_clip"}) {
        CAPTURE(name);
        const path from = golden_model(name).parent_path();
        std::size_t largest = 0;
        {  // all dense: beside the model there are the stored positions, and those that are resampled along one axis
            wasi::Ledger memory;
            const auto loaded = files::load_checkpoint<double, EigenStorage>(
                from, memory, {.heads = 2, .image = 20},
                [&](nn::Place, auto& weight) { largest = std::max(largest, weight.bytes()); });
            const std::size_t positions = (10 + 3 * 5) * 16 * sizeof(double);
            CHECK(memory.total().peak <= nn::parameter_bytes(*loaded.model) + std::max(positions, largest));
        }
        wasi::Ledger memory;  // factorized as they are read: one dense weight at a time
        const auto loaded = files::load_checkpoint<double, EigenStorage>(
            from, memory, {.heads = 2, .image = 20}, [](nn::Place place, auto& weight) {
                if (nn::is_selected(place.role, nn::Layers::all)) {
                    make_low_rank<nn::FactorsOptions>(weight, 1);
                }
            });
        CHECK(memory.of(wasi::Use::weight).peak <= nn::parameter_bytes(*loaded.model) + largest);
    }
}

}  // namespace
