// Weights in fewer bits in model files: the same codes back, readable by anybody, and refused where they are spoilt.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <support/files.hpp>
#include <support/models.hpp>
#include <wasi/files/vision_transformer_file.hpp>
#include <wasi/nn/dense_values.hpp>

namespace {

using namespace wasi_tests;
using wasi::Precision;
namespace files = wasi::files;
namespace nn = wasi::nn;
namespace train = wasi::train;

const std::vector<Precision> precisions{Precision::bfloat16, Precision::half, Precision::int8};
const std::string frozen = "encoder.layers.encoder_layer_0.self_attention.out_proj.weight";
const std::string adapted = "encoder.layers.encoder_layer_1.mlp.0.weight";

/// Adapters on the MLPs, everything else frozen but the head.
[[nodiscard]] std::unique_ptr<Model<float>> make_model(wasi::Memory& memory, Precision precision)
{
    auto model = std::make_unique<Model<float>>(tiny_config, memory, wasi::RandomKey(1));
    wasi_tests::randomize(*model, 3);
    apply(*model, {.method = train::method("lora"), .layers = nn::Layers::mlp, .frozen_weights = precision});
    return model;
}

[[nodiscard]] std::vector<float> logits(Model<float>& model)
{
    const auto result = wasi::measure::predict(model, random_images<float>(tiny_config, 3, 4), 2);
    return {result.span().begin(), result.span().end()};
}

TEST_CASE("packed weights in a model file: the same bits back, and the same file again")
{
    const TemporaryFolder folder;
    for (const Precision precision : precisions) {
        CAPTURE(to_string(precision));
        wasi::Ledger memory;
        const auto model = make_model(memory, precision);
        const auto path = folder / "model.safetensors";
        files::save_model(*model, path, {});
        const wasi::io::SafetensorsFile file(path);
        const auto dtype = precision == Precision::bfloat16 ? wasi::io::Dtype::bf16
                           : precision == Precision::half   ? wasi::io::Dtype::f16
                                                            : wasi::io::Dtype::i8;
        for (const std::string& name : {frozen, adapted, std::string("conv_proj.weight")}) {
            CHECK(file.info(name).dtype == dtype);
            CHECK(file.metadata().at(name + ".packed") == to_string(precision));
            CHECK(file.contains(name + ".scale") == (precision == Precision::int8));
        }
        const auto loaded = files::load_model<float, EigenStorage>(path, memory);
        CHECK(logits(*loaded) == logits(*model));
        CHECK(nn::parameter_bytes(*loaded) == nn::parameter_bytes(*model));
        const auto& weight = loaded->blocks[1]->fc1.weight;
        CHECK(std::get<nn::AdapterOptions>(nn::setup_of(weight)).base == precision);
        CHECK(std::get<nn::FrozenOptions>(nn::setup_of(loaded->blocks[0]->out_proj.weight)).precision == precision);
        files::save_model(*loaded, folder / "again", {});
        CHECK(bytes_of_file(folder / "again") == bytes_of_file(path));
        // Rounding of other tensors leaves packed ones alone.
        files::save_model(*loaded, folder / "rounded", {}, wasi::io::Dtype::f16);
        CHECK(wasi::io::SafetensorsFile(folder / "rounded").info(adapted).dtype == dtype);
    }
}

TEST_CASE("packed weights in a model file: W = NAME * NAME.scale, row by row")
{
    const TemporaryFolder folder;
    wasi::Ledger memory;
    const auto model = make_model(memory, Precision::int8);
    files::save_model(*model, folder / "model", {});
    const wasi::io::SafetensorsFile file(folder / "model");
    std::vector<std::int64_t> codes(32 * 32);
    std::vector<float> scale(32);
    file.read(frozen, std::span(codes));
    file.read(frozen + ".scale", std::span(scale));
    const auto dense = nn::dense_rows(model->blocks[0]->out_proj.weight, 0, 32);
    int wrong = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) {
        wrong += dense.data()[i] != static_cast<float>(codes[i]) * scale[i / 32];
    }
    CHECK(wrong == 0);
    CHECK(*std::max_element(codes.begin(), codes.end()) <= 127);
    CHECK(*std::min_element(codes.begin(), codes.end()) >= -127);
}

/// The file with something changed, and what reading it says.
[[nodiscard]] std::string refusal_of(const std::filesystem::path& path,
                                     const std::function<void(std::string&, std::string&)>& change)
{
    std::string all = bytes_of_file(path);
    std::uint64_t length = 0;
    std::copy_n(all.data(), sizeof length, reinterpret_cast<char*>(&length));
    std::string header = all.substr(8, length);
    std::string data = all.substr(8 + length);
    change(header, data);
    const auto other = path.parent_path() / "spoilt";
    write_bytes(other, safetensors_bytes(header, data));
    wasi::Ledger memory;
    return message_of<wasi::error>([&] { static_cast<void>(files::load_model<float, EigenStorage>(other, memory)); });
}

void replace(std::string& text, const std::string& what, const std::string& with)
{
    const auto at = text.find(what);
    REQUIRE(at != std::string::npos);
    text.replace(at, what.size(), with);
}

TEST_CASE("packed weights in a model file: what is refused")
{
    const TemporaryFolder folder;
    wasi::Ledger memory;
    const auto path = folder / "model";
    files::save_model(*make_model(memory, Precision::int8), path, {});
    const auto said = [&](const std::string& what, const std::string& with) {
        return refusal_of(path, [&](std::string& header, std::string&) { replace(header, what, with); });
    };
    CHECK(said(frozen + ".packed\":\"int8", frozen + ".packed\":\"int9").find("is packed as 'int9'") !=
          std::string::npos);
    CHECK(said(frozen + ".packed\":\"int8", frozen + ".packed\":\"half").find("has dtype I8, wanted F16") !=
          std::string::npos);
    CHECK(said(frozen + ".scale", frozen + ".scald").find("has no tensor '" + frozen + ".scale'") != std::string::npos);
    const auto not_a_number = refusal_of(path, [&](std::string& header, std::string& data) {
        const auto json = nlohmann::json::parse(header);
        const auto begin = json.at(frozen + ".scale").at("data_offsets").at(0).get<std::size_t>();
        const float nan = std::nanf("");
        std::copy_n(reinterpret_cast<const char*>(&nan), sizeof nan, data.begin() + static_cast<std::ptrdiff_t>(begin));
    });
    CHECK(not_a_number.find("holds NaN or infinity") != std::string::npos);
}

}  // namespace
