// Layers and the Vision Transformer in double.
#include <wasi/nn/blocks/encoder_block.hpp>
#include <wasi/nn/linear.hpp>
#include <wasi/nn/linear_weight.hpp>
#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi::nn {

WASI_NN(template, EigenStorage, double)

}  // namespace wasi::nn
