#pragma once
// The kernels of EigenStorage, all bodies: for storage/eigen.hpp and for the files that compile them once.
#include "wasi/storage/eigen/cholesky_qr.hpp"
#include "wasi/storage/eigen/eigh_leading.hpp"
#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/eigen/factorizations.hpp"
#include "wasi/storage/eigen/gram.hpp"
#include "wasi/storage/eigen/packing.hpp"
#include "wasi/storage/eigen/products.hpp"
#include "wasi/storage/eigen/row_kernels.hpp"
