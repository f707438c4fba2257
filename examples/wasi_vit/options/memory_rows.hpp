#pragma once
#include "options/options.hpp"

namespace wasi_examples {

/// The rows that finetune and plan share.
[[nodiscard]] OptionTable<FinetuneOptions> memory_rows();

}  // namespace wasi_examples
