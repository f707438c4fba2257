#include <support/model_definitions.hpp>

#ifdef WASI_TESTS_WITH_XTENSOR
WASI_INSTANTIATE_TRAINING(double, wasi::XtensorStorage);
WASI_INSTANTIATE_MODELS(double, wasi::XtensorStorage);
#endif
