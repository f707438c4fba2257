// Optimisers in float.
#include <wasi/optim/optimizer.hpp>
#include <wasi/optim/sinks.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi::optim {

WASI_OPTIM(template, EigenStorage, float)

}  // namespace wasi::optim
