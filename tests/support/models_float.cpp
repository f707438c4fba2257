#include <support/model_definitions.hpp>

WASI_INSTANTIATE_MODELS(float);
