#pragma once

// Eigen::Tensor where there is one: some packages of Eigen leave its folder unsupported/ out.
#if __has_include(<unsupported/Eigen/CXX11/Tensor>)
#include <wasi/storage/eigen/tensor_family.hpp>
#define WASI_TESTS_WITH_EIGEN_TENSOR 1
#else
#define WASI_TESTS_WITH_EIGEN_TENSOR 0
#endif
