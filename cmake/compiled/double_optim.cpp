// Optimisers in double.
#include <wasi/optim/adamw.hpp>
#include <wasi/optim/galore.hpp>
#include <wasi/optim/mofasgd.hpp>
#include <wasi/optim/sgd.hpp>
#include <wasi/optim/sinks.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi::optim {

WASI_OPTIM(template, EigenStorage, double)

}  // namespace wasi::optim
