#pragma once
#include "options/options.hpp"

namespace wasi_examples {

/// The rows that finetune and plan share.
[[nodiscard]] OptionTable<FinetuneOptions> memory_rows();
/// Of them, those of the optimiser.
[[nodiscard]] OptionTable<FinetuneOptions> optimizer_rows();
/// And those that say how weights that are not trained are held, and inputs saved.
[[nodiscard]] OptionTable<FinetuneOptions> saving_rows();

}  // namespace wasi_examples
