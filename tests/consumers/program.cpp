// What a user writes: the factors of a matrix of rank five, and a look at how well they put it together again.
#include <Eigen/Core>
#include <wasi/linalg/randomized_svd.hpp>

int main()
{
    const Eigen::MatrixXf a = Eigen::MatrixXf::Random(60, 5) * Eigen::MatrixXf::Random(5, 40);
    const auto svd = wasi::linalg::randomized_svd(a, {.rank = 5}, wasi::RandomKey(7));
    const Eigen::MatrixXf again = svd.u * svd.s.asDiagonal() * svd.v.transpose();
    return (a - again).norm() < 1e-4F * a.norm() ? 0 : 1;
}
