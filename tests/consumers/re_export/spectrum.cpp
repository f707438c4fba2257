#include "spectrum.hpp"

#include <wasi/linalg/randomized_svd.hpp>

Eigen::VectorXf spectrum(const Eigen::MatrixXf& a, Eigen::Index count)
{
    return wasi::linalg::randomized_svd(a, {.rank = count}, wasi::RandomKey(7)).s;
}
