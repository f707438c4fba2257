// Optimisers in double.
#include <wasi/optim/optimizer.hpp>
#include <wasi/optim/sinks.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi::optim {

WASI_OPTIM(template, EigenStorage, double)

}  // namespace wasi::optim
