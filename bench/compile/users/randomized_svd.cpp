// A user's file with one call.
#include <Eigen/Core>
#include <wasi/linalg/randomized_svd.hpp>

int main()
{
    const Eigen::MatrixXf a = Eigen::MatrixXf::Random(60, 40);
    const auto svd = wasi::linalg::randomized_svd(a, {.rank = 5}, wasi::RandomKey(7));
    return svd.s(0) > 0.0F ? 0 : 1;
}
