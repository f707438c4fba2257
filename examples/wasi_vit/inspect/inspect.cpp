// wasi_vit inspect: how many singular values each linear layer of a weight file needs, and what that saves.
#include "inspect/inspect.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include <unistd.h>

#include <wasi/files/vision_transformer_file.hpp>
#include <wasi/io/atomic_file.hpp>
#include <wasi/linalg/product_svd.hpp>
#include <wasi/linalg/svd.hpp>
#include <wasi/storage/eigen.hpp>

#include "commands/commands.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::Index;
using wasi::io_error;
using wasi::require;
using wasi::io::SafetensorsFile;
using S = wasi::EigenStorage;

/// A matrix of the file, checked to be one and to be finite.
[[nodiscard]] wasi::Tensor<float> read_matrix(const SafetensorsFile& file, const std::string& path,
                                              const std::string& name)
{
    require<io_error>(file.contains(name), path, ": tensor ", name, " is missing");
    const auto& shape = file.info(name).shape;
    require<io_error>(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, path, ": tensor ", name, " has shape ",
                      wasi::shape_text(shape), ", a matrix is expected");
    wasi::Tensor<float> matrix = wasi::workspace<float>(wasi::plain_memory(), shape[0], shape[1]);
    file.read(name, matrix.span());
    require<argument_error>(S::all_finite(std::as_const(matrix).matrix()), path, ": tensor ", name, " ",
                            wasi::shape_text(shape), " holds NaN or infinity");
    return matrix;
}

/// Every singular value above rounding, and the energy of them all.
void decompose(wasi::ConstMatrixView<float> w, InspectedLayer& layer)
{
    const auto svd =
        wasi::linalg::truncated_svd<S, float>(w, {.rank = wasi::linalg::Energy{1.0}}, wasi::plain_memory());
    require<argument_error>(svd.info.status == wasi::linalg::Status::ok, layer.name,
                            ": the singular value decomposition did not converge");
    layer.energy = S::dot(w, w);
    layer.values.assign(svd.s.span().begin(), svd.s.span().end());
}

/// The spectrum of L R without forming it. Factors from elsewhere need not be orthonormal.
void decompose_product(wasi::ConstMatrixView<float> left, wasi::ConstMatrixView<float> right, InspectedLayer& layer)
{
    const auto svd = wasi::linalg::product_svd<S, float>({left, right.transposed()}, {}, wasi::plain_memory());
    require<argument_error>(svd.info.status == wasi::linalg::Status::ok, layer.name,
                            ": the singular value decomposition did not converge");
    layer.energy = S::dot(svd.s.matrix(), svd.s.matrix()) / svd.info.captured_energy;
    layer.values.assign(svd.s.span().begin(), svd.s.span().end());
}

/// Reads one layer and returns the bytes that the engine would hold of it as the file has it.
[[nodiscard]] double read_layer(const SafetensorsFile& file, const std::string& path, const std::string& name,
                                InspectedLayer& layer)
{
    const std::string left_name = name + ".left";
    if (!file.contains(left_name)) {
        const auto w = read_matrix(file, path, name);
        layer.outputs = w.shape()[0];
        layer.inputs = w.shape()[1];
        decompose(w.matrix(), layer);
        return bytes_of_number * static_cast<double>(w.size());
    }
    const auto left = read_matrix(file, path, left_name);
    const auto right = read_matrix(file, path, name + ".right");
    layer.outputs = left.shape()[0];
    layer.inputs = right.shape()[1];
    layer.stored_rank = left.shape()[1];
    require<io_error>(
        right.shape()[0] == layer.stored_rank && layer.stored_rank <= std::min(layer.outputs, layer.inputs), path,
        ": factors ", wasi::shape_text(left.shape()), " and ", wasi::shape_text(right.shape()), " of ", name,
        " do not fit");
    decompose_product(left.matrix(), right.matrix(), layer);
    return bytes_of_number * static_cast<double>(left.size() + right.size());
}

/// The same of a checkpoint that has the layer in other names or parts, put together as this library has it.
[[nodiscard]] double read_layer(wasi::files::detail::CheckpointReader<float>& reader, const std::string& name,
                                const wasi::Shape& shape, InspectedLayer& layer)
{
    wasi::Tensor<float> w = wasi::workspace<float>(wasi::plain_memory(), shape[0], shape[1]);
    reader.read(name, w);
    layer.outputs = shape[0];
    layer.inputs = shape[1];
    decompose(std::as_const(w).matrix(), layer);
    return bytes_of_number * static_cast<double>(w.size());
}

/// A bar that rewrites its line on a terminal, a line a block elsewhere.
class LayerProgress {
public:
    LayerProgress(Index layers, Index layers_in_block)
        : layers_(layers), in_block_(layers_in_block), terminal_(isatty(STDOUT_FILENO) == 1)
    {
    }
    LayerProgress(const LayerProgress&) = delete;
    LayerProgress& operator=(const LayerProgress&) = delete;
    ~LayerProgress()  // also after a failure: what comes next begins on a clean line
    {
        if (terminal_) {
            std::printf("\r\033[K");
            std::fflush(stdout);
        }
    }

    void done(const std::string& layer)
    {
        ++done_;
        const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
        if (terminal_) {
            constexpr Index width = 28;
            const auto full = static_cast<std::size_t>(done_ * width / layers_);
            std::printf("\rinspect  [%s%s] %td/%td  %s  %.0f s left \033[K", std::string(full, '#').c_str(),
                        std::string(width - full, '.').c_str(), done_, layers_, layer.c_str(),
                        elapsed / static_cast<double>(done_) * static_cast<double>(layers_ - done_));
        } else if (done_ % in_block_ == 0) {
            std::printf("inspect  block %3td of %td   %s\n", done_ / in_block_, layers_ / in_block_,
                        page::seconds_text(elapsed).c_str());
        }
        std::fflush(stdout);
    }

private:
    Index layers_;
    Index in_block_;
    bool terminal_;
    Index done_ = 0;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// Found out now, not after all decompositions: the nearest folder that exists can be written to.
void check_folder(const std::filesystem::path& out)
{
    std::error_code ignored;
    auto folder = std::filesystem::absolute(out);
    while (!std::filesystem::exists(folder, ignored) && folder.has_relative_path()) {
        folder = folder.parent_path();
    }
    require<io_error>(std::filesystem::is_directory(folder, ignored), out.string(), ": ", folder.string(),
                      " is not a folder");
    require<io_error>(access(folder.c_str(), W_OK | X_OK) == 0, out.string(), ": ", folder.string(), ": ",
                      std::generic_category().message(errno));
}

[[nodiscard]] std::vector<double> sorted(std::vector<double> thresholds)
{
    std::sort(thresholds.begin(), thresholds.end());
    thresholds.erase(std::unique(thresholds.begin(), thresholds.end()), thresholds.end());
    return thresholds;
}

/// Also refuses what is no Vision Transformer of a known family.
[[nodiscard]] Inspection read_layers(const InspectOptions& options)
{
    Inspection inspection;
    inspection.file = options.weights;
    inspection.thresholds = sorted(options.thresholds);
    wasi::files::Checkpoint checkpoint(options.weights);
    const wasi::files::NamedCheckpoint named(checkpoint.header());
    // Heads leave no mark on any weight's shape, and their number does not matter here.
    const auto facts = wasi::files::facts_of(named, {.heads = 1});
    const auto& config = facts.config;
    wasi::files::detail::CheckpointReader<float> reader(checkpoint, named, facts, wasi::plain_memory());
    struct LayerOfBlock {
        std::string part;
        std::string suffix;
        wasi::Shape shape;
    };
    std::vector<LayerOfBlock> parts{{"mlp.0", ".weight", {config.mlp, config.dim}},
                                    {"mlp.3", ".weight", {config.dim, config.mlp}}};
    if (options.layers == wasi::nn::Layers::all) {
        parts.insert(parts.begin(), {{"self_attention.in_proj", "_weight", {3 * config.dim, config.dim}},
                                     {"self_attention.out_proj", ".weight", {config.dim, config.dim}}});
    }
    // As the file has it, where it is this library's or torchvision's: perhaps as factors.
    const SafetensorsFile* own = &named.family() == &wasi::files::families.front() ? checkpoint.single() : nullptr;
    const auto in_block = static_cast<Index>(parts.size());
    for (const auto& [name, entry] : named.header().tensors) {
        inspection.other_bytes += bytes_of_number * static_cast<double>(entry.info.element_count());
    }
    LayerProgress progress(config.depth * in_block, in_block);
    for (Index block = 0; block < config.depth; ++block) {
        for (const auto& [part, suffix, shape] : parts) {
            InspectedLayer layer;
            layer.block = block;
            layer.part = part;
            layer.name = "encoder_layer_" + std::to_string(block) + "." + part;
            const std::string name = "encoder.layers." + layer.name + suffix;
            const bool as_it_is = own != nullptr && (own->contains(name) || own->contains(name + ".left"));
            inspection.stored_bytes +=
                as_it_is ? read_layer(*own, options.weights, name, layer) : read_layer(reader, name, shape, layer);
            progress.done(layer.name);
            inspection.layers.push_back(std::move(layer));
        }
    }
    inspection.other_bytes -= inspection.stored_bytes;
    return inspection;
}

}  // namespace

int inspect(const InspectOptions& options)
{
    use_threads(options.threads);
    if (!options.out.empty()) {
        check_folder(options.out);
    }
    const Inspection inspection = read_layers(options);
    print_tables(inspection);
    if (!options.out.empty()) {
        const std::filesystem::path out(options.out);
        std::error_code failure;
        std::filesystem::create_directories(out, failure);
        require<io_error>(!failure, options.out, ": cannot be made a folder: ", failure.message());
        wasi::io::write_file_atomically(out / "inspect.csv", inspect_csv(inspection));
        wasi::io::write_file_atomically(out / "inspect.json", inspect_json(inspection));
        wasi::io::write_file_atomically(out / "inspect.html", inspect_page(inspection));
    }
    return 0;
}

}  // namespace wasi_examples
