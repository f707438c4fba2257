// A user's file that also multiplies the factors with Eigen: three products of its own.
#include <Eigen/Core>
#include <wasi/linalg/randomized_svd.hpp>

int main()
{
    const Eigen::MatrixXf a = Eigen::MatrixXf::Random(60, 5) * Eigen::MatrixXf::Random(5, 40);
    const auto svd = wasi::linalg::randomized_svd(a, {.rank = 5}, wasi::RandomKey(7));
    const Eigen::MatrixXf again = svd.u * svd.s.asDiagonal() * svd.v.transpose();
    return (a - again).norm() < 1e-4F * a.norm() ? 0 : 1;
}
