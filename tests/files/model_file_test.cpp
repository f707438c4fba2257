// Models with factors in a file and back: each weight in the form it had.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <support/models.hpp>
#include <wasi/files/vision_transformer_file.hpp>

namespace {

using namespace wasi_tests;
namespace files = wasi::files;
namespace nn = wasi::nn;

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
            make_low_rank<nn::SubspaceOptions>(block->in_proj.weight, 5);
            make_low_rank<nn::FactorsOptions>(block->out_proj.weight, 4);
            make_low_rank<nn::FactorsOptions>(block->fc1.weight, 3);
        }
    }
    [[nodiscard]] auto load() { return files::load_model<float, EigenStorage>(file.path(), memory); }
};

TEST_CASE("a file holds free factors and weight subspaces, and each comes back as it was")
{
    Setup setup;
    files::save_model(setup.model, setup.file.path(),
                      {{"method", "any"}, {"forms", "nonsense"}, {"free_factors", "nonsense"}});
    const wasi::io::SafetensorsFile file(setup.file.path());
    CHECK(file.metadata().at("method") == "any");
    CHECK_FALSE(file.metadata().contains("free_factors"));
    CHECK(file.metadata().at("forms") ==
          "encoder.layers.encoder_layer_0.self_attention.in_proj_weight=subspace,"
          "encoder.layers.encoder_layer_0.self_attention.out_proj.weight=factors,"
          "encoder.layers.encoder_layer_0.mlp.0.weight=factors,"
          "encoder.layers.encoder_layer_1.self_attention.in_proj_weight=subspace,"
          "encoder.layers.encoder_layer_1.self_attention.out_proj.weight=factors,"
          "encoder.layers.encoder_layer_1.mlp.0.weight=factors");
    const auto loaded = setup.load();
    CHECK(snapshot(*loaded) == snapshot(setup.model));
    for (const auto& block : loaded->blocks) {
        CHECK(block->in_proj.weight.held_as<nn::SubspaceOptions>() != nullptr);
        CHECK(block->out_proj.weight.held_as<nn::FactorsOptions>() != nullptr);
        CHECK(block->fc1.weight.held_as<nn::FactorsOptions>() != nullptr);
        CHECK(block->fc1.weight.rank() == 3);
        CHECK_FALSE(block->fc2.weight.is_low_rank());
    }
}

TEST_CASE("a change of form is in the file, and of a dense model the metadata speaks of no form")
{
    Setup setup;
    for (const auto& block : setup.model.blocks) {
        make_low_rank<nn::SubspaceOptions>(block->out_proj.weight, 4);
        make_low_rank<nn::SubspaceOptions>(block->fc1.weight, 3);
    }
    files::save_model(setup.model, setup.file.path());
    CHECK(wasi::io::SafetensorsFile(setup.file.path()).metadata().at("forms").find("=factors") == std::string::npos);
    CHECK(setup.load()->blocks[0]->fc1.weight.held_as<nn::SubspaceOptions>() != nullptr);

    Model<float> dense(tiny_config, setup.memory, wasi::RandomKey(1));
    files::save_model(dense, setup.file.path());
    CHECK_FALSE(wasi::io::SafetensorsFile(setup.file.path()).metadata().contains("forms"));
    CHECK(snapshot(*setup.load()) == snapshot(dense));
}

/// The tensors of a file, to be written again beside other metadata.
struct Copy {
    explicit Copy(const std::filesystem::path& path) : file(path), metadata(file.metadata())
    {
        values.reserve(file.names().size());
        for (const std::string& name : file.names()) {
            values.push_back(read_values<float>(file, name));
            tensors.push_back({name, file.info(name).shape, std::span<const float>(values.back())});
        }
    }
    void write(const std::filesystem::path& path) const { wasi::io::write_safetensors(path, tensors, metadata); }

    wasi::io::SafetensorsFile file;
    std::map<std::string, std::string> metadata;
    std::vector<std::vector<float>> values;
    std::vector<wasi::io::TensorToWrite> tensors;
};

TEST_CASE("files from before forms had names: the weights that free_factors lists are free, others subspaces")
{
    Setup setup;
    files::save_model(setup.model, setup.file.path());
    Copy copy(setup.file.path());
    copy.metadata.erase("forms");
    copy.metadata["free_factors"] =
        "encoder.layers.encoder_layer_0.self_attention.out_proj.weight,"
        "encoder.layers.encoder_layer_0.mlp.0.weight,"
        "encoder.layers.encoder_layer_1.self_attention.out_proj.weight,"
        "encoder.layers.encoder_layer_1.mlp.0.weight";
    copy.write(setup.file.path());
    const auto loaded = setup.load();
    CHECK(snapshot(*loaded) == snapshot(setup.model));
    for (const auto& block : loaded->blocks) {
        CHECK(block->in_proj.weight.held_as<nn::SubspaceOptions>() != nullptr);
        CHECK(block->out_proj.weight.held_as<nn::FactorsOptions>() != nullptr);
        CHECK(block->fc1.weight.held_as<nn::FactorsOptions>() != nullptr);
    }
}

TEST_CASE("factors that are not orthonormal are refused unless named, and so are names without factors")
{
    Setup setup;
    files::save_model(setup.model, setup.file.path());
    Copy copy(setup.file.path());
    copy.metadata.erase("forms");
    copy.write(setup.file.path());
    CHECK_THROWS_AS((void)setup.load(), wasi::argument_error);
    for (const std::string names : {"", "encoder.ln.weight", "encoder.layers.encoder_layer_0.mlp.0.weight,",
                                    "encoder.layers.encoder_layer_0.mlp.3.weight"}) {
        CAPTURE(names);
        copy.metadata["free_factors"] = names;
        copy.write(setup.file.path());
        CHECK_THROWS_AS((void)setup.load(), wasi::io_error);
    }
}

TEST_CASE("forms that cannot be are refused by name: no such weight, no such form, factors that are not there")
{
    Setup setup;
    files::save_model(setup.model, setup.file.path());
    Copy copy(setup.file.path());
    const std::string given = copy.metadata.at("forms");
    const auto message = [&](const std::string& more) {
        copy.metadata["forms"] = given + more;
        copy.write(setup.file.path());
        std::string text = "(nothing was thrown)";
        try {
            (void)setup.load();
        } catch (const wasi::io_error& refusal) {
            text = refusal.what();
        }
        return text;
    };
    const auto says = [&](const std::string& more, const std::string& what) {
        CAPTURE(more);
        const std::string text = message(more);
        CAPTURE(text);
        CHECK(text.find(what) != std::string::npos);
    };
    CHECK(message("") == "(nothing was thrown)");
    says(",", "metadata forms names ''");
    says(",encoder=factors", "metadata forms names 'encoder'");
    says(",encoder.ln.weight=factors", "metadata forms names 'encoder.ln.weight'");
    says(",encoder.layers.encoder_layer_0.mlp.3.weight=butterfly",
         "encoder.layers.encoder_layer_0.mlp.3.weight is held in the unknown form 'butterfly'");
    says(",encoder.layers.encoder_layer_0.mlp.3.weight", "is held in the unknown form ''");
    says(",encoder.layers.encoder_layer_0.mlp.3.weight=factors",
         "tensor encoder.layers.encoder_layer_0.mlp.3.weight.left is missing");
    says(",encoder.layers.encoder_layer_0.mlp.0.weight=dense",
         "tensor encoder.layers.encoder_layer_0.mlp.0.weight is missing");
}

TEST_CASE("a model whose heads are not dim / 64 comes back with its heads, and the same logits")
{
    Setup setup;
    REQUIRE(setup.model.config().heads != std::max<Index>(1, setup.model.config().dim / 64));
    files::save_model(setup.model, setup.file.path());
    const auto loaded = setup.load();
    CHECK(loaded->config().heads == setup.model.config().heads);
    const auto data = random_images<float>(tiny_config, 3, 5);
    const auto wanted = wasi::measure::predict(setup.model, data);
    const auto found = wasi::measure::predict(*loaded, data);
    CHECK(std::equal(found.span().begin(), found.span().end(), wanted.span().begin(), wanted.span().end()));
    // Options come before the metadata, for files that have another's.
    const auto one_head = files::load_model<float, EigenStorage>(setup.file.path(), setup.memory, {.heads = 1});
    CHECK(one_head->config().heads == 1);
}

}  // namespace
