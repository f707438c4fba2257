// Tucker decompositions in double.
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/hosvd.hpp>
#include <wasi/tensor/inner_product.hpp>
#include <wasi/tensor/mode_product.hpp>
#include <wasi/tensor/warm_tucker.hpp>

namespace wasi::tensor {

WASI_TENSOR(template, EigenStorage, double)

}  // namespace wasi::tensor
