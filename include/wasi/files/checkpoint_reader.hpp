#pragma once
#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/files/checkpoint_config.hpp"
#include "wasi/files/file_state.hpp"
#include "wasi/nn/models/vision_transformer.hpp"

/// Values of a checkpoint of any family, part by part. Needs the target wasi::io.
namespace wasi::files::detail {

/// Reads the parameters of a Vision Transformer from a checkpoint: joins queries, keys and values, folds layer scale,
/// resamples positions. Beside the parameter that is read it needs no more than that layer's values once more.
template <Scalar T>
class CheckpointReader {
public:
    CheckpointReader(const Checkpoint& file, const NamedCheckpoint& named, const CheckpointFacts& facts, Memory& memory)
        : file_(&file), named_(&named), facts_(&facts), memory_(&memory.host())
    {
        const Family& own = families.front();
        for (std::size_t number = 0; number < part_count; ++number) {
            const auto part = static_cast<Part>(number);
            for (Index block = 0; block < (is_in_block(part) ? named.depth() : 1); ++block) {
                for (const char* suffix : {"weight", "bias"}) {
                    targets_.emplace(name_in(own, part, block, suffix), Target{part, block, suffix});
                }
            }
        }
    }

    /// Fills the parameter that this library calls `own_name`. Throws io_error where the checkpoint lacks it,
    /// shape_error for another shape, argument_error for NaN or infinity.
    void read(const std::string& own_name, Tensor<T>& values)
    {
        if (of_host(values)) {
            return read_on_host(own_name, values);
        }
        Tensor<T> copy(values.memory().host(), Tag{}, values.shape());
        read_on_host(own_name, copy);
        values.memory().write(values.data(), copy.data(), copy.bytes());
    }

    /// Tensors that were read, and those that the family's inference does not read. Throws io_error where any other is
    /// left over, listing up to ten.
    [[nodiscard]] std::pair<Index, std::vector<std::string>> account() const
    {
        std::vector<std::string> ignored;
        std::vector<std::string> left;
        for (const auto& [name, entry] : named_->header().tensors) {
            if (!used_.contains(name)) {
                (named_->is_ignored(name) ? ignored : left).push_back(entry.stored_name);
            }
        }
        require<io_error>(left.empty(), path(), ": ", left.size() == 1 ? "tensor " : "tensors ", list_of(left),
                          left.size() == 1 ? " does" : " do", " not belong to this model (", named_->family().title,
                          "), of which ", used_.size(), " were read");
        return {static_cast<Index>(used_.size()), std::move(ignored)};
    }

private:
    void read_on_host(const std::string& own_name, Tensor<T>& values)
    {
        const auto found = targets_.find(own_name);
        require<io_error>(found != targets_.end(), path(), ": there is nothing for the parameter ", own_name);
        const Target& target = found->second;
        switch (target.part) {
            case Part::positions:
                return read_positions(values);
            case Part::registers:
                read_plain(target, values.span(), values.shape(), true);
                return add_register_positions(values);
            case Part::attention:
                return read_attention(target, values);
            case Part::head:
                return read_head(target, values);
            case Part::projection:
            case Part::fc2:
                read_plain(target, values.span(), values.shape(), false);
                return scale_rows(target, values);
            default:
                return read_plain(target, values.span(), values.shape(), is_one_tensor(target.part));
        }
    }

    struct Target {
        Part part;
        Index block;
        const char* suffix;
    };

    [[nodiscard]] std::string path() const { return named_->header().path.string(); }

    /// The tensor of a part. Throws io_error where there is none, unless it may be missing (then empty).
    [[nodiscard]] std::string name_of(const Target& target, Part part, bool may_miss) const
    {
        std::string name = named_->find(part, target.block, target.suffix);
        require<io_error>(may_miss || !name.empty(), path(), ": tensor ",
                          name_in(named_->family(), part, target.block, target.suffix), " is missing");
        return name;
    }

    void read_tensor(const std::string& name, std::span<T> out, const Shape& shape, bool any_shape)
    {
        const auto& stored = *named_->header().shape(name);
        const bool fits =
            any_shape ? static_cast<std::size_t>(named_->header().tensors.find(name)->second.info.element_count()) ==
                            out.size()
                      : std::equal(stored.begin(), stored.end(), shape.begin(), shape.end());
        require<shape_error>(fits, path(), ": tensor ", name, " has shape ", shape_text(stored), ", the model needs ",
                             shape_text(shape));
        file_->read(name, out);
        used_.insert(name);
    }

    /// A bias of patches, of queries, keys and values or of a head that is not there is zero.
    void read_plain(const Target& target, std::span<T> out, const Shape& shape, bool any_shape)
    {
        const bool may_miss =
            std::string_view(target.suffix) == "bias" &&
            (target.part == Part::patches || target.part == Part::attention || target.part == Part::head);
        const std::string name = name_of(target, target.part, may_miss);
        if (name.empty()) {
            std::fill(out.begin(), out.end(), T(0));
            return;
        }
        read_tensor(name, out, shape, any_shape);
    }

    void read_attention(const Target& target, Tensor<T>& values)
    {
        if (!named_->find(Part::attention, target.block, target.suffix).empty() ||
            named_->family().names[static_cast<std::size_t>(Part::query)].empty()) {
            return read_plain(target, values.span(), values.shape(), false);
        }
        const bool bias = std::string_view(target.suffix) == "bias";
        const Index dim = facts_->config.dim;
        const Shape shape = bias ? Shape{dim} : Shape{dim, dim};
        const auto part_size = static_cast<std::size_t>(shape.size());
        for (std::size_t i = 0; i < 3; ++i) {
            const auto part = static_cast<Part>(static_cast<std::size_t>(Part::query) + i);
            const std::string name = name_of(target, part, bias);
            const auto out = values.span().subspan(i * part_size, part_size);
            if (name.empty()) {
                std::fill(out.begin(), out.end(), T(0));
            } else {
                read_tensor(name, out, shape, false);
            }
        }
    }

    /// W <- diag(gamma) W, b <- gamma b.
    void scale_rows(const Target& target, Tensor<T>& values)
    {
        if (!facts_->folds_layer_scale) {
            return;
        }
        const Part part = target.part == Part::projection ? Part::scale1 : Part::scale2;
        Tensor<T> scale(*memory_, Tag{}, Shape{facts_->config.dim});
        read_tensor(name_of(target, part, false), scale.span(), scale.shape(), true);
        const Index width = values.size() / scale.size();
        for (Index row = 0; row < scale.size(); ++row) {
            for (Index col = 0; col < width; ++col) {
                values.data()[row * width + col] *= scale.data()[row];
            }
        }
    }

    /// All rows of the stored positions.
    [[nodiscard]] Tensor<T> stored_positions()
    {
        Tensor<T> stored(*memory_, Tag{}, Shape{facts_->stored_position_rows, facts_->config.dim});
        read_tensor(named_->find(Part::positions), stored.span(), stored.shape(), true);
        return stored;
    }

    /// Tokens before the patches for which there are positions.
    [[nodiscard]] Index stored_before() const
    {
        return facts_->stored_position_rows - facts_->stored_grid * facts_->stored_grid;
    }

    void read_positions(Tensor<T>& values)
    {
        const auto& config = facts_->config;
        const Index placed = config.placed_tokens();
        const Index grid = config.image / config.patch;
        if (grid == facts_->stored_grid && stored_before() == placed) {
            return read_tensor(named_->find(Part::positions), values.span(), values.shape(), true);
        }
        const Tensor<T> stored = stored_positions();
        const auto from = stored.matrix();
        const auto to = MatrixView<T>::row_major(values.data(), config.position_rows(), config.dim);
        const Index given = std::min(placed, stored_before());  // none: the tokens hold their positions already
        std::fill_n(values.data(), placed * config.dim, T(0));
        std::copy_n(stored.data(), given * config.dim, values.data());
        resample_positions<T>(to.row_block(placed, grid * grid),
                              from.row_block(stored_before(), facts_->stored_grid * facts_->stored_grid), grid,
                              facts_->stored_grid, named_->family().resampling, *memory_);
    }

    void add_register_positions(Tensor<T>& values)
    {
        const auto& config = facts_->config;
        if (stored_before() <= config.placed_tokens()) {
            return;
        }
        const Tensor<T> stored = stored_positions();
        const T* own = stored.data() + config.placed_tokens() * config.dim;
        for (Index i = 0; i < values.size(); ++i) {
            values.data()[i] += own[i];
        }
    }

    void read_head(const Target& target, Tensor<T>& values)
    {
        const auto& config = facts_->config;
        const bool bias = std::string_view(target.suffix) == "bias";
        if (facts_->transposed_head && !bias) {
            Tensor<T> stored(*memory_, Tag{}, Shape{config.features(), config.classes});
            read_tensor(named_->transposed_head(), stored.span(), stored.shape(), false);
            for (Index i = 0; i < values.size(); ++i) {
                values.data()[i] = stored.data()[i % config.features() * config.classes + i / config.features()];
            }
            return;
        }
        if (named_->find(Part::second_head, "weight").empty()) {
            return read_plain(target, values.span(), values.shape(), false);
        }
        // The average of two heads: half of each, side by side.
        const Shape shape = bias ? Shape{config.classes} : Shape{config.classes, config.dim};
        Tensor<T> half(*memory_, Tag{}, shape);
        std::fill(values.span().begin(), values.span().end(), T(0));
        for (Index which = 0; which < 2; ++which) {
            const Part part = which == 0 ? Part::head : Part::second_head;
            read_tensor(name_of(target, part, false), half.span(), shape, false);
            for (Index i = 0; i < half.size(); ++i) {
                const Index at = bias ? i : i / config.dim * 2 * config.dim + which * config.dim + i % config.dim;
                values.data()[at] += T(0.5) * half.data()[i];
            }
        }
    }

    const Checkpoint* file_;
    const NamedCheckpoint* named_;
    const CheckpointFacts* facts_;
    Memory* memory_;
    std::map<std::string, Target> targets_;
    std::set<std::string> used_;
};

}  // namespace wasi::files::detail
