// Principal components of a cloud of points far from the origin, all at once and as they arrive. The mean is taken off
// inside the products, in double: the centred matrix is never formed, and a mean a thousand times the spread costs no
// digits.
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <wasi/linalg/incremental_pca.hpp>
#include <wasi/linalg/pca.hpp>

int main()
{
    // 1000 points in 200 dimensions: two directions with spread 5 and 2, noise of 0.1, and a mean of 2000 in every one.
    const wasi::RandomKey key(3);
    const auto normal = [&](std::uint64_t stream, wasi::Index i, wasi::Index j) {
        return key.derive(stream).normal(static_cast<std::uint64_t>(1000 * j + i));
    };
    Eigen::MatrixXf points(1000, 200);
    for (wasi::Index i = 0; i < 1000; ++i) {
        for (wasi::Index j = 0; j < 200; ++j) {
            const double spread = j % 2 == 0 ? 0.5 * normal(1, i, 0) : 0.2 * normal(2, i, 0);
            points(i, j) = static_cast<float>(2000.0 + spread + 0.1 * normal(3, i, j));
        }
    }
    const auto pca = wasi::linalg::pca(points, {.rank = 4}, key);
    std::printf("mean of the first column %.2f, variance of all columns %.2f, noise %.4f\n",
                static_cast<double>(pca.mean(0)), pca.info.total_variance, pca.info.noise_variance);
    for (wasi::Index k = 0; k < 4; ++k) {
        std::printf("component %td: %5.1f %% of the variance\n", k + 1,
                    100.0 * static_cast<double>(pca.explained_ratio(k)));
    }

    // Two components explain all but the noise; points go there and come back.
    const auto two = wasi::linalg::pca(points, {.rank = 2}, key);
    const Eigen::MatrixXf scores = two.transform(points.topRows(10));
    const float gap = (two.inverse_transform(scores) - points.topRows(10)).cwiseAbs().maxCoeff();
    std::printf("ten points from two numbers each: off by %.2f at most\n", static_cast<double>(gap));

    // The same in batches of 50, each looked at once.
    wasi::linalg::IncrementalPca<float> stream({.rank = 4});
    for (wasi::Index first = 0; first < 1000; first += 50) {
        stream.add(points.middleRows(first, 50));
    }
    const auto arrived = stream.pca_as<Eigen::MatrixXf>();
    const double change = static_cast<double>((arrived.explained_variance - pca.explained_variance).head(2).norm() /
                                              pca.explained_variance(0));
    std::printf("as they arrived: variances differ by %.1e of the largest\n", change);
    const bool close = std::abs(pca.info.noise_variance - 0.01) < 1e-3 && gap < 0.6F && change < 1e-4;
    return close && pca.explained_ratio.head(2).sum() > 0.85F ? 0 : 1;
}
