// Models with factors in a file and back: each weight in the form it had.
#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <support/models.hpp>
#include <wasi/files/vision_transformer_file.hpp>

namespace {

using namespace wasi_tests;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
using wasi::nn::LowRankForm;

/// A file name of this process, gone at the end.
class TemporaryFile {
public:
    TemporaryFile()
        : path_(std::filesystem::temp_directory_path() / ("wasi_model_" + std::to_string(::getpid()) + ".safetensors"))
    {
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile()
    {
        std::error_code failure;
        std::filesystem::remove(path_, failure);
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

struct Setup {
    wasi::Ledger memory;
    Model<float> model{tiny_config, memory, wasi::RandomKey(1)};
    TemporaryFile file;

    Setup()
    {
        wasi_tests::randomize(model, 3);
        for (const auto& block : model.blocks) {  // of each form, and fc2 dense
            REQUIRE(block->in_proj.weight.factorize(linalg::FixedRank{5}, false, LowRankForm::subspace));
            REQUIRE(block->out_proj.weight.factorize(linalg::FixedRank{4}, false, LowRankForm::free_factors));
            REQUIRE(block->fc1.weight.factorize(linalg::FixedRank{3}, false, LowRankForm::free_factors));
        }
    }
    [[nodiscard]] auto load() { return files::load_model<float, EigenStorage>(file.path(), memory); }
};

TEST_CASE("a file holds free factors and weight subspaces, and each comes back as it was")
{
    Setup setup;
    files::save_model(setup.model, setup.file.path(), {{"method", "any"}, {"free_factors", "nonsense"}});
    const wasi::io::SafetensorsFile file(setup.file.path());
    CHECK(file.metadata().at("method") == "any");
    CHECK(file.metadata().at("free_factors") ==
          "encoder.layers.encoder_layer_0.self_attention.out_proj.weight,"
          "encoder.layers.encoder_layer_0.mlp.0.weight,"
          "encoder.layers.encoder_layer_1.self_attention.out_proj.weight,"
          "encoder.layers.encoder_layer_1.mlp.0.weight");
    const auto loaded = setup.load();
    CHECK(snapshot(*loaded) == snapshot(setup.model));
    for (const auto& block : loaded->blocks) {
        CHECK(block->in_proj.weight.weight_subspace() != nullptr);
        CHECK(block->out_proj.weight.free_factors() != nullptr);
        CHECK(block->fc1.weight.free_factors() != nullptr);
        CHECK(block->fc1.weight.rank() == 3);
        CHECK_FALSE(block->fc2.weight.is_low_rank());
    }
}

TEST_CASE("without free factors the metadata does not speak of them")
{
    Setup setup;
    for (const auto& block : setup.model.blocks) {
        block->out_proj.weight.change_form(LowRankForm::subspace);
        block->fc1.weight.change_form(LowRankForm::subspace);
    }
    files::save_model(setup.model, setup.file.path());
    CHECK_FALSE(wasi::io::SafetensorsFile(setup.file.path()).metadata().contains("free_factors"));
    CHECK(setup.load()->blocks[0]->fc1.weight.weight_subspace() != nullptr);
}

TEST_CASE("factors that are not orthonormal are refused unless named, and so are names without factors")
{
    Setup setup;
    files::save_model(setup.model, setup.file.path());
    const wasi::io::SafetensorsFile file(setup.file.path());
    std::vector<std::vector<float>> values;
    values.reserve(file.names().size());
    std::vector<wasi::io::TensorToWrite> tensors;
    for (const std::string& name : file.names()) {
        values.push_back(read_values<float>(file, name));
        tensors.push_back({name, file.info(name).shape, std::span<const float>(values.back())});
    }
    auto metadata = file.metadata();
    metadata.erase("free_factors");
    TemporaryFile& target = setup.file;
    wasi::io::write_safetensors(target.path(), tensors, metadata);
    CHECK_THROWS_AS((void)setup.load(), wasi::argument_error);
    for (const std::string names : {"", "encoder.ln.weight", "encoder.layers.encoder_layer_0.mlp.0.weight,",
                                    "encoder.layers.encoder_layer_0.mlp.3.weight"}) {
        CAPTURE(names);
        metadata["free_factors"] = names;
        wasi::io::write_safetensors(target.path(), tensors, metadata);
        CHECK_THROWS_AS((void)setup.load(), wasi::io_error);
    }
}

}  // namespace
