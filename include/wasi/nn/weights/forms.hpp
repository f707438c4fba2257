#pragma once
#include <variant>

#include "wasi/nn/weights/adapter.hpp"
#include "wasi/nn/weights/dense.hpp"
#include "wasi/nn/weights/dora.hpp"
#include "wasi/nn/weights/factors.hpp"
#include "wasi/nn/weights/frozen.hpp"
#include "wasi/nn/weights/subspace.hpp"

namespace wasi::nn {

/// How a weight is to be held, or is: the options of one form. The list of forms.
using WeightSetup = std::variant<DenseOptions,     //
                                 SubspaceOptions,  //
                                 FactorsOptions,   //
                                 AdapterOptions,   //
                                 DoraOptions,      //
                                 FrozenOptions>;

}  // namespace wasi::nn
