#include <support/model_definitions.hpp>

#ifdef WASI_TESTS_WITH_XTENSOR
WASI_INSTANTIATE_TRAINING(float, wasi::XtensorStorage);
WASI_INSTANTIATE_MODELS(float, wasi::XtensorStorage);
#endif
