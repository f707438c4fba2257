// Another file of the same program: what it uses of the library is what the first one uses.
#include <Eigen/Core>
#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/randomized_svd.hpp>

double largest_value(const Eigen::MatrixXd& a)
{
    const auto components = wasi::linalg::pca(a, {.rank = 2}, wasi::RandomKey(1));
    return components.explained_variance(0) + wasi::linalg::randomized_svd(a, {.rank = 2}, wasi::RandomKey(1)).s(0);
}
