// Optimisers in float.
#include <wasi/storage/eigen.hpp>
#include <wasi/optim/optimizer.hpp>
#include <wasi/optim/sinks.hpp>

namespace wasi::optim {

WASI_OPTIM(template, EigenStorage, float)

}  // namespace wasi::optim
