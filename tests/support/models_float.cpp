#include <support/model_definitions.hpp>

WASI_INSTANTIATE_MODELS(float, wasi::EigenStorage);
WASI_INSTANTIATE_IMAGES(float);
