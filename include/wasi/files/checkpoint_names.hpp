#pragma once
#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "wasi/files/checkpoint.hpp"

/// Which family a checkpoint is of, and which of its tensors are which parts. Needs the target wasi::io.
namespace wasi::files {

namespace detail {

/// In files of DINOv2's own project blocks may come in chunks: blocks.CHUNK.BLOCK becomes blocks.BLOCK.
inline void cut_chunks(CheckpointHeader& header)
{
    decltype(header.tensors) renamed;
    for (auto& [name, entry] : header.tensors) {
        std::string own = name;
        const std::string_view start = "blocks.";
        if (own.starts_with(start)) {
            const std::size_t chunk_end = own.find('.', start.size());
            const std::size_t block_end = chunk_end == std::string::npos ? chunk_end : own.find('.', chunk_end + 1);
            const auto is_number = [&](std::size_t begin, std::size_t end) {
                return end != std::string::npos && end > begin && own.find_first_not_of("0123456789", begin) == end;
            };
            if (is_number(start.size(), chunk_end) && is_number(chunk_end + 1, block_end)) {
                own.erase(start.size(), chunk_end + 1 - start.size());
            }
        }
        const bool fresh = renamed.emplace(own, std::move(entry)).second;
        require<io_error>(fresh, header.path.string(), ": two tensors are ", io::detail::quote(own));
    }
    header.tensors = std::move(renamed);
}

/// Up to ten of the names.
[[nodiscard]] inline std::string list_of(const std::vector<std::string>& names)
{
    std::string text;
    for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 10); ++i) {
        text += (i == 0 ? "" : ", ") + printable(names[i]);
    }
    return text + (names.size() > 10 ? " and " + std::to_string(names.size() - 10) + " more" : "");
}

}  // namespace detail

/// A checkpoint's family, and its tensors by part.
class NamedCheckpoint {
public:
    /// Recognises the family, cuts its prefixes off. Throws io_error for models that are refused, by name, and for
    /// tensors in which no family is recognised.
    explicit NamedCheckpoint(CheckpointHeader& header) : header_(&header)
    {
        detail::cut_chunks(header);
        for (const auto& [name, entry] : header.tensors) {
            for (const Refusal& refusal : refusals) {
                require<io_error>(!detail::matches(refusal.tensor, name), header.path.string(), ": tensor ",
                                  detail::printable(entry.stored_name), " is of ", refusal.reason);
            }
        }
        for (const Family& family : families) {
            if (has(family, detail::first_of(family.names[static_cast<std::size_t>(Part::patches)]), ".weight") &&
                (family.mark.empty() || has(family, family.mark, ""))) {
                family_ = &family;
                break;
            }
        }
        if (family_ == nullptr) {
            std::vector<std::string> names;
            for (const auto& [name, entry] : header.tensors) {
                names.push_back(name);
            }
            throw io_error(message(header.path.string(),
                                   ": no Vision Transformer is recognised: there is neither "
                                   "conv_proj.weight nor what timm, Hugging Face or CLIP call it; the tensors are ",
                                   names.empty() ? "none" : detail::list_of(names)));
        }
        header.cut(family_->prefixes);
        while (!find(Part::norm1, depth_, "weight").empty()) {
            ++depth_;
        }
        require<io_error>(depth_ >= 1, header.path.string(), ": there is no ",
                          name_in(*family_, Part::norm1, 0, "weight"), ", so it has no blocks");
    }

    [[nodiscard]] const Family& family() const { return *family_; }
    [[nodiscard]] const CheckpointHeader& header() const { return *header_; }
    [[nodiscard]] Index depth() const { return depth_; }

    /// The name of a part's tensor in the file; empty where it has none. `suffix`: weight or bias, of parts that have
    /// both.
    [[nodiscard]] std::string find(Part part, Index block, std::string_view suffix) const
    {
        std::string found;
        const auto look = [&](std::string_view prefix) {
            return detail::any_of_list(family_->names[static_cast<std::size_t>(part)], [&](std::string_view name) {
                std::string full = std::string(prefix) + detail::with_suffix(name, is_one_tensor(part) ? "" : suffix);
                const bool there = header_->contains(full) || header_->contains(full + std::string(nn::left_suffix));
                found = there ? std::move(full) : std::string();
                return there;
            });
        };
        if (!is_in_block(part)) {
            static_cast<void>(look(""));
        } else {
            static_cast<void>(detail::any_of_list(
                family_->block, [&](std::string_view pattern) { return look(detail::with_block(pattern, block)); }));
        }
        return found;
    }
    [[nodiscard]] std::string find(Part part, std::string_view suffix = "") const { return find(part, 0, suffix); }

    /// The head's matrix where it is stored as inputs by outputs, under its bare name.
    [[nodiscard]] std::string transposed_head() const
    {
        const std::string name(detail::first_of(family_->names[static_cast<std::size_t>(Part::head)]));
        const auto* shape = header_->shape(name);
        return shape != nullptr && shape->size() == 2 ? name : std::string();
    }

    /// The shape of a tensor that there has to be, of this order. Throws io_error.
    [[nodiscard]] const std::vector<Index>& shape(const std::string& name, std::size_t order) const
    {
        const auto* found = header_->shape(name);
        require<io_error>(found != nullptr, header_->path.string(), ": there is no tensor ", name);
        require<io_error>(found->size() == order, header_->path.string(), ": tensor ", name, " has shape ",
                          shape_text(*found), ", an order of ", order, " is expected");
        return *found;
    }

    /// Whether inference reads no such tensor: of the family's list, or a counter without extents.
    [[nodiscard]] bool is_ignored(const std::string& name) const
    {
        const auto& info = header_->tensors.find(name)->second.info;
        const bool counter = info.shape.empty() && io::to_string(info.dtype).find('F') == std::string_view::npos;
        return counter || detail::any_of_list(family_->ignored,
                                              [&](std::string_view pattern) { return detail::matches(pattern, name); });
    }

private:
    /// Whether a tensor is there, with or without a prefix of the family.
    [[nodiscard]] bool has(const Family& family, std::string_view name, std::string_view suffix) const
    {
        const std::string full = std::string(name) + std::string(suffix);
        return header_->contains(full) || detail::any_of_list(family.prefixes, [&](std::string_view prefix) {
                   return header_->contains(std::string(prefix) + full);
               });
    }

    CheckpointHeader* header_;
    const Family* family_ = nullptr;
    Index depth_ = 0;
};

}  // namespace wasi::files
