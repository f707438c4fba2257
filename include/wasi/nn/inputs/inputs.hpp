#pragma once
#include <variant>

#include "wasi/nn/inputs/exact.hpp"
#include "wasi/nn/inputs/projected.hpp"
#include "wasi/nn/inputs/tucker.hpp"

namespace wasi::nn {

/// How the input of a layer is to be saved, or is: the options of one saver. The list of savers.
using InputSetup = std::variant<ExactOptions,   //
                                TuckerOptions,  //
                                ProjectedOptions>;

}  // namespace wasi::nn
