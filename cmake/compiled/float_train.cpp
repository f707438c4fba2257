// The training loop in float.
#include <wasi/measure/evaluate.hpp>
#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/plan/saved_inputs.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>

namespace wasi::train {

WASI_TRAIN(template, EigenStorage, float)

}  // namespace wasi::train

namespace wasi::measure {

WASI_MEASURE(template, EigenStorage, float)

}  // namespace wasi::measure

namespace wasi::plan {

WASI_PLAN(template, EigenStorage, float)

}  // namespace wasi::plan
