// The training loop in double.
#include <wasi/storage/eigen.hpp>
#include <wasi/train/activation_plan.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>

namespace wasi::train {

WASI_TRAIN(template, EigenStorage, double)

}  // namespace wasi::train
