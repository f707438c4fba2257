#include <support/model_definitions.hpp>

WASI_INSTANTIATE_MODELS(double, wasi::EigenStorage);
WASI_INSTANTIATE_IMAGES(double);
