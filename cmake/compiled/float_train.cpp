// The training loop in float.
#include <wasi/storage/eigen.hpp>
#include <wasi/train/activation_plan.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>

namespace wasi::train {

WASI_TRAIN(template, EigenStorage, float)

}  // namespace wasi::train
