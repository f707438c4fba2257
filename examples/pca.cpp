// Principal components of a cloud of points far from the origin. The mean is taken off inside the products: the centred
// matrix is never formed.
#include <Eigen/Core>
#include <cstdio>

#include <wasi/linalg/pca.hpp>

int main()
{
    // 1000 points in 200 dimensions: two directions with spread 5 and 2, noise of 0.1, and a mean of 20 in every one.
    const wasi::RandomKey key(3);
    const auto normal = [&](std::uint64_t stream, wasi::Index i, wasi::Index j) {
        return static_cast<float>(key.derive(stream).normal(static_cast<std::uint64_t>(1000 * j + i)));
    };
    Eigen::MatrixXf points(1000, 200);
    for (wasi::Index i = 0; i < 1000; ++i) {
        for (wasi::Index j = 0; j < 200; ++j) {
            const float first = normal(1, i, 0) * 5.0F * (j % 2 == 0 ? 0.1F : 0.0F);
            const float second = normal(2, i, 0) * 2.0F * (j % 2 == 1 ? 0.1F : 0.0F);
            points(i, j) = 20.0F + first + second + 0.1F * normal(3, i, j);
        }
    }
    const auto pca = wasi::linalg::pca(points, {.rank = 4}, key);
    std::printf("mean of the first column %.2f, variance of all columns %.2f\n", static_cast<double>(pca.mean(0)),
                pca.info.total_variance);
    for (wasi::Index k = 0; k < 4; ++k) {
        std::printf("component %td: %5.1f %% of the variance\n", k + 1,
                    100.0 * static_cast<double>(pca.explained_variance(k)) / pca.info.total_variance);
    }
    // Two components explain all but the noise, and the scores are the points seen from there.
    const Eigen::MatrixXf centered = points.rowwise() - pca.mean.transpose();
    const float gap = (centered * pca.components - pca.scores).leftCols(2).norm() / pca.scores.norm();
    const double share = static_cast<double>(pca.explained_variance.head(2).sum()) / pca.info.total_variance;
    return gap < 1e-3F && share > 0.9 ? 0 : 1;
}
